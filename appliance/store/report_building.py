"""The outbox of reports while it is filled: what of a day is planned, reports cut into parts, and how far a run has come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, and_, func, select, update

from appliance.store import reports
from appliance.store.reports import JobStatus, NewJob, ReportJob
from appliance.store.schema import report_job
from appliance.store.values import to_micros


@dataclass(frozen=True, slots=True)
class DayOfReports:
    """How far the reports on one UTC day have come."""

    reports: Mapping[JobStatus, int]
    building: int
    """Those of the pending ones that somebody works on."""
    rows: int
    """Records that are written, those of unfinished reports included."""
    messages: int
    """How many the finished ones count."""


def planned_until(connection: Connection, day: date, policy_domain: str, policy_key: str) -> int | None:
    """Where the last report on *day*, domain and policy ends (Unix seconds); ``None`` while there is none."""
    end: int | None = connection.scalar(
        select(func.max(report_job.c.end)).where(
            report_job.c.day == day.isoformat(),
            report_job.c.policy_domain == policy_domain,
            report_job.c.policy_key == policy_key,
        )
    )
    return end


def cut(connection: Connection, job: ReportJob, parts: Sequence[NewJob], now: datetime) -> ReportJob:
    """Put *parts* in the place of *job*, which is not built yet: it becomes the first of them, the others wait.

    All or none in the caller's transaction. The job comes back as it is now.
    """
    first, *others = parts
    connection.execute(
        update(report_job)
        .where(report_job.c.id == job.id, report_job.c.status == JobStatus.PENDING.value)
        .values(begin=first.begin, end=first.end, part=first.part, rows=0, updated_at=to_micros(now))
    )
    for part in others:
        reports.plan(connection, part, now)
    changed = reports.get(connection, job.id)
    assert changed is not None, "jobs are not deleted while they are leased"
    return changed


def show_rows(connection: Connection, job_id: int, rows: int) -> None:
    """Say how many records of a report that is being built are written."""
    connection.execute(
        update(report_job)
        .where(report_job.c.id == job_id, report_job.c.status == JobStatus.PENDING.value)
        .values(rows=rows)
    )


def pending(connection: Connection) -> int:
    """How many reports are still to be built."""
    wanted = select(func.count()).where(report_job.c.status == JobStatus.PENDING.value)
    return connection.scalar(wanted) or 0


def day_of_reports(connection: Connection, day: date, now: datetime) -> DayOfReports:
    """How far the reports on *day* have come, whoever works on them."""
    is_leased = and_(
        report_job.c.status == JobStatus.PENDING.value, report_job.c.lease_until > to_micros(now)
    )
    found = connection.execute(
        select(
            report_job.c.status,
            func.count(),
            func.count().filter(is_leased),
            func.sum(report_job.c.rows),
            func.sum(report_job.c.messages),
        )
        .where(report_job.c.day == day.isoformat())
        .group_by(report_job.c.status)
    ).all()
    return DayOfReports(
        reports={JobStatus(status): jobs for status, jobs, *_ in found},
        building=sum(leased for _, _, leased, *_ in found),
        rows=int(sum(rows for *_, rows, _ in found)),
        messages=int(sum(messages for *_, messages in found)),
    )
