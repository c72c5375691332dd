"""A report's way through a real Postfix into a mailbox."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from appliance.lab.mailbox import Mailbox
from appliance.lab.nameserver import NameServer
from appliance.lab.postfix import PostfixInstance
from appliance.store import reports
from appliance.store.engine import Store
from appliance.store.reports import JobStatus
from reporting.jobs import build_day, send_pending
from tests.postfix import config_below
from tests.reporting.reader import read_mail
from tests.reporting.samples import DAY, HOUR, MIDNIGHT, NEXT_MORNING, ROW, SPOOF, count, save, settings

pytestmark = pytest.mark.system


@pytest.fixture
def postfix(tmp_path: Path, requires_postfix: None) -> Iterator[PostfixInstance]:
    """Nobody listens where its filter should be: reports need none."""
    with PostfixInstance(config_below(tmp_path / "postfix", "inside.test")) as running:
        yield running


def test_the_report_of_a_day_reaches_the_mailbox_and_is_readable(
    sqlite_store: Store, nameserver: NameServer, postfix: PostfixInstance
) -> None:
    save(sqlite_store, settings())
    count(sqlite_store, ROW, times=5)
    count(sqlite_store, SPOOF, at=MIDNIGHT + HOUR, times=3)
    nameserver.zone.txt(
        "_dmarc.bank.test", "v=DMARC1; p=reject; rua=mailto:d@bank.test,mailto:a%2Cb@bank.test"
    )
    listener = ("127.0.0.1", postfix.config.report_port)

    [job] = build_day(sqlite_store, DAY, now=NEXT_MORNING, until=NEXT_MORNING)
    [result] = send_pending(sqlite_store, nameserver=nameserver.address, listener=listener, now=NEXT_MORNING)

    assert (result.status, result.accepted) == (JobStatus.SENT, ("d@bank.test", '"a,b"@bank.test'))
    with sqlite_store.read() as connection:
        attempts = reports.attempts(connection, job.id)
    mailbox = Mailbox(postfix.outside_maildir)
    for attempt in attempts:
        delivered = mailbox.wait_for(queue_id=attempt.queue_id)
        assert delivered.texts("To") == (attempt.recipient,)
        assert delivered.return_path.startswith(f"bounces+{job.report_id}.")
        report = read_mail(delivered.octets)
        assert report["report_metadata"]["report_id"] == job.report_id
        assert sorted(record["count"] for record in report["records"]) == [3, 5]


def test_a_day_that_is_not_over_is_reported_up_to_now(sqlite_store: Store) -> None:
    save(sqlite_store, settings())
    count(sqlite_store, ROW)
    afternoon = datetime.fromtimestamp(MIDNIGHT, tz=NEXT_MORNING.tzinfo) + timedelta(hours=15)

    [job] = build_day(sqlite_store, DAY, now=afternoon, until=afternoon)

    assert (job.status, job.begin, job.end) == (JobStatus.BUILT, MIDNIGHT, MIDNIGHT + 15 * HOUR)
    assert build_day(sqlite_store, DAY, now=NEXT_MORNING) == []
