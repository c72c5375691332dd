"""What the reports service does, as functions that anyone may call at any time: build what is due, send what is built.

Every job is leased while it is worked on, so that several processes and nodes never do the same one twice.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from appliance.log import get_logger
from appliance.resolver import Resolver
from appliance.settings import Gate
from appliance.store import leases, report_copies, reports
from appliance.store import settings as stored_settings
from appliance.store.engine import Store, StoreUnavailable
from appliance.store.reports import JobStatus, ReportJob
from reporting import window
from reporting.aggregate import build_report
from reporting.aggregate_check import InvalidReport
from reporting.delivery import Courier
from reporting.destinations import Destinations, Kind, current_destinations
from reporting.gate import ReportGate
from reporting.parts import LIMITS, Limits
from reporting.period import days_before, last_day, utc_day
from reporting.planning import plan_day
from reporting.progress import Progress, Tracker
from reporting.return_path import return_paths
from reporting.sending import LEASE_SECONDS, Here, LeaseLost, Sender, SendResult

CATCH_UP_DAYS = 7  # days missed longer ago stay unreported: nobody waits for them any more
SETTLE = timedelta(minutes=30)  # a day is closed this long after midnight, when its last messages are counted
REFUSED_AT_ONCE = 500  # while they are written down, the filter waits (on SQLite)
SENT_AT_ONCE = 20  # reports whose destinations are looked up at the same time

PROGRAM_ERROR = "program error; the log has the details"


def build_day(
    store: Store,
    day: date,
    *,
    now: datetime | None = None,
    until: datetime | None = None,
    gate: Gate | None = None,
    progress: Callable[[Progress], None] | None = None,
    limits: Limits = LIMITS,
) -> list[ReportJob]:
    """Build the reports of the UTC *day* that don't exist yet; they come back as they ended.

    *until* ends the period early, for a day that is not over: give a full hour (``period.full_hour``), and a later
    run reports the rest of the day; what comes in the rest of an hour that is reported in part is in no report.
    *gate* stands in for the setting. *progress* is told how far it has come. Nothing is built while reports are
    switched off. *now* and *until* are aware.
    """
    moment = now or datetime.now(UTC)
    planned = plan_day(store, utc_day(day, until), moment, gate=gate)
    beyond = _refuse_beyond(store, day, moment)
    tracker = Tracker(store, progress)
    tracker.start()
    jobs = [_build(store, job, moment, tracker, limits) for job in _claimed(store, JobStatus.PENDING)]
    if planned.new or planned.refused or jobs:
        get_logger().info(
            "reports_built",
            day=day.isoformat(),
            built=sum(job.status is JobStatus.BUILT for job in jobs),
            failed=sum(job.status is JobStatus.FAILED for job in jobs),
            refused=planned.refused,
            beyond=beyond or None,
            uncounted=planned.uncounted or None,
        )
    return jobs


def build_due(
    store: Store, *, now: datetime | None = None, progress: Callable[[Progress], None] | None = None
) -> list[ReportJob]:
    """Build the last UTC day's reports, and those of the days before it that were missed.

    *progress* begins anew with each day.
    """
    moment = now or datetime.now(UTC)
    days = days_before(last_day(moment - SETTLE), CATCH_UP_DAYS)
    return [job for day in days for job in build_day(store, day, now=moment, progress=progress)]


def send_pending(
    store: Store,
    *,
    nameserver: str,
    listener: tuple[str, int],
    now: datetime | None = None,
    due_only: bool = False,
    node: str = "",
    log: Path | None = None,
    progress: Callable[[SendResult], None] | None = None,
) -> list[SendResult]:
    """Try every report that waits to be sent, once. Nothing is sent while reports are switched off.

    *nameserver* is ``ADDRESS:PORT``; *listener* is where Postfix takes reports without filtering them. With *due_only*
    reports wait for the time that was chosen for them. *node* is this one's name, *log* its Postfix's: there stands
    what became of a hand-over that broke off. *progress* hears of each report.
    """
    moment = now or datetime.now(UTC)
    with store.read() as connection:
        settings = stored_settings.current(connection).settings
    if not settings.reports.enabled:
        return []
    here = Here(leases.new_owner(), node or socket.gethostname(), log)
    results: list[SendResult] = []
    with asyncio.Runner() as runner, Courier(*listener) as courier:
        resolver = Resolver(nameserver)
        paths = return_paths(store, settings)
        sender = Sender(store, courier, ReportGate(settings), paths, settings.reports, here)
        try:
            for batch in _batches(store, here.owner, moment if due_only else None):
                found = runner.run(_destinations(batch, resolver))
                for job, destinations in zip(batch, found, strict=True):
                    result = _send(sender, job, destinations, moment)
                    if result is not None:
                        results.append(result)
                        if progress is not None:
                            progress(result)
                    if result is not None and result.is_unreachable:
                        return results
        finally:
            runner.run(resolver.close())
    return results


def _batches(store: Store, owner: str, due: datetime | None) -> Iterator[list[ReportJob]]:
    """All reports that wait, each once, some at a time: what is asked about them is asked at the same time.

    Leases go by the clock, whatever time the reports are sent for, and end with the batch.
    """
    last = 0
    while True:
        batch: list[ReportJob] = []
        try:
            with store.begin() as connection:
                batch = reports.claim_jobs(
                    connection,
                    owner,
                    datetime.now(UTC),
                    most=SENT_AT_ONCE,
                    lease_seconds=LEASE_SECONDS,
                    statuses=(JobStatus.BUILT, JobStatus.SENDING),
                    after=last,
                    due=due,
                )
            if not batch:
                return
            last = batch[-1].id
            yield batch
        finally:
            if batch:
                with store.begin() as connection:
                    for job in batch:
                        reports.release_job(connection, job.id, owner)


async def _destinations(batch: Sequence[ReportJob], resolver: Resolver) -> list[Destinations | None]:
    asked = (current_destinations(job.policy_domain, Kind.AGGREGATE, resolver) for job in batch)
    return await asyncio.gather(*asked)


def _claimed(store: Store, *statuses: JobStatus) -> Iterator[ReportJob]:
    """Each job in one of *statuses* that nobody works on, once.

    Leases go by the clock, whatever time the reports are made for. They end when all jobs are done: one that has to
    wait does not come up again in the meantime.
    """
    owner = leases.new_owner()
    held: set[int] = set()
    try:
        while True:
            with store.begin() as connection:
                job = reports.claim_job(
                    connection, owner, datetime.now(UTC), lease_seconds=LEASE_SECONDS, statuses=statuses
                )
            if job is None or job.id in held:
                return
            held.add(job.id)
            yield job
    finally:
        with store.begin() as connection:
            for job_id in held:
                reports.release_job(connection, job_id, owner)


def _refuse_beyond(store: Store, day: date, now: datetime) -> int:
    """Refuse the planned reports about *day* that are more than may be sent in one: they are not even built (T23)."""
    with store.read() as connection:
        most = stored_settings.current(connection).settings.reports.destinations_per_day
        beyond = report_copies.beyond(connection, day.isoformat(), most)
    reason = f"one of {len(beyond)} too many: no more than {most} reports may be sent on a day"
    refused = 0
    for at in range(0, len(beyond), REFUSED_AT_ONCE):
        with store.begin() as connection:
            refused += report_copies.refuse(connection, beyond[at : at + REFUSED_AT_ONCE], reason, now)
    return refused


def _build(store: Store, job: ReportJob, now: datetime, tracker: Tracker, limits: Limits) -> ReportJob:
    """Build one report. What can't be built is marked failed, and never sent."""
    problem = ""
    try:
        build_report(store, job, now, limits=limits, on_rows=tracker.written, on_cut=tracker.more)
    except StoreUnavailable:
        raise
    except InvalidReport as error:
        problem = str(error)
    except Exception:  # noqa: BLE001  one job's fault must not stop the others
        get_logger().exception("report_build", job=job.id, domain=job.policy_domain)
        problem = PROGRAM_ERROR
    with store.begin() as connection:
        if problem:
            get_logger().error("report_failed", job=job.id, domain=job.policy_domain, reason=problem)
            reports.set_status(connection, job.id, JobStatus.FAILED, now, reason=problem)
        else:
            missed = job.day < last_day(now)
            reports.set_due(connection, job.id, now if missed else window.due_at(now))
        built = reports.get(connection, job.id)
    assert built is not None, "jobs are not deleted while they are leased"
    tracker.finished(built)
    return built


def _send(
    sender: Sender, job: ReportJob, destinations: Destinations | None, now: datetime
) -> SendResult | None:
    """Send one report; ``None`` when the program failed at it: it stays as it is and is tried again."""
    try:
        result = sender.send(job, destinations, now)
    except StoreUnavailable:
        raise
    except LeaseLost:
        get_logger().warning("report", job=job.id, domain=job.policy_domain, state="taken over by another")
        return None
    except Exception:  # noqa: BLE001  one job's fault must not stop the others
        get_logger().exception("report_send", job=job.id, domain=job.policy_domain)
        return None
    get_logger().info(
        "report",
        job=job.id,
        domain=job.policy_domain,
        id=job.report_id,
        status=result.status,
        accepted=len(result.accepted),
        reason=result.reason or None,
    )
    return result
