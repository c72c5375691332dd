"""What became of reports that Postfix took, and the ladder that keeps dead addresses from further ones."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import insert, select

from appliance.store import deliveries, failures, reports, suppression
from appliance.store.deliveries import Copy, News
from appliance.store.engine import Store
from appliance.store.reports import Attempt, Fate, JobStatus, NewJob
from appliance.store.schema import failure
from appliance.store.secret import shared_key
from appliance.store.suppression import Suppression
from appliance.store.values import to_micros
from tests.store.samples import DAY_BEGIN, DAY_END

NOW = datetime(2026, 3, 5, 0, 40, tzinfo=UTC)
NEW = NewJob(date(2026, 3, 4), "sender.example", "ab" * 16, DAY_BEGIN, DAY_END, "report1")
R = "r@sender.example"
S = "s@sender.example"


def sent(store: Store, *recipients: str, at: datetime = NOW, status: JobStatus = JobStatus.SENT) -> int:
    """A report that Postfix took for *recipients*; the job."""
    with store.begin() as connection:
        job = reports.plan(connection, NEW, at)
        reports.set_destinations(connection, job.id, recipients, at)
        for number, recipient in enumerate(recipients):
            attempt = Attempt(at, recipient, "accepted", "250 Ok", f"4Zq{number}")
            reports.add_attempt(connection, job.id, attempt)
        reports.set_status(connection, job.id, status, at)
    return job.id


def copies(store: Store) -> tuple[Copy, ...]:
    with store.read() as connection:
        report = deliveries.sent_report(connection, NEW.report_id)
    assert report is not None
    return report.copies


def learn(store: Store, copy: Copy, fate: Fate, said: str = "said", at: datetime = NOW) -> Suppression | None:
    with store.begin() as connection:
        return deliveries.learn(connection, copy, News(fate, said), at)


def strike(store: Store, *, sent_at: datetime, at: datetime, address: str = R) -> Suppression | None:
    with store.begin() as connection:
        return deliveries.strike(connection, address, sent_at=sent_at, diagnostic="5.1.1 no", now=at)


def test_bnc_03_the_first_bounce_costs_7_days_the_next_30_and_the_third_all(store: Store) -> None:
    first = strike(store, sent_at=NOW, at=NOW)
    back = NOW + timedelta(days=7)
    second = strike(store, sent_at=back, at=back)
    back_again = back + timedelta(days=30)
    third = strike(store, sent_at=back_again, at=back_again)
    after = strike(store, sent_at=back_again + timedelta(days=999), at=back_again + timedelta(days=999))

    assert first == Suppression(R, NOW + timedelta(days=7), "bounce 1 on 2026-03-05: 5.1.1 no", 1)
    assert second == Suppression(R, back + timedelta(days=30), "bounce 2 on 2026-03-12: 5.1.1 no", 2)
    assert third == Suppression(R, None, "bounce 3 on 2026-04-11: 5.1.1 no", 3)
    assert after is None
    with store.read() as connection:
        assert suppression.known(connection) == [third]


def test_bnc_03_bounces_of_what_was_sent_before_the_suppression_ended_are_no_further_ones(
    store: Store,
) -> None:
    """Ten domains that report to one dead address are one bounce, also when some notices come days later."""
    first = strike(store, sent_at=NOW, at=NOW)

    same_day = strike(store, sent_at=NOW, at=NOW + timedelta(minutes=1))
    late = strike(store, sent_at=NOW, at=NOW + timedelta(days=8))

    assert (same_day, late) == (None, None)
    with store.read() as connection:
        assert suppression.known(connection) == [first]


def test_bnc_03_an_administrator_s_edit_begins_the_ladder_anew(store: Store) -> None:
    strike(store, sent_at=NOW, at=NOW)
    later = NOW + timedelta(days=10)

    with store.begin() as connection:
        suppression.suppress(connection, R, later, "moved")
    edited = strike(store, sent_at=later, at=later)
    with store.begin() as connection:
        suppression.unsuppress(connection, R)
    removed = strike(store, sent_at=later, at=later)

    assert edited is not None
    assert removed is not None
    assert (edited.strikes, removed.strikes) == (1, 1)


def test_a_bounce_does_not_shorten_what_an_administrator_wants(store: Store) -> None:
    with store.begin() as connection:
        suppression.suppress(connection, R, None, "asked for it")

    changed = strike(store, sent_at=NOW, at=NOW)

    assert changed is None
    with store.read() as connection:
        assert suppression.known(connection) == [Suppression(R, None, "asked for it")]


def test_a_bounce_is_noted_once_whoever_tells_of_it(store: Store) -> None:
    sent(store, R)
    [copy] = copies(store)

    told = [learn(store, copy, Fate.BOUNCED, said) for said in ("by a notice", "by the log")]

    assert [suppressed is not None for suppressed in told] == [True, False]
    with store.read() as connection:
        [attempt] = reports.attempts(connection, copy.job_id or 0)
    assert (attempt.fate, attempt.fate_at, attempt.diagnostic) == (Fate.BOUNCED, NOW, "by a notice")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(Fate.DEFERRED, Fate.DELIVERED, Fate.DELIVERED, id="taken at last"),
        pytest.param(Fate.DELIVERED, Fate.BOUNCED, Fate.BOUNCED, id="sent back by the server that took it"),
        pytest.param(Fate.DELIVERED, Fate.DEFERRED, Fate.DELIVERED, id="a late word about a delay"),
        pytest.param(Fate.EXPIRED, Fate.DEFERRED, Fate.EXPIRED, id="given up is the end"),
        pytest.param(Fate.BOUNCED, Fate.DELIVERED, Fate.BOUNCED, id="bounced is the end"),
    ],
)
def test_news_replace_only_what_is_less_sure(store: Store, before: Fate, after: Fate, expected: Fate) -> None:
    job_id = sent(store, R)
    [copy] = copies(store)

    for fate in (before, after):
        learn(store, copy, fate)

    with store.read() as connection:
        assert [attempt.fate for attempt in reports.attempts(connection, job_id)] == [expected]


@pytest.mark.parametrize(
    "fate",
    [
        pytest.param(Fate.DEFERRED, id="deferred"),
        pytest.param(Fate.EXPIRED, id="given up"),
        pytest.param(Fate.DELIVERED, id="delivered"),
    ],
)
def test_bnc_02_only_a_hard_bounce_suppresses(store: Store, fate: Fate) -> None:
    sent(store, R)
    [copy] = copies(store)

    assert learn(store, copy, fate) is None
    with store.read() as connection:
        assert suppression.known(connection) == []


def test_agg_43_a_report_is_failed_once_it_reached_nobody(store: Store) -> None:
    job_id = sent(store, R, S)
    first, second = copies(store)

    learn(store, first, Fate.BOUNCED, "5.1.1 no such user")
    with store.read() as connection:
        half = reports.get(connection, job_id)
    learn(store, second, Fate.EXPIRED, "4.4.1 timed out")
    with store.read() as connection:
        whole = reports.get(connection, job_id)

    assert half is not None
    assert whole is not None
    assert half.status is JobStatus.SENT
    assert whole.status is JobStatus.FAILED
    assert whole.reason == "bounced: 5.1.1 no such user; expired: 4.4.1 timed out"


def test_agg_43_a_bounce_that_is_faster_than_the_sender_is_concluded_afterwards(store: Store) -> None:
    job_id = sent(store, R, status=JobStatus.SENDING)
    [copy] = copies(store)
    learn(store, copy, Fate.BOUNCED)
    with store.begin() as connection:
        reports.set_status(connection, job_id, JobStatus.SENT, NOW)

        found = deliveries.undelivered_jobs(connection, NOW - timedelta(days=1))
        deliveries.conclude_undelivered(connection, found, NOW)

    with store.read() as connection:
        job = reports.get(connection, job_id)
        assert deliveries.undelivered_jobs(connection, NOW - timedelta(days=1)) == []
    assert job is not None
    assert job.status is JobStatus.FAILED


def test_copies_are_followed_until_their_end_is_known(store: Store) -> None:
    sent(store, R, S)
    one, other = copies(store)
    learn(store, one, Fate.DELIVERED)
    learn(store, other, Fate.DEFERRED)

    with store.read() as connection:
        waiting = deliveries.waiting(connection, NOW - timedelta(days=6))
        too_old = deliveries.waiting(connection, NOW + timedelta(seconds=1))

    assert waiting == [other]
    assert other.queue_id == "4Zq1"
    assert too_old == []


def test_bnc_01_a_report_is_found_by_its_id_with_all_whom_it_may_have_gone_to(store: Store) -> None:
    job_id = sent(store, R)
    with store.begin() as connection:
        reports.set_destinations(connection, job_id, [S], NOW)
        reports.add_attempt(connection, job_id, Attempt(NOW, S, "deferred", "451 later", ""))

        found = deliveries.sent_report(connection, NEW.report_id)
        unknown = deliveries.sent_report(connection, "report2")

    assert found is not None
    assert found.destinations == (S, R)
    assert [copy.recipient for copy in found.copies] == [R]
    assert found.last_at == NOW
    assert unknown is None


def test_ruf_08_failure_reports_have_return_paths_too(store: Store) -> None:
    copy = failures.FailureCopy(f"bounces+failure1.0123456789ab@{S}", "", "accepted", "250 Ok", "4Zq9")
    row = {
        "key": b"k" * 16,
        "alike": b"a" * 16,
        "event_id": "0123456789ab",
        "policy_domain": "sender.example",
        "author_domain": "sender.example",
        "first_at": to_micros(NOW),
        "last_at": to_micros(NOW),
        "incidents": 1,
        "reported": 0,
        "document": "",
        "report_id": "",
        "status": "pending",
        "reason": "",
        "destinations": "{}",
        "updated_at": to_micros(NOW),
    }
    with store.begin() as connection:
        connection.execute(insert(failure).values(**row))
        not_built = deliveries.sent_report(connection, "")
        row_id = connection.scalar(select(failure.c.id)) or 0
        failures.keep_message(connection, row_id, report_id="failure1", octets=b"", now=NOW)
        failures.keep_copies(connection, row_id, {R: copy}, NOW)

        found = deliveries.sent_report(connection, "failure1")
        assert found is not None
        [sent_copy] = found.copies
        suppressed = deliveries.learn(connection, sent_copy, News(Fate.BOUNCED, "5.1.1 no"), NOW)

    assert sent_copy == Copy(R, NOW)
    assert suppressed is not None
    assert suppressed.address == R
    assert not_built is None


def test_a_shared_key_is_made_once(store: Store) -> None:
    with store.begin() as connection:
        one = shared_key(connection, "one")
    with store.begin() as connection:
        again, other = shared_key(connection, "one"), shared_key(connection, "other")

    assert len(one) == 32
    assert again == one
    assert other != one


def test_what_strangers_say_is_cut(store: Store) -> None:
    job_id = sent(store, R)
    [copy] = copies(store)

    learn(store, replace(copy, recipient="x" * 2000 + "@x"), Fate.BOUNCED, "y" * 5000)

    with store.read() as connection:
        [attempt] = reports.attempts(connection, job_id)
        [suppressed] = suppression.known(connection)
    assert len(attempt.diagnostic) == 500
    assert (len(suppressed.address), len(suppressed.reason)) == (512, 500)
