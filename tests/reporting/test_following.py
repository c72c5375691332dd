"""Postfix's log says what became of reports: each word of it, through rotations, and nothing where it can't be read."""

import gzip
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from appliance.store import reports, suppression
from appliance.store.engine import Store
from appliance.store.reports import Attempt, Fate, JobStatus, NewJob
from reporting.delivery import Courier
from reporting.following import Follower, read_fates
from tests.reporting.sink import StartSink

NOW = datetime.now(UTC)
HEAD = "Nov 23 17:19:36 gateway postfix/"
TO = "smtp[71]: 4ZqK1: to=<d@bank.test>, relay=mx.bank.test[192.0.2.1]:25, delay=1, delays=0/0/1/0, "
SENT = TO + "dsn=2.0.0, status=sent (250 2.0.0 ok)"
DEFERRED = (
    TO + "dsn=4.2.1, status=deferred (host mx said: 451 4.2.1 greylisted (in reply to RCPT TO command))"
)
BOUNCED = (
    TO + "dsn=5.1.1, status=bounced (host mx said: 550 5.1.1 no such user (in reply to RCPT TO command))"
)
GIVEN_UP = "qmgr[66]: 4ZqK1: from=<bounces+1.2@gateway.test>, status=expired, returned to sender"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "maillog"
    append(path, "master[1]: daemon started -- version 3.7.11")
    return path


def append(log: Path, *lines: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.writelines(f"{HEAD}{line}\n" for line in lines)


def hand_over(store: Store, at: datetime = NOW, *, part: int = 1, queue_id: str = "4ZqK1") -> int:
    new = NewJob(date(2026, 3, 4), "bank.test", "ab" * 16, 0, 1, f"report{part}", part)
    with store.begin() as connection:
        job = reports.plan(connection, new, at)
        reports.add_attempt(connection, job.id, Attempt(at, "d@bank.test", "accepted", "250 Ok", queue_id))
        reports.set_status(connection, job.id, JobStatus.SENT, at)
    return job.id


def compress(log: Path) -> None:
    """As logrotate does at its next turn."""
    log.with_name("maillog.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.write_bytes(b"")


def attempt(store: Store, job_id: int) -> Attempt:
    with store.read() as connection:
        [found] = reports.attempts(connection, job_id)
    return found


@pytest.mark.parametrize(
    ("lines", "fate", "said"),
    [
        pytest.param([SENT], Fate.DELIVERED, "250 2.0.0 ok", id="sent"),
        pytest.param([DEFERRED], Fate.DEFERRED, "host mx said: 451 4.2.1 greylisted (in reply to RCPT TO command)", id="deferred"),
        pytest.param([DEFERRED, SENT], Fate.DELIVERED, "250 2.0.0 ok", id="sent at last"),
        pytest.param([BOUNCED], Fate.BOUNCED, "host mx said: 550 5.1.1 no such user (in reply to RCPT TO command)", id="bounced"),
        pytest.param([TO + "dsn=4.4.6, status=bounced (mail loop)"], Fate.EXPIRED, "4.4.6 mail loop", id="bounced, but not for good"),
        pytest.param([DEFERRED, GIVEN_UP], Fate.EXPIRED, "host mx said: 451 4.2.1 greylisted (in reply to RCPT TO command)", id="AGG-43 given up"),
        pytest.param([GIVEN_UP.replace("expired", "force-expired")], Fate.EXPIRED, "", id="given up by hand"),
        pytest.param([TO.replace("to=<d@bank.test>", "to=<x@y.test>, orig_to=<d@bank.test>") + "dsn=2.0.0, status=sent (ok)"], Fate.DELIVERED, "2.0.0 ok", id="an alias"),
        pytest.param([SENT.replace("4ZqK1", "4ZqK2")], None, "", id="another message"),
        pytest.param([f"cleanup[3]: 4ZqK1: message-id=<{SENT}>"], None, "", id="a message-id that looks like the log"),
        pytest.param(["cleanup[3]: 4ZqK1: to=<x>, dsn=5.1.1, status=bounced"], None, "", id="half a line"),
        pytest.param([GIVEN_UP.replace("qmgr", "smtpd")], None, "", id="another program's word"),
        pytest.param([TO + "dsn=2.0.0, status=sent (said dsn=5.1.1, status=bounced (no))"], Fate.DELIVERED, "2.0.0 said dsn=5.1.1, status=bounced (no)", id="a reply that looks like the log"),
    ],
)  # fmt: skip
def test_what_the_log_says(lines: list[str], fate: Fate | None, said: str) -> None:
    found = read_fates([f"{HEAD}{line}\n".encode() for line in lines], {"4ZqK1"})

    assert [(news.fate, news.diagnostic) for news in found.values()] == ([(fate, said)] if fate else [])


def test_reports_are_followed_from_hand_over_to_their_end(store: Store, log: Path) -> None:
    job_id = hand_over(store)
    follower = Follower(log)
    seen = []
    for line in (
        "qmgr[66]: 4ZqK1: from=<bounces+1.2@gateway.test>, size=1, nrcpt=1 (queue active)",
        DEFERRED,
        SENT,
    ):
        append(log, line)
        follower.follow(store, NOW)
        seen.append(attempt(store, job_id).fate)

    assert seen == [Fate.UNKNOWN, Fate.DEFERRED, Fate.DELIVERED]
    assert attempt(store, job_id).fate_at == NOW.replace(microsecond=NOW.microsecond)


def test_a_bounce_that_only_the_log_tells_of_counts_as_one(sqlite_store: Store, log: Path) -> None:
    """The notice may be lost; AGG-43: the report counts as failed."""
    job_id = hand_over(sqlite_store)
    append(log, BOUNCED)

    for _ in range(3):
        Follower(log).follow(sqlite_store, NOW)

    with sqlite_store.read() as connection:
        [suppressed] = suppression.known(connection)
        job = reports.get(connection, job_id)
    assert (suppressed.address, suppressed.strikes) == ("d@bank.test", 1)
    assert job is not None
    assert job.status is JobStatus.FAILED


def test_a_report_that_is_written_down_after_its_delivery_is_found_all_the_same(
    sqlite_store: Store, log: Path
) -> None:
    follower = Follower(log)
    other = hand_over(sqlite_store, part=2, queue_id="4ZqK9")
    for _ in range(3):
        follower.follow(sqlite_store, NOW)
    append(log, SENT)
    follower.follow(sqlite_store, NOW)
    job_id = hand_over(sqlite_store)

    follower.follow(sqlite_store, NOW)

    assert attempt(sqlite_store, job_id).fate is Fate.DELIVERED
    assert attempt(sqlite_store, other).fate is Fate.UNKNOWN


def test_a_rotated_log_is_read_on(sqlite_store: Store, log: Path) -> None:
    job_id = hand_over(sqlite_store)
    follower = Follower(log)
    for _ in range(3):
        follower.follow(sqlite_store, NOW)
    append(log, DEFERRED)
    log.rename(log.with_name("maillog-20261123"))
    append(log, "master[1]: daemon started -- version 3.7.11")

    follower.follow(sqlite_store, NOW)
    deferred = attempt(sqlite_store, job_id).fate
    append(log, SENT)
    follower.follow(sqlite_store, NOW)

    assert (deferred, attempt(sqlite_store, job_id).fate) == (Fate.DEFERRED, Fate.DELIVERED)


def test_a_service_that_starts_reads_back_as_far_as_its_reports(sqlite_store: Store, log: Path) -> None:
    job_id = hand_over(sqlite_store, NOW - timedelta(hours=1))
    append(log, SENT)
    log.rename(log.with_name("maillog.1"))
    append(log, "master[1]: daemon started -- version 3.7.11")

    Follower(log).follow(sqlite_store, NOW)

    assert attempt(sqlite_store, job_id).fate is Fate.DELIVERED


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda log: log.unlink(), id="gone"),
        pytest.param(lambda log: log.write_bytes(b""), id="emptied"),
        pytest.param(compress, id="compressed"),
        pytest.param(lambda log: (log.unlink(), log.mkdir()), id="a folder"),
        pytest.param(lambda log: log.write_bytes(b"\xff\0" * 1000 + b"status=\n"), id="no text"),
    ],
)
def test_where_the_log_can_t_be_read_nothing_is_claimed(
    sqlite_store: Store, log: Path, spoil: object
) -> None:
    job_id = hand_over(sqlite_store)
    follower = Follower(log)
    for _ in range(3):
        follower.follow(sqlite_store, NOW)
    append(log, SENT)
    assert callable(spoil)

    spoil(log)
    follower.follow(sqlite_store, NOW)

    assert attempt(sqlite_store, job_id).fate is Fate.UNKNOWN


def test_after_the_log_could_not_be_read_it_is_read_anew(sqlite_store: Store, log: Path) -> None:
    job_id = hand_over(sqlite_store)
    follower = Follower(log)
    for _ in range(3):
        follower.follow(sqlite_store, NOW)
    log.write_bytes(b"")
    follower.follow(sqlite_store, NOW)

    append(log, SENT)
    follower.follow(sqlite_store, NOW)

    assert attempt(sqlite_store, job_id).fate is Fate.DELIVERED


def test_old_reports_are_followed_no_more(sqlite_store: Store, log: Path) -> None:
    job_id = hand_over(sqlite_store, NOW - timedelta(days=7))
    append(log, SENT)

    assert Follower(log).follow(sqlite_store, NOW) == 0
    assert attempt(sqlite_store, job_id).fate is Fate.UNKNOWN


def test_notices_of_failures_and_delays_are_asked_for_without_the_report(start_sink: StartSink) -> None:
    """RFC 3461: what comes back then is small, and tells of delays on the way."""
    sink = start_sink()

    with Courier(*sink.place) as courier:
        courier.hand_over("bounces+1.2@gateway.test", "d@bank.test", b"Subject: x\r\n\r\n\r\n")

    [path] = sink.folder.glob("mail.*")
    envelope = path.read_bytes()
    assert b"X-Mail-Args: <bounces+1.2@gateway.test> RET=HDRS\n" in envelope
    assert b"X-Rcpt-Args: <d@bank.test> NOTIFY=FAILURE,DELAY\n" in envelope
