"""``dmarcgate check`` beside a running gateway: all is well, then one thing after the other fails and is named."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from appliance.health import Finding, Level, examine
from appliance.lab.gateway import NODE_NAME, Gateway
from appliance.node import read_node
from appliance.store import nodes

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]


def check(gateway: Gateway) -> tuple[int, dict[str, Finding]]:
    """Exit status and findings of the command, which stands where the filter stands."""
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "check", "--json", "--config", gateway.node_file],
        cwd=gateway.postfix.queue_directory,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {
        one["subject"]: Finding(one["subject"], Level(one["level"]), one["text"], one["remedy"])
        for one in found
    }


def test_a_gateway_that_filters_mail_is_well(gateway: Gateway) -> None:
    gateway.save(verification__enabled=True)

    status, found = check(gateway)

    assert status == 0
    assert {
        finding.subject: finding.level for finding in found.values() if finding.level is not Level.OK
    } == {}
    assert found["settings"].text.endswith("DMARC is on")
    assert found[f"filter on {NODE_NAME}"].text.startswith("2 workers judge by settings revision")


def test_what_can_wait_is_a_warning_and_no_failure(gateway: Gateway) -> None:
    gateway.save(
        verification__enabled=True,
        verification__engine_failure="deliver",
        verification__exceptions=["192.0.2.7 until=2020-01-01 owner=anna"],
    )
    with gateway.store.begin() as connection:
        nodes.heartbeat(connection, NODE_NAME, "9", 10**6, {"unrecorded": 3}, datetime.now(UTC))

    status, found = check(gateway)

    assert status == 0
    assert found["exceptions"].level is Level.WARNING
    assert "192.0.2.7" in found["exceptions"].text
    assert found["messages"].level is Level.WARNING


def test_workers_without_a_sign_of_life_are_a_failure(gateway: Gateway) -> None:
    node = read_node(gateway.node_file)
    later = datetime.now(UTC) + timedelta(seconds=31)

    found = {finding.subject: finding for finding in examine(node, gateway.store, later)}

    assert found[f"filter on {NODE_NAME}"].level is Level.FAILING
    assert "systemctl start" in found[f"filter on {NODE_NAME}"].remedy


def test_a_worker_that_keeps_to_an_old_revision_is_a_failure(gateway: Gateway) -> None:
    node = read_node(gateway.node_file)
    with gateway.store.begin() as connection:
        nodes.heartbeat(connection, NODE_NAME, "8", -1, {}, datetime.now(UTC) + timedelta(minutes=1))

    found = {
        finding.subject: finding
        for finding in examine(node, gateway.store, datetime.now(UTC) + timedelta(seconds=20))
    }

    assert found[f"filter on {NODE_NAME}"].level is Level.FAILING
    assert "still judge by revision" in found[f"filter on {NODE_NAME}"].text


def test_f10_a_name_server_that_does_not_answer_is_a_failure(gateway: Gateway) -> None:
    """Last but one: the name server stays stopped."""
    gateway.nameserver.stop()

    status, found = check(gateway)

    assert status == 1
    assert found["name server"].level is Level.FAILING
    assert "temporary errors" in found["name server"].text


def test_f3_f4_without_postfix_and_filter_their_places_are_named(gateway: Gateway) -> None:
    """Last: both stay stopped."""
    gateway.postfix.stop()
    gateway.service("filter").stop()

    status, found = check(gateway)

    assert status == 1
    failing = {subject for subject, finding in found.items() if finding.level is Level.FAILING}
    assert failing >= {
        "filter socket",
        "Postfix's listener for released mail",
        "Postfix's listener for reports",
    }
    assert "mail is deferred" in found["filter socket"].text
