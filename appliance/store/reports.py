"""The outbox of reports: one job for each UTC day, policy domain, policy and part; each attempt."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, or_, select, update

from appliance.store import leases
from appliance.store.batch import insert_for
from appliance.store.schema import report_attempt, report_job
from appliance.store.values import from_json, from_micros, text, to_json, to_micros

LONGEST_WAIT = timedelta(hours=27)
"""No job is put off for longer: to the end of the next day's hours for sending."""


class JobStatus(StrEnum):
    PENDING = "pending"
    BUILT = "built"
    SENDING = "sending"
    """Some destinations must be tried again."""
    SENT = "sent"
    FAILED = "failed"
    REFUSED = "refused"
    """By the gate, or by every destination's domain."""
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class NewJob:
    """What makes a job; *begin* and *end* are Unix seconds, the period is half-open: ``[begin, end)``."""

    day: date
    policy_domain: str
    policy_key: str
    begin: int
    end: int
    report_id: str
    part: int = 1


@dataclass(frozen=True, slots=True)
class ReportJob:
    """One report to one policy domain's destinations."""

    id: int
    day: date
    policy_domain: str
    policy_key: str
    part: int
    begin: int
    end: int
    report_id: str
    status: JobStatus
    reason: str
    destinations: tuple[str, ...]
    rows: int
    messages: int
    """How many the report counts."""
    size_octets: int
    """Of the whole mail."""
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None = None
    """When it is to be sent, or tried again; ``None``: at once."""


class Fate(StrEnum):
    """What became of a report that Postfix took, as far as it is known."""

    UNKNOWN = ""
    """No bounce so far."""
    DEFERRED = "deferred"
    """The receiver does not take it now; Postfix goes on trying."""
    DELIVERED = "delivered"
    """The receiver's server took it."""
    EXPIRED = "expired"
    """Postfix gave up; the address may be a good one."""
    BOUNCED = "bounced"
    """The receiver refuses it for good."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One hand-over of a report to Postfix for one recipient."""

    at: datetime
    recipient: str
    outcome: str
    reply: str
    queue_id: str
    fate: Fate = Fate.UNKNOWN
    fate_at: datetime | None = None
    """When we learned of the fate."""
    diagnostic: str = ""
    """What was said of it; hostile until checked, but printable."""


_SHOWN = tuple(
    column
    for column in report_job.columns
    if column.name not in {"message", "legacy_message", "xml_gz", "lease_owner", "lease_until"}
)


def plan(connection: Connection, new: NewJob, now: datetime) -> ReportJob:
    """The job of this day, policy and part: a new pending one, or the one that exists already."""
    same = (
        report_job.c.day == new.day.isoformat(),
        report_job.c.policy_domain == new.policy_domain,
        report_job.c.policy_key == new.policy_key,
        report_job.c.part == new.part,
    )
    connection.execute(
        insert_for(connection.dialect, report_job)
        .values(
            day=new.day.isoformat(),
            policy_domain=new.policy_domain,
            policy_key=new.policy_key,
            part=new.part,
            begin=new.begin,
            end=new.end,
            report_id=new.report_id,
            status=JobStatus.PENDING.value,
            reason="",
            destinations="[]",
            rows=0,
            messages=0,
            size_octets=0,
            created_at=to_micros(now),
            updated_at=to_micros(now),
        )
        .on_conflict_do_nothing()
    )
    return _job(connection.execute(select(*_SHOWN).where(*same)).one())


def claim_job(
    connection: Connection,
    owner: str,
    now: datetime,
    *,
    lease_seconds: int = 600,
    statuses: Sequence[JobStatus] = (JobStatus.PENDING, JobStatus.BUILT, JobStatus.SENDING),
    after: int = 0,
    due: datetime | None = None,
) -> ReportJob | None:
    """The oldest job in one of *statuses* that nobody works on, leased to *owner*; ``None`` without one.

    *after* is the id of the last job of a run, which sees each once; with *due* only what is due by then.
    """
    wanted = [report_job.c.status.in_([status.value for status in statuses]), report_job.c.id > after]
    if due is not None:
        wanted.append(_is_due(due))
    lease = timedelta(seconds=lease_seconds)
    job_id = leases.claim(connection, report_job, wanted, owner=owner, now=now, lease=lease)
    return get(connection, job_id) if job_id is not None else None


def claim_jobs(
    connection: Connection,
    owner: str,
    now: datetime,
    *,
    most: int,
    lease_seconds: int,
    statuses: Sequence[JobStatus],
    after: int = 0,
    due: datetime | None = None,
) -> list[ReportJob]:
    """Like ``claim_job``, as many as *most*."""
    claimed: list[ReportJob] = []
    while len(claimed) < most:
        job = claim_job(
            connection, owner, now, lease_seconds=lease_seconds, statuses=statuses, after=after, due=due
        )
        if job is None:
            break
        claimed.append(job)
        after = job.id
    return claimed


def keep_job(
    connection: Connection, job_id: int, owner: str, now: datetime, *, lease_seconds: int = 600
) -> bool:
    """Let *owner*'s lease begin anew; false when somebody else works on the job by now."""
    lease = timedelta(seconds=lease_seconds)
    return leases.keep(connection, report_job, job_id, owner, now=now, lease=lease)


def release_job(connection: Connection, job_id: int, owner: str) -> None:
    """End *owner*'s lease."""
    leases.end(connection, report_job, job_id, owner)


def keep_message(
    connection: Connection,
    job_id: int,
    *,
    message: bytes,
    xml_gz: bytes,
    destinations: Sequence[str],
    rows: int,
    messages: int,
    now: datetime,
    legacy_message: bytes | None = None,
    reason: str = "",
) -> None:
    """Freeze what will be sent, so that a retry sends the same octets; the job is now *built*.

    *legacy_message* is the same report in the form of RFC 7489, where somebody may want it.
    """
    _update(
        connection,
        job_id,
        now,
        status=JobStatus.BUILT.value,
        reason=text(reason, 500),
        message=message,
        legacy_message=legacy_message,
        xml_gz=xml_gz,
        destinations=_addresses(destinations),
        rows=rows,
        messages=messages,
        size_octets=len(message),
    )


def set_destinations(connection: Connection, job_id: int, destinations: Sequence[str], now: datetime) -> None:
    """Where the report goes, as far as known; raises ``KeyError`` for a job that doesn't exist."""
    _update(connection, job_id, now, destinations=_addresses(destinations))


def set_status(
    connection: Connection, job_id: int, status: JobStatus, now: datetime, *, reason: str = ""
) -> None:
    """Raises ``KeyError`` for a job that doesn't exist."""
    _update(connection, job_id, now, status=status.value, reason=text(reason, 500))


def set_due(connection: Connection, job_id: int, due_at: datetime) -> None:
    """When the job is to be sent, or tried again."""
    connection.execute(update(report_job).where(report_job.c.id == job_id).values(due_at=to_micros(due_at)))


def get(connection: Connection, job_id: int) -> ReportJob | None:
    found = connection.execute(select(*_SHOWN).where(report_job.c.id == job_id)).first()
    return _job(found) if found is not None else None


def jobs(
    connection: Connection,
    limit: int = 50,
    *,
    day: date | None = None,
    domain: str | None = None,
    status: JobStatus | None = None,
    before: int | None = None,
) -> list[ReportJob]:
    """Newest first; *before* is the id of the last job of the page before."""
    wanted = select(*_SHOWN).order_by(report_job.c.id.desc()).limit(limit)
    if day is not None:
        wanted = wanted.where(report_job.c.day == day.isoformat())
    if domain is not None:
        wanted = wanted.where(report_job.c.policy_domain == domain)
    if status is not None:
        wanted = wanted.where(report_job.c.status == status.value)
    if before is not None:
        wanted = wanted.where(report_job.c.id < before)
    return [_job(row) for row in connection.execute(wanted)]


def message(connection: Connection, job_id: int) -> bytes | None:
    """The whole mail, but for what differs between its recipients; ``None`` before it is built."""
    found: bytes | None = connection.scalar(select(report_job.c.message).where(report_job.c.id == job_id))
    return found


def legacy_message(connection: Connection, job_id: int) -> bytes | None:
    """The same in the form of RFC 7489; ``None`` when nobody wanted it as the report was built."""
    found: bytes | None = connection.scalar(
        select(report_job.c.legacy_message).where(report_job.c.id == job_id)
    )
    return found


def xml_gz(connection: Connection, job_id: int) -> bytes | None:
    """The report itself, as attached; ``None`` before it is built."""
    found: bytes | None = connection.scalar(select(report_job.c.xml_gz).where(report_job.c.id == job_id))
    return found


def add_attempt(connection: Connection, job_id: int, attempt: Attempt) -> None:
    connection.execute(
        insert(report_attempt).values(
            job_id=job_id,
            at=to_micros(attempt.at),
            recipient=text(attempt.recipient, 512),
            outcome=text(attempt.outcome, 20),
            reply=text(attempt.reply, 500),
            queue_id=text(attempt.queue_id, 64),
            fate="",
            diagnostic="",
        )
    )


def attempts(connection: Connection, job_id: int) -> list[Attempt]:
    """In the order in which they were made."""
    found = connection.execute(
        select(report_attempt).where(report_attempt.c.job_id == job_id).order_by(report_attempt.c.id)
    )
    return [read_attempt(row) for row in found]


def _is_due(now: datetime) -> ColumnElement[bool]:
    """What is due far in the future was put off by a clock that was wrong."""
    due_at = report_job.c.due_at
    return or_(due_at.is_(None), due_at <= to_micros(now), due_at > to_micros(now + LONGEST_WAIT))


def _addresses(destinations: Sequence[str]) -> str:
    return to_json([text(address, 512) for address in destinations])


def _update(connection: Connection, job_id: int, now: datetime, **values: Any) -> None:
    changed = connection.execute(
        update(report_job).where(report_job.c.id == job_id).values(updated_at=to_micros(now), **values)
    )
    if changed.rowcount != 1:
        raise KeyError(job_id)


def _job(row: Row[*tuple[Any, ...]]) -> ReportJob:
    values = dict(row._mapping)  # noqa: SLF001  the documented way to a row's names
    return ReportJob(
        **values
        | {
            "day": date.fromisoformat(values["day"]),
            "status": JobStatus(values["status"]),
            "destinations": tuple(from_json(values["destinations"])),
            "created_at": from_micros(values["created_at"]),
            "updated_at": from_micros(values["updated_at"]),
            "due_at": from_micros(values["due_at"]) if values["due_at"] is not None else None,
        }
    )


def read_attempt(row: Row[*tuple[Any, ...]]) -> Attempt:
    return Attempt(
        at=from_micros(row.at),
        recipient=row.recipient,
        outcome=row.outcome,
        reply=row.reply,
        queue_id=row.queue_id,
        fate=Fate(row.fate),
        fate_at=from_micros(row.fate_at) if row.fate_at is not None else None,
        diagnostic=row.diagnostic,
    )
