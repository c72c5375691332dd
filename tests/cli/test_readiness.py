"""``dmarcgate report readiness``, and reports that can't be switched on without it (AGG-34)."""

import json
from datetime import UTC, datetime

import pytest

from appliance.settings import from_document
from appliance.store import readiness
from appliance.store.engine import Store
from tests.cli.commands import Gate
from tests.cli.conftest import Saved

REPORTER = {"address": "dmarc@corp.test", "organization": "Corp"}
NOTHING_THERE = ("--resolver", "127.0.0.1:1")


def test_agg_34_reports_are_switched_on_after_a_passed_check_and_the_remedy_is_named_before(
    gate: Gate, saved: Saved, sqlite_store: Store
) -> None:
    saved.save(from_document({"verification": {"enabled": True}, "reports": REPORTER}))
    identity = readiness.identity_of(saved.settings.reports)

    before = gate("settings", "set", "reports.enabled=true")
    with sqlite_store.begin() as connection:
        readiness.record(connection, identity, passed=True, document="{}", now=datetime.now(UTC))
    after = gate("settings", "set", "reports.enabled=true")

    assert before.status == 2
    assert "reports.readiness_override: " in before.err
    assert "run dmarcgate report readiness" in before.err
    assert after.status == 0
    assert saved.settings.reports.enabled


def test_agg_34_a_check_that_fails_ends_with_status_1_and_tells_what_to_mend(
    gate: Gate, saved: Saved
) -> None:
    saved.save(from_document({"reports": REPORTER}))

    told = gate("report", "readiness", "--address", "192.0.2.25", *NOTHING_THERE)
    as_json = gate("report", "readiness", "--address", "192.0.2.25", "--json", *NOTHING_THERE)

    assert (told.status, as_json.status) == (1, 1)
    lines = told.out.splitlines()
    assert "FAILING  DKIM key: there is no key for corp.test" in lines
    assert "         → make one: dmarcgate key generate" in lines
    assert lines[-1] == "Reports from dmarc@corp.test may not be switched on yet."
    document = json.loads(as_json.out)
    assert document["passed"] is False
    assert {"ok", "failing"} <= {measure["level"] for measure in document["measures"]}
    assert document["outgoing"] == ["192.0.2.25"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(["--address", "gateway"], 'address "gateway" is no IPv4 or IPv6 address', id="address"),
        pytest.param([], "set reports.organization and reports.address first", id="no identity"),
    ],
)
def test_what_cannot_be_measured_is_told_in_words(gate: Gate, words: list[str], told: str) -> None:
    done = gate("report", "readiness", *words)

    assert done.status == 2
    assert told in done.err
