"""The outbox of reports as people see it and act on it: where each copy stands, what is cancelled, what goes out again."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, or_, select, update

from appliance.store import audit, reports, suppression
from appliance.store.reports import Attempt, Fate, JobStatus, ReportJob
from appliance.store.schema import report_attempt, report_destination, report_job
from appliance.store.schema import suppression as suppression_table
from appliance.store.values import text, to_micros

UNSENT = (JobStatus.PENDING, JobStatus.BUILT, JobStatus.SENDING)
AGAIN = "again"
"""The outcome of no attempt: somebody wanted the report to go out once more, and what was tried before is history."""
MOST_AT_ONCE = 500

_ACCEPTED = "accepted"


class NotNow(Exception):
    """Somebody works on the report at this moment; the message says so."""


class NotPossible(Exception):
    """It can't be done with this report; the message says why and what to do."""


class CopyState(StrEnum):
    """Where a report to one address stands."""

    UNTRIED = "untried"
    RETRYING = "retrying"
    """Our Postfix did not take it yet."""
    WAITING = "waiting"
    """For another day: its address is new, and enough new ones had a report."""
    REFUSED = "refused"
    """By our Postfix, for good."""
    CAPPED = "capped"
    """Never sent: no more might be sent on that day."""
    ACCEPTED = "accepted"
    """By our Postfix; no bounce so far."""
    DEFERRED = "deferred"
    """The receiver does not take it now; Postfix goes on trying."""
    DELIVERED = "delivered"
    EXPIRED = "expired"
    """Postfix gave up."""
    BOUNCED = "bounced"
    SUPPRESSED = "suppressed"
    """On the suppression list, and not tried."""


HAS_IT = (CopyState.ACCEPTED, CopyState.DEFERRED, CopyState.DELIVERED)
"""The copy is there, or may be there soon."""

_BY_OUTCOME = {
    "deferred": CopyState.RETRYING,
    "waits": CopyState.WAITING,
    "refused": CopyState.REFUSED,
    "beyond": CopyState.CAPPED,
}
_OPEN = (CopyState.UNTRIED, CopyState.RETRYING, CopyState.WAITING, CopyState.SUPPRESSED)


@dataclass(frozen=True, slots=True)
class CopyStatus:
    """What became of a report to one address, as far as it is known."""

    address: str
    state: CopyState
    detail: str = ""
    """What was said about it, by Postfix or by the receiver; hostile."""
    queue_id: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One report with its copies."""

    job: ReportJob
    copies: tuple[CopyStatus, ...]


@dataclass(frozen=True, slots=True)
class SentAgain:
    """What goes out once more."""

    addresses: tuple[str, ...]
    """Those who get it again, though an earlier attempt had ended."""
    left_alone: tuple[str, ...]
    """Those who have it."""
    suppressed: tuple[str, ...]
    """Of *addresses* those that get nothing as long as they are on the suppression list."""


def entries(
    connection: Connection,
    limit: int,
    now: datetime,
    *,
    day: date | None = None,
    domain: str | None = None,
    status: JobStatus | None = None,
    before: int | None = None,
) -> list[Entry]:
    """Newest first; *before* is the id of the last report of the page before."""
    found = reports.jobs(connection, limit, day=day, domain=domain, status=status, before=before)
    return _with_copies(connection, found, now)


def entry(connection: Connection, job_id: int, now: datetime) -> Entry | None:
    found = reports.get(connection, job_id)
    return _with_copies(connection, [found], now)[0] if found is not None else None


def that_count(attempts: Iterable[Attempt]) -> list[Attempt]:
    """*attempts*, which are in order, without those made before somebody wanted the report to go out once more."""
    counting: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        if attempt.outcome == AGAIN:
            counting.pop(attempt.recipient, None)
        else:
            counting[attempt.recipient].append(attempt)
    return [attempt for made in counting.values() for attempt in made]


def is_known(connection: Connection, address: str) -> bool:
    """Whether *address* ever had a report from us."""
    wanted = select(report_destination.c.address).where(report_destination.c.address == text(address, 512))
    return connection.execute(wanted).first() is not None


def cancel(connection: Connection, job_id: int, actor: str, now: datetime) -> None:
    """Never send the report *job_id*; what Postfix has of it stays with Postfix. Raises ``NotNow``, ``NotPossible``."""
    job = _there(connection, job_id)
    if job.status not in UNSENT:
        raise NotPossible(f"report {job_id} is {job.status}: nothing is left to cancel")
    if not _discard(connection, [job_id], actor, now):
        raise NotNow(f"report {job_id} is just being worked on; try again in a few minutes")
    audit.write(connection, actor, "report cancelled", str(job_id), job.policy_domain, now=now)


def cancel_unsent(connection: Connection, actor: str, now: datetime) -> int:
    """Never send what is not sent yet, ``MOST_AT_ONCE`` reports at most; how many. What is worked on now stays."""
    wanted = [status.value for status in UNSENT]
    ids = connection.scalars(
        select(report_job.c.id)
        .where(report_job.c.status.in_(wanted), _is_free(now))
        .order_by(report_job.c.id)
        .limit(MOST_AT_ONCE)
    ).all()
    cancelled = _discard(connection, ids, actor, now)
    if cancelled:
        audit.write(connection, actor, "unsent reports cancelled", detail=f"{cancelled} reports", now=now)
    return cancelled


def unsent(connection: Connection) -> list[int]:
    """The ids of all reports that are still to be built or sent."""
    wanted = [status.value for status in UNSENT]
    return list(connection.scalars(select(report_job.c.id).where(report_job.c.status.in_(wanted))))


def send_again(
    connection: Connection, job_id: int, actor: str, now: datetime, *, again: bool = False
) -> SentAgain:
    """Let the report *job_id* go out once more, as it was built, with the next run, to all who don't have it.

    With *again* to those too who have it, or may have it soon. Raises ``NotNow``, ``NotPossible``.
    """
    found = entry(connection, job_id, now)
    if found is None:
        raise NotPossible(_missing(job_id))
    if reports.message(connection, job_id) is None:
        reason = f": {found.job.reason}" if found.job.reason else ""
        raise NotPossible(f"report {job_id} is {found.job.status} and was never built{reason}")
    having = [copy for copy in found.copies if copy.state in HAS_IT]
    ended = [copy for copy in found.copies if copy.state not in (*HAS_IT, *_OPEN)]
    wanted = [*ended, *(having if again else [])]
    if having and not wanted and len(having) == len(found.copies):
        raise NotPossible(
            f"report {job_id} was taken for everybody it goes to, and has not come back; --again sends it once more"
        )
    if not _make_ready(connection, job_id, actor, now):
        raise NotNow(f"report {job_id} is just being worked on; try again in a few minutes")
    for copy in wanted:
        marker = Attempt(now, copy.address, AGAIN, f"wanted by {actor}", "")
        reports.add_attempt(connection, job_id, marker)
    audit.write(connection, actor, "report sent again", str(job_id), found.job.policy_domain, now=now)
    return SentAgain(
        tuple(copy.address for copy in wanted),
        () if again else tuple(copy.address for copy in having),
        tuple(c.address for c in found.copies if suppression.find(connection, c.address, now) is not None),
    )


def _with_copies(connection: Connection, jobs: Sequence[ReportJob], now: datetime) -> list[Entry]:
    made: dict[int, list[Attempt]] = defaultdict(list)
    ids = [job.id for job in jobs]
    found = connection.execute(
        select(report_attempt).where(report_attempt.c.job_id.in_(ids)).order_by(report_attempt.c.id)
    )
    for row in found:
        made[row.job_id].append(reports.read_attempt(row))
    dead = _suppressed(connection, {address for job in jobs for address in job.destinations}, now)
    return [Entry(job, tuple(_copies(job, made[job.id], dead))) for job in jobs]


def _copies(job: ReportJob, attempts: Sequence[Attempt], dead: set[str]) -> list[CopyStatus]:
    """The last word on each address, in the order in which they were named."""
    last = {attempt.recipient: attempt for attempt in that_count(attempts)}
    known = dict.fromkeys([*job.destinations, *(attempt.recipient for attempt in attempts)])
    return [_copy(address, last.get(address), is_dead=address in dead) for address in known]


def _copy(address: str, last: Attempt | None, *, is_dead: bool) -> CopyStatus:
    if last is not None and last.outcome == _ACCEPTED:
        state = CopyState(last.fate.value) if last.fate is not Fate.UNKNOWN else CopyState.ACCEPTED
        return CopyStatus(
            address, state, last.diagnostic or last.reply, last.queue_id, last.fate_at or last.at
        )
    if is_dead:
        return CopyStatus(address, CopyState.SUPPRESSED)
    if last is None:
        return CopyStatus(address, CopyState.UNTRIED)
    return CopyStatus(address, _BY_OUTCOME[last.outcome], last.reply, last.queue_id, last.at)


def _suppressed(connection: Connection, addresses: set[str], now: datetime) -> set[str]:
    in_force = or_(suppression_table.c.until.is_(None), suppression_table.c.until > to_micros(now))
    wanted = select(suppression_table.c.address).where(suppression_table.c.address.in_(addresses), in_force)
    return set(connection.scalars(wanted))


def _discard(connection: Connection, ids: Sequence[int], actor: str, now: datetime) -> int:
    wanted = report_job.c.id.in_(ids), report_job.c.status.in_([status.value for status in UNSENT])
    return connection.execute(
        update(report_job)
        .where(*wanted, _is_free(now))
        .values(
            status=JobStatus.DISCARDED.value,
            reason=text(f"cancelled by {actor}", 500),
            updated_at=to_micros(now),
        )
    ).rowcount


def _make_ready(connection: Connection, job_id: int, actor: str, now: datetime) -> bool:
    changed = connection.execute(
        update(report_job)
        .where(report_job.c.id == job_id, _is_free(now))
        .values(
            status=JobStatus.BUILT.value,
            reason=text(f"goes out again: wanted by {actor}", 500),
            due_at=None,
            updated_at=to_micros(now),
        )
    )
    return changed.rowcount == 1


def _is_free(now: datetime) -> ColumnElement[bool]:
    return or_(report_job.c.lease_until.is_(None), report_job.c.lease_until <= to_micros(now))


def _there(connection: Connection, job_id: int) -> ReportJob:
    found = reports.get(connection, job_id)
    if found is None:
        raise NotPossible(_missing(job_id))
    return found


def _missing(job_id: int) -> str:
    return f"there is no report {job_id}; dmarcgate report list shows them"
