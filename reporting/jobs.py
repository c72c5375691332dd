"""What the reports service does, as functions that anyone may call at any time: build what is due, send what is built.

Every job is leased while it is worked on, so that several processes and nodes never do the same one twice.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from appliance.log import get_logger
from appliance.resolver import Resolver
from appliance.settings import Gate
from appliance.store import reports
from appliance.store import settings as stored_settings
from appliance.store.engine import Store, StoreUnavailable
from appliance.store.reports import JobStatus, ReportJob
from reporting.aggregate import build_report, plan_day
from reporting.aggregate_xml import InvalidReport
from reporting.delivery import Courier
from reporting.gate import ReportGate
from reporting.period import days_before, last_day, utc_day
from reporting.sending import Sender, SendResult

CATCH_UP_DAYS = 7  # days missed longer ago stay unreported: nobody waits for them any more
SETTLE = timedelta(minutes=30)  # a day is closed this long after midnight, when its last messages are counted
LEASE_SECONDS = 1800  # longer than any one job may take

PROGRAM_ERROR = "program error; the log has the details"


def build_day(
    store: Store,
    day: date,
    *,
    now: datetime | None = None,
    until: datetime | None = None,
    gate: Gate | None = None,
) -> list[ReportJob]:
    """Build the reports of the UTC *day* that don't exist yet; they come back built or failed.

    *until* ends the period early, for a day that is not over. *gate* stands in for the setting. Nothing is built
    while reports are switched off. *now* and *until* are aware.
    """
    moment = now or datetime.now(UTC)
    planned = plan_day(store, utc_day(day, until), moment, gate=gate)
    jobs = [_build(store, job, moment) for job in _claimed(store, JobStatus.PENDING)]
    if planned.new or planned.refused or jobs:
        failed = sum(job.status is JobStatus.FAILED for job in jobs)
        get_logger().info(
            "reports_built",
            day=day.isoformat(),
            built=len(jobs) - failed,
            failed=failed,
            refused=planned.refused,
        )
    return jobs


def build_due(store: Store, *, now: datetime | None = None) -> list[ReportJob]:
    """Build the last UTC day's reports, and those of the days before it that were missed."""
    moment = now or datetime.now(UTC)
    days = days_before(last_day(moment - SETTLE), CATCH_UP_DAYS)
    return [job for day in days for job in build_day(store, day, now=moment)]


def send_pending(
    store: Store, *, nameserver: str, listener: tuple[str, int], now: datetime | None = None
) -> list[SendResult]:
    """Try every report that waits to be sent, once. Nothing is sent while reports are switched off.

    *nameserver* is ``ADDRESS:PORT``; *listener* is where Postfix takes reports without filtering them.
    """
    moment = now or datetime.now(UTC)
    with store.read() as connection:
        settings = stored_settings.current(connection).settings
    if not settings.reports.enabled:
        return []
    with asyncio.Runner() as runner, Courier(*listener) as courier:
        resolver = Resolver(nameserver)
        sender = Sender(store, runner, resolver, courier, ReportGate(settings))
        try:
            waiting = _claimed(store, JobStatus.BUILT, JobStatus.SENDING)
            attempted = (_send(sender, job, moment) for job in waiting)
            return [result for result in attempted if result is not None]
        finally:
            runner.run(resolver.close())


def _claimed(store: Store, *statuses: JobStatus) -> Iterator[ReportJob]:
    """Each job in one of *statuses* that nobody works on, once.

    Leases go by the clock, whatever time the reports are made for. They end when all jobs are done: one that has to
    wait does not come up again in the meantime.
    """
    owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
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


def _build(store: Store, job: ReportJob, now: datetime) -> ReportJob:
    """Build one report. What can't be built is marked failed, and never sent."""
    problem = ""
    try:
        build_report(store, job, now)
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
        built = reports.get(connection, job.id)
    assert built is not None, "jobs are not deleted while they are leased"
    return built


def _send(sender: Sender, job: ReportJob, now: datetime) -> SendResult | None:
    """Send one report; ``None`` when the program failed at it: it stays as it is and is tried again."""
    try:
        result = sender.send(job, now)
    except StoreUnavailable:
        raise
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
