"""Mail that does not get away shows in the readiness check."""

import smtplib
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.lab.postfix import PostfixInstance
from reporting.readiness.measure import Level
from reporting.readiness.postfix import STUCK, look_at_queue, parameters
from tests.postfix import config_below

pytestmark = pytest.mark.system

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def postfix(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> Iterator[PostfixInstance]:
    """All that it takes waits."""
    instance = PostfixInstance(config_below(tmp_path_factory.mktemp("postfix") / "postfix", "corp.test"))
    with instance:
        main_cf = instance.configuration_directory / "main.cf"
        main_cf.write_text(
            main_cf.read_text() + "\ndefer_transports = outside\nsmtp_bind_address = 192.0.2.9\n"
        )
        instance.reload()
        yield instance


def send(postfix: PostfixInstance, messages: int) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.config.report_port) as client:
        for _ in range(messages):
            client.sendmail("a@corp.test", "b@far.test", "Subject: x\r\n\r\nx\r\n")


def test_messages_that_wait_for_hours_are_counted_with_the_reason_of_the_oldest(
    postfix: PostfixInstance,
) -> None:
    folder, now = postfix.configuration_directory, datetime.now(UTC)
    send(postfix, 1)
    wait_until_deferred(postfix, 1)

    fresh, late = look_at_queue(folder, now), look_at_queue(folder, now + 2 * HOUR)
    send(postfix, STUCK - 1)
    wait_until_deferred(postfix, STUCK)
    stuck = look_at_queue(folder, now + 2 * HOUR)

    assert (fresh.level, late.level, stuck.level) == (Level.OK, Level.WARNING, Level.FAILING)
    assert late.measured.startswith("1 messages wait for more than an hour, the oldest since 20")
    assert late.measured.endswith("deferred transport")
    assert "port 25" in stuck.remedy


def test_a_queue_that_cannot_be_read_is_told_as_such(tmp_path: Path) -> None:
    found = look_at_queue(tmp_path, datetime.now(UTC))

    assert found.level is Level.WARNING
    assert "could not be read" in found.measured


def test_the_parameters_are_those_of_the_named_configuration(
    postfix: PostfixInstance, tmp_path: Path
) -> None:
    assert parameters(postfix.configuration_directory)["smtp_bind_address"] == "192.0.2.9"
    assert parameters(tmp_path) == {}


def wait_until_deferred(postfix: PostfixInstance, messages: int) -> None:
    command = ["postqueue", "-c", str(postfix.configuration_directory), "-j"]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if listed.count('"delay_reason"') >= messages:
            return
        time.sleep(0.1)
    raise AssertionError(f"{messages} messages are not deferred within 30 s")
