"""The outbox of reports: planned once, claimed by one, frozen before it is sent."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from appliance.store import reports, suppression
from appliance.store.engine import Store
from appliance.store.reports import Attempt, JobStatus, NewJob, ReportJob
from appliance.store.suppression import Suppression
from tests.store.samples import DAY_BEGIN, DAY_END

NOW = datetime(2026, 3, 5, 0, 40, tzinfo=UTC)
NEW = NewJob(date(2026, 3, 4), "sender.example", "ab" * 16, DAY_BEGIN, DAY_END, "report-1")


def plan(store: Store, new: NewJob = NEW, now: datetime = NOW) -> ReportJob:
    with store.begin() as connection:
        return reports.plan(connection, new, now)


def claim(store: Store, owner: str, minutes: float = 0, **options: object) -> ReportJob | None:
    with store.begin() as connection:
        return reports.claim_job(connection, owner, NOW + timedelta(minutes=minutes), **options)  # type: ignore[arg-type]


def test_a_job_is_planned_once(store: Store) -> None:
    first = plan(store)

    again = plan(store, replace(NEW, report_id="report-2"), NOW + timedelta(hours=1))

    assert again == first
    assert first == ReportJob(
        id=first.id,
        day=NEW.day,
        policy_domain="sender.example",
        policy_key=NEW.policy_key,
        part=1,
        begin=DAY_BEGIN,
        end=DAY_END,
        report_id="report-1",
        status=JobStatus.PENDING,
        reason="",
        destinations=(),
        rows=0,
        messages=0,
        size_octets=0,
        created_at=NOW,
        updated_at=NOW,
    )


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(NEW, day=date(2026, 3, 5)), id="another day"),
        pytest.param(replace(NEW, policy_domain="other.example"), id="another domain"),
        pytest.param(replace(NEW, policy_key="cd" * 16), id="another policy"),
        pytest.param(replace(NEW, part=2), id="another part"),
    ],
)
def test_day_domain_policy_and_part_each_make_a_job_of_their_own(store: Store, other: NewJob) -> None:
    assert plan(store).id != plan(store, other).id


def test_a_job_is_claimed_by_one_until_its_lease_ends(store: Store) -> None:
    job = plan(store)

    claims = [
        claim(store, "one", lease_seconds=600),
        claim(store, "two", minutes=9),
        claim(store, "two", minutes=10),
    ]

    assert claims == [job, None, job]


def test_a_lease_can_be_given_back_by_its_owner_only(store: Store) -> None:
    job = plan(store)
    claim(store, "one")

    with store.begin() as connection:
        reports.release_job(connection, job.id, "two")
    still_leased = claim(store, "two")
    with store.begin() as connection:
        reports.release_job(connection, job.id, "one")

    assert still_leased is None
    assert claim(store, "two") == job


def test_many_workers_claim_each_job_once(store: Store) -> None:
    planned = {plan(store, replace(NEW, policy_domain=f"d{n}.example")).id for n in range(20)}

    def work(worker: int) -> list[int]:
        claimed = []
        while (job := claim(store, f"worker {worker}")) is not None:
            claimed.append(job.id)
        return claimed

    with ThreadPoolExecutor(4) as threads:
        claimed = [job for jobs in threads.map(work, range(4)) for job in jobs]

    assert len(claimed) == 20
    assert set(claimed) == planned


def test_a_lease_that_a_wrong_clock_took_for_a_year_is_none_f11(store: Store) -> None:
    job = plan(store)
    claim(store, "ahead", minutes=365 * 24 * 60)

    assert claim(store, "two") == job


def test_a_worker_learns_that_its_lease_went_to_another(store: Store) -> None:
    job = plan(store)
    claim(store, "slow")

    def keeps(owner: str, minutes: float) -> bool:
        with store.begin() as connection:
            return reports.keep_job(connection, job.id, owner, NOW + timedelta(minutes=minutes))

    kept = keeps("slow", 9), claim(store, "two", minutes=10)
    taken = claim(store, "two", minutes=20)

    assert kept == (True, None), "a lease that was kept begins anew"
    assert taken is not None
    assert (keeps("slow", 21), keeps("two", 21)) == (False, True)


def test_a_run_claims_each_job_that_is_due_once(store: Store) -> None:
    due, later, undecided = (plan(store, replace(NEW, part=part)) for part in (1, 2, 3))
    wrong = plan(store, replace(NEW, part=4))
    with store.begin() as connection:
        for job, due_at in (
            (due, NOW),
            (later, NOW + timedelta(minutes=1)),
            (wrong, NOW + reports.LONGEST_WAIT + timedelta(minutes=1)),
        ):
            reports.set_due(connection, job.id, due_at)

    def run(after: int, *, all_: bool = False) -> list[int]:
        with store.begin() as connection:
            claimed = reports.claim_jobs(
                connection,
                f"run {after} {all_}",
                NOW,
                most=9,
                lease_seconds=600,
                statuses=[JobStatus.PENDING],
                after=after,
                due=None if all_ else NOW,
            )
        return [job.id for job in claimed]

    first = run(0)

    assert first == [due.id, undecided.id, wrong.id], "what a wrong clock put off for long is due (F11)"
    assert (run(0), run(wrong.id, all_=True), run(0, all_=True)) == ([], [], [later.id])


def test_a_claim_waits_for_nobody(postgresql_store: Store) -> None:
    """A job that another is just claiming is passed over."""
    first, second = plan(postgresql_store), plan(postgresql_store, replace(NEW, part=2))

    with postgresql_store.begin() as connection:
        mine = reports.claim_job(connection, "one", NOW)
        theirs = claim(postgresql_store, "two")

    assert (mine, theirs) == (first, second)


def test_only_jobs_in_a_wanted_state_are_claimed(store: Store) -> None:
    job = plan(store)
    with store.begin() as connection:
        reports.set_status(connection, job.id, JobStatus.SENT, NOW)

    assert claim(store, "one") is None
    assert claim(store, "one", statuses=[JobStatus.PENDING]) is None
    found = claim(store, "one", statuses=[JobStatus.SENT])
    assert found is not None
    assert found.id == job.id


def test_what_is_sent_is_kept_octet_by_octet_before_it_is_sent(store: Store) -> None:
    job = plan(store)
    message, xml_gz = bytes(range(256)) * 100, b"\x1f\x8b\x00\xff"
    with store.begin() as connection:
        before = reports.message(connection, job.id), reports.xml_gz(connection, job.id)

        reports.keep_message(
            connection,
            job.id,
            message=message,
            xml_gz=xml_gz,
            destinations=["mailto:r@sender.example"],
            rows=3,
            messages=40,
            now=NOW + timedelta(minutes=1),
        )

    with store.read() as connection:
        built = reports.get(connection, job.id)
        kept = reports.message(connection, job.id), reports.xml_gz(connection, job.id)
    assert before == (None, None)
    assert kept == (message, xml_gz)
    assert built == replace(
        job,
        status=JobStatus.BUILT,
        destinations=("mailto:r@sender.example",),
        rows=3,
        messages=40,
        size_octets=len(message),
        updated_at=NOW + timedelta(minutes=1),
    )


def test_jobs_are_listed_newest_first_by_day_and_status(store: Store) -> None:
    jobs = [plan(store, replace(NEW, part=part)) for part in (1, 2, 3)]
    other_day = plan(store, replace(NEW, day=date(2026, 3, 5)))
    with store.begin() as connection:
        reports.set_status(connection, jobs[0].id, JobStatus.FAILED, NOW, reason="no " + "x" * 1000)

        listed = [
            reports.jobs(connection, 2),
            reports.jobs(connection, before=jobs[1].id),
            reports.jobs(connection, day=NEW.day),
            reports.jobs(connection, status=JobStatus.FAILED),
        ]

    ids = [[job.id for job in some] for some in listed]
    first, second, third = (job.id for job in jobs)
    assert ids == [[other_day.id, third], [first], [third, second, first], [first]]
    assert len(listed[3][0].reason) == 500


def test_every_attempt_is_remembered_in_order(store: Store) -> None:
    job = plan(store)
    tried = [
        Attempt(NOW, "r@sender.example", "deferred", "451 later", ""),
        Attempt(NOW + timedelta(hours=1), "r@sender.example", "accepted", "250 2.0.0 Ok", "4ZqK1"),
    ]

    with store.begin() as connection:
        for attempt in tried:
            reports.add_attempt(connection, job.id, attempt)

    with store.read() as connection:
        assert reports.attempts(connection, job.id) == tried
        assert reports.attempts(connection, job.id + 1) == []


def test_a_suppressed_address_gets_nothing_until_its_time_is_over(store: Store) -> None:
    until = NOW + timedelta(days=7)
    with store.begin() as connection:
        suppression.suppress(connection, "r@sender.example", NOW, "bounced")
        suppression.suppress(connection, "r@sender.example", until, "bounced again")

        during = suppression.find(connection, "r@sender.example", until - timedelta(seconds=1))
        after = suppression.find(connection, "r@sender.example", until)
        other = suppression.find(connection, "other@sender.example", NOW)

    assert during == Suppression("r@sender.example", until, "bounced again")
    assert (after, other) == (None, None)


def test_a_suppression_without_end_stays_until_it_is_removed(store: Store) -> None:
    with store.begin() as connection:
        suppression.suppress(connection, "r@sender.example", None, "asked for it")
        listed = suppression.known(connection)
        suppression.unsuppress(connection, "r@sender.example")
        gone = suppression.find(connection, "r@sender.example", NOW)

    assert listed == [Suppression("r@sender.example", None, "asked for it")]
    assert gone is None


def test_a_job_that_does_not_exist_is_a_key_error(store: Store) -> None:
    with store.begin() as connection:
        with pytest.raises(KeyError):
            reports.set_status(connection, 1, JobStatus.SENT, NOW)
        assert reports.get(connection, 1) is None
        assert reports.message(connection, 1) is None
