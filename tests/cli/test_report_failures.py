"""``dmarcgate report failures``: the failure reports, and what became of each."""

import json
from dataclasses import replace

from appliance.store import failure_intake, failures
from appliance.store.engine import Store
from appliance.store.failures import FailureCopy
from appliance.store.reports import JobStatus
from tests.cli.commands import Gate
from tests.failing import NOW, samples_of

[SAMPLE] = samples_of()


def kept(store: Store, reply: str = "250 2.0.0 ok") -> None:
    """Three incidents, of which a report was made and handed over, and one that waits."""
    other = replace(SAMPLE, source_ip="198.51.100.67")
    with store.begin() as connection:
        failure_intake.add(connection, [SAMPLE] * 3, room=100)
        failure_intake.add(connection, [other], room=100)
        first = failures.recent(connection, 10)[-1]
        failures.keep_message(connection, first.id, report_id="ab12", octets=b"m", now=NOW)
        copy = FailureCopy("bounces+ab12.0@gateway.test", "To: f@bank.test\r\n", "accepted", reply, "4ZqK1")
        failures.keep_copies(connection, first.id, {"f@bank.test": copy}, NOW)
        failures.set_status(connection, first, JobStatus.SENT, NOW)


def test_ruf_04_incidents_and_copies_stand_beside_each_report(gate: Gate, sqlite_store: Store) -> None:
    kept(sqlite_store)

    told = gate("report", "failures")

    newest, oldest, copy = told.out.splitlines()
    assert told.status == 0
    assert f"{SAMPLE.author_domain}  from 198.51.100.67  1 incidents  pending" in newest
    assert "3 incidents  sent" in oldest
    assert f"message {SAMPLE.event_id}" in oldest
    assert copy.strip() == "f@bank.test  accepted, 4ZqK1: 250 2.0.0 ok"


def test_programs_read_them_page_by_page(gate: Gate, sqlite_store: Store) -> None:
    kept(sqlite_store)

    first = gate("report", "failures", "--json", "--limit", "1")
    newest = json.loads(first.out)
    oldest = json.loads(gate("report", "failures", "--json", "--before", str(newest["id"])).out)

    assert f"more: --before {newest['id']}" in first.err
    assert (oldest["incidents"], oldest["status"], oldest["report_id"]) == (3, "sent", "ab12")
    assert oldest["destinations"][0]["queue_id"] == "4ZqK1"


def test_t22_a_reply_does_not_steer_the_terminal(gate: Gate, sqlite_store: Store) -> None:
    kept(sqlite_store, reply="250 \x1b[2J\x9b\u202e")

    told = gate("report", "failures")

    assert all(char.isprintable() or char == "\n" for char in told.out)


def test_an_empty_list_says_so(gate: Gate) -> None:
    assert gate("report", "failures").err == "no failure reports\n"
