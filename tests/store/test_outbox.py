"""The outbox as people act on it, with several nodes at work on it."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import pytest

from appliance.store import last_run, outbox, reports
from appliance.store.engine import Store, open_store
from appliance.store.outbox import AGAIN, CopyState, NotNow, NotPossible
from appliance.store.reports import Attempt, JobStatus, NewJob, ReportJob

NOW = datetime(2026, 3, 5, 1, 0, tzinfo=UTC)
DAY = date(2026, 3, 4)


def job(store: Store, domain: str = "bank.test", *, built: bool = True) -> ReportJob:
    with store.begin() as connection:
        planned = reports.plan(connection, NewJob(DAY, domain, "ab", 0, 86_400, f"id{domain}"), NOW)
        if built:
            reports.keep_message(
                connection,
                planned.id,
                message=b"m",
                xml_gz=b"x",
                destinations=(),
                rows=1,
                messages=2,
                now=NOW,
            )
        found = reports.get(connection, planned.id)
    assert found
    return found


def attempted(store: Store, job: ReportJob, recipient: str, outcome: str) -> None:
    with store.begin() as connection:
        reports.add_attempt(connection, job.id, Attempt(NOW, recipient, outcome, "said", ""))


def states(store: Store, job: ReportJob) -> dict[str, CopyState]:
    with store.read() as connection:
        found = outbox.entry(connection, job.id, NOW)
    assert found
    return {copy.address: copy.state for copy in found.copies}


def test_what_was_tried_before_somebody_wanted_it_again_does_not_count(store: Store) -> None:
    """AGG-32: the next run hands over the frozen copies once more."""
    built = job(store)
    for recipient, outcome in (("a@x.test", "refused"), ("b@x.test", "accepted"), ("c@x.test", "deferred")):
        attempted(store, built, recipient, outcome)

    with store.begin() as connection:
        done = outbox.send_again(connection, built.id, "anna", NOW)
    attempted(store, built, "a@x.test", "accepted")

    assert (done.addresses, done.left_alone) == (("a@x.test",), ("b@x.test",))
    with store.read() as connection:
        made = reports.attempts(connection, built.id)
        counting = outbox.that_count(made)
        due = reports.get(connection, built.id)
    assert [attempt.outcome for attempt in made] == ["refused", "accepted", "deferred", AGAIN, "accepted"]
    assert sorted((one.recipient, one.outcome) for one in counting) == [
        ("a@x.test", "accepted"),
        ("b@x.test", "accepted"),
        ("c@x.test", "deferred"),
    ]
    assert due
    assert (due.status, due.due_at) == (JobStatus.BUILT, None)


def test_a_copy_that_is_wanted_again_stands_as_untried(store: Store) -> None:
    built = job(store)
    attempted(store, built, "a@x.test", "refused")
    before = states(store, built)

    with store.begin() as connection:
        outbox.send_again(connection, built.id, "anna", NOW)

    assert (before, states(store, built)) == (
        {"a@x.test": CopyState.REFUSED},
        {"a@x.test": CopyState.UNTRIED},
    )


@pytest.mark.parametrize("status", [JobStatus.SENT, JobStatus.FAILED, JobStatus.REFUSED, JobStatus.DISCARDED])
def test_only_what_is_not_sent_yet_can_be_cancelled(store: Store, status: JobStatus) -> None:
    built = job(store)
    with store.begin() as connection:
        reports.set_status(connection, built.id, status, NOW)

    with pytest.raises(NotPossible, match=f"is {status}"), store.begin() as connection:
        outbox.cancel(connection, built.id, "anna", NOW)


def test_what_another_node_works_on_is_left_alone_until_its_lease_ends(store: Store) -> None:
    worked_on, free = job(store), job(store, "shop.test", built=False)
    with store.begin() as connection:
        reports.claim_job(connection, "another", NOW, lease_seconds=60)

    with pytest.raises(NotNow), store.begin() as connection:
        outbox.send_again(connection, worked_on.id, "anna", NOW)
    with store.begin() as connection:
        first = outbox.cancel_unsent(connection, "anna", NOW)
        left = outbox.unsent(connection)
        later = outbox.cancel_unsent(connection, "anna", NOW + timedelta(seconds=61))

    assert (first, later) == (1, 1)
    assert left == [worked_on.id]
    assert free.id not in left


def test_of_several_nodes_one_begins_what_all_do_once(store: Store) -> None:
    def node(_: int) -> bool:
        with closing(open_store(store.url)) as own, own.begin() as connection:
            return last_run.begin(connection, "summary", NOW - timedelta(days=7), NOW)

    with ThreadPoolExecutor(4) as nodes:
        begun = list(nodes.map(node, range(8)))

    assert sum(begun) == 1


@pytest.mark.parametrize(
    ("last", "due"),
    [
        pytest.param(NOW - timedelta(days=8), True, id="before then"),
        pytest.param(NOW - timedelta(days=7), False, id="just then"),
        pytest.param(NOW, False, id="now"),
        pytest.param(NOW + timedelta(hours=1), False, id="by another clock, a little ahead"),
        pytest.param(NOW + timedelta(days=400), True, id="F11: by a clock that was wrong"),
    ],
)
def test_it_is_due_again_after_its_time(store: Store, last: datetime, due: bool) -> None:
    since = NOW - timedelta(days=7)
    with store.begin() as connection:
        first = last_run.is_due(connection, "summary", since, NOW)
        last_run.begin(connection, "summary", last - timedelta(days=7), last)

    with store.begin() as connection:
        found = last_run.is_due(connection, "summary", since, NOW)
        begun = last_run.begin(connection, "summary", since, NOW)

    assert first
    assert found is begun is due


def test_the_mail_that_a_run_left_is_kept_until_it_is_taken(store: Store) -> None:
    with store.begin() as connection:
        last_run.begin(connection, "summary", NOW, NOW)
        last_run.keep_message(connection, "summary", b"octets \xff")

    with store.begin() as connection:
        kept = last_run.message(connection, "summary")
        last_run.keep_message(connection, "summary", None)
        gone = last_run.message(connection, "summary")

    assert (kept, gone) == (b"octets \xff", None)
