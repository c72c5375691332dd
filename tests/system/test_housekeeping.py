"""The reports service keeps a node in order as soon as it starts: nothing has to be scheduled beside it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.lab.gateway import NODE_NAME, Gateway
from appliance.lab.services import wait_for
from appliance.mail.message import HeaderField, Message
from appliance.quarantine import Quarantine
from appliance.store import audit, events, failure_intake, failures, quarantine, reports
from appliance.store.engine import open_store
from appliance.store.reports import NewJob
from tests.failing import samples_of
from tests.store.samples import ENVELOPE, held, message

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

OLD, NEW = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
NOW = datetime.now(UTC)


@pytest.fixture
def gateway(tmp_path: Path, requires_postfix: None) -> Iterator[Gateway]:
    """With a message of 40 days ago and one of today, both recorded and held before it starts, and reports about both."""
    running = Gateway(tmp_path, inside_domains=("corp.example",), page=False, reports=True)
    files = Quarantine(tmp_path / "quarantine")
    files.directory.mkdir(mode=0o770)
    store = open_store(running.store_url, create=True)
    for event_id, days in ((OLD, 40), (NEW, 0)):
        envelope = replace(ENVELOPE, received_at=NOW - timedelta(days=days))
        octets = Message(envelope, (HeaderField(b"Subject", b" x"),), b"Hello\r\n")
        digest = files.write(event_id, octets)
        row = replace(
            held(event_id, envelope, digest),
            node=NODE_NAME,
            held_at=envelope.received_at,
            size_octets=octets.size_octets,
        )
        with store.begin() as connection:
            events.record(connection, [message(event_id, envelope=envelope)])
            quarantine.add(connection, row)
            failed = replace(samples_of()[0], received_at=envelope.received_at, event_id=event_id)
            failure_intake.add(connection, [failed], room=10)
            day = envelope.received_at.date()
            reports.plan(connection, NewJob(day, "d.example", "ab" * 16, 0, 86_400, event_id), NOW)
    store.close()
    with running:
        yield running


def test_s27_what_is_older_than_its_retention_is_deleted_and_the_rest_stays(gateway: Gateway) -> None:
    def tidied() -> bool:
        with gateway.store.read() as connection:
            left = [
                *(job.report_id for job in reports.jobs(connection)),
                *(row.event_id for row in failures.recent(connection)),
            ]
            return (
                not events.find(connection, OLD)
                and quarantine.get(connection, OLD) is None
                and left == [NEW, NEW]
            )

    wait_for("the old message to go", tidied, gateway.service("reports"), seconds=60)

    with gateway.store.read() as connection:
        kept = quarantine.get(connection, NEW)
        assert events.find(connection, NEW)
        acts = [entry.action for entry in audit.recent(connection)]
    assert kept is not None
    assert [path.stem for path in gateway.directory.glob("quarantine/*/*/*.eml")] == [NEW]
    assert "quarantine expire" in acts
