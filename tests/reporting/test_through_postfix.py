"""A report's way through a real Postfix into a mailbox."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_hex

import pytest

from appliance.lab.mailbox import Mailbox
from appliance.lab.nameserver import NameServer
from appliance.lab.postfix import PostfixInstance
from appliance.store import facts, reports
from appliance.store.engine import Store
from appliance.store.reports import JobStatus
from reporting.jobs import build_day, send_pending
from reporting.sending import SendResult
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


def test_f13_postfix_down_then_without_room_on_its_disk_costs_no_report_pain_4(
    sqlite_store: Store, nameserver: NameServer, postfix: PostfixInstance
) -> None:
    """Nothing counts as sent before the 250, and the page can say what is wrong."""
    save(sqlite_store, settings())
    count(sqlite_store, ROW)
    nameserver.zone.txt("_dmarc.bank.test", "v=DMARC1; p=reject; rua=mailto:d@bank.test")
    build_day(sqlite_store, DAY, now=NEXT_MORNING)
    main = postfix.configuration_directory / "main.cf"
    as_it_was = main.read_text(encoding="utf-8")

    def send(hours: float) -> SendResult:
        listener = ("127.0.0.1", postfix.config.report_port)
        now = NEXT_MORNING + timedelta(hours=hours)
        [result] = send_pending(sqlite_store, nameserver=nameserver.address, listener=listener, now=now)
        return result

    postfix.stop()
    down = send(0)
    main.write_text(f"{as_it_was}\nqueue_minfree = 9000000000000000\n", encoding="utf-8")
    postfix.start()
    full = send(1)
    postfix.stop()
    main.write_text(as_it_was, encoding="utf-8")
    postfix.start()
    sent = send(2)

    assert [result.status for result in (down, full, sent)] == [
        JobStatus.SENDING,
        JobStatus.SENDING,
        JobStatus.SENT,
    ]
    assert "refused" in down.reason
    assert full.reason.startswith("452 4.3.1")
    Mailbox(postfix.outside_maildir).wait_until(lambda m: m.recipient == "d@bank.test", "the report")
    assert len(Mailbox(postfix.outside_maildir).messages()) == 1


def test_f13_a_report_that_postfix_finds_too_large_is_failed_with_its_reply_at_once(
    sqlite_store: Store, nameserver: NameServer, tmp_path: Path, requires_postfix: None
) -> None:
    """552: a repetition would end the same."""
    save(sqlite_store, settings())
    rows = [replace(ROW, envelope_from=f"{token_hex(30)}.test") for _ in range(3000)]
    with sqlite_store.begin() as connection:
        facts.add(connection, MIDNIGHT, rows)
    nameserver.zone.txt("_dmarc.bank.test", "v=DMARC1; p=reject; rua=mailto:d@bank.test")
    build_day(sqlite_store, DAY, now=NEXT_MORNING)
    small = replace(config_below(tmp_path / "postfix", "inside.test"), message_size_limit_octets=20_000)

    with PostfixInstance(small) as postfix:
        listener = ("127.0.0.1", postfix.config.report_port)
        [result] = send_pending(
            sqlite_store, nameserver=nameserver.address, listener=listener, now=NEXT_MORNING
        )

    assert result.status is JobStatus.FAILED
    assert result.reason.startswith("552 5.3.4")
