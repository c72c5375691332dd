"""What became of reports after Postfix took them: notices and the log say it, and dead addresses are left alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update

from appliance.store import reports
from appliance.store.batch import insert_for
from appliance.store.reports import Fate, JobStatus
from appliance.store.schema import failure, report_attempt, report_job
from appliance.store.schema import suppression as suppression_table
from appliance.store.suppression import Suppression
from appliance.store.values import from_json, from_micros, text, to_micros

ACCEPTED = "accepted"
"""The outcome of an attempt that Postfix took."""
LADDER = (timedelta(days=7), timedelta(days=30))
"""How long the first bounce keeps an address from reports, then the next; one more, and only people end it (BNC-03)."""

_UNDELIVERED = (Fate.EXPIRED, Fate.BOUNCED)
_SURER = {
    Fate.DEFERRED: (Fate.UNKNOWN, Fate.DEFERRED),
    Fate.DELIVERED: (Fate.UNKNOWN, Fate.DEFERRED),
    Fate.EXPIRED: (Fate.UNKNOWN, Fate.DEFERRED, Fate.DELIVERED),
    Fate.BOUNCED: (Fate.UNKNOWN, Fate.DEFERRED, Fate.DELIVERED, Fate.EXPIRED),
}
"""What each fate may take the place of: a server that took a report may still send it back, but not the other way."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A report to one destination, as Postfix took it."""

    recipient: str
    sent_at: datetime
    attempt_id: int | None = None
    """``None``: a failure report, of whose copies none is kept."""
    job_id: int | None = None
    queue_id: str = ""


@dataclass(frozen=True, slots=True)
class SentReport:
    """A report that was handed over to Postfix, or is just being."""

    last_at: datetime
    """When, the last time."""
    destinations: tuple[str, ...]
    copies: tuple[Copy, ...]
    """Oldest first; one is missing from the moment that Postfix has it until that is written down."""


@dataclass(frozen=True, slots=True)
class News:
    """What was learned about a copy."""

    fate: Fate
    diagnostic: str = ""


def sent_report(connection: Connection, report_id: str) -> SentReport | None:
    """The report of this Report-ID, aggregate or failure, as far as bounces need to know it."""
    job = connection.execute(
        select(report_job.c.id, report_job.c.destinations, report_job.c.updated_at).where(
            report_job.c.report_id == text(report_id, 255)
        )
    ).first()
    if job is None:
        return _sent_failure(connection, report_id)
    attempts = report_attempt.c
    found = connection.execute(
        select(report_attempt)
        .where(attempts.job_id == job.id, attempts.outcome == ACCEPTED)
        .order_by(attempts.id)
    )
    copies = tuple(Copy(row.recipient, from_micros(row.at), row.id, job.id, row.queue_id) for row in found)
    return SentReport(
        last_at=max((copy.sent_at for copy in copies), default=from_micros(job.updated_at)),
        destinations=tuple(dict.fromkeys([*from_json(job.destinations), *(c.recipient for c in copies)])),
        copies=copies,
    )


def _sent_failure(connection: Connection, report_id: str) -> SentReport | None:
    found = connection.execute(
        select(failure.c.destinations, failure.c.updated_at).where(
            failure.c.report_id == text(report_id, 255), failure.c.report_id != ""
        )
    ).first()
    if found is None:
        return None
    sent_at, destinations = from_micros(found.updated_at), tuple(from_json(found.destinations))
    return SentReport(sent_at, destinations, tuple(Copy(address, sent_at) for address in destinations))


def waiting(connection: Connection, since: datetime) -> list[Copy]:
    """The copies that Postfix took *since* then and of whose end nothing is known yet."""
    attempts = report_attempt.c
    found = connection.execute(
        select(report_attempt).where(
            attempts.at >= to_micros(since),
            attempts.outcome == ACCEPTED,
            attempts.queue_id != "",
            attempts.fate.in_([Fate.UNKNOWN.value, Fate.DEFERRED.value]),
        )
    )
    return [Copy(row.recipient, from_micros(row.at), row.id, row.job_id, row.queue_id) for row in found]


def learn(connection: Connection, copy: Copy, news: News, now: datetime) -> Suppression | None:
    """Note *news* about *copy*, unless something surer is known; the suppression that it led to, if any.

    The same news twice, or from two sources, is one bounce.
    """
    if copy.attempt_id is not None and not _changed(connection, copy.attempt_id, news, now):
        return None
    if copy.job_id is not None and news.fate in _UNDELIVERED:
        conclude_undelivered(connection, [copy.job_id], now)
    if news.fate is not Fate.BOUNCED:
        return None
    return strike(connection, copy.recipient, sent_at=copy.sent_at, diagnostic=news.diagnostic, now=now)


def _changed(connection: Connection, attempt_id: int, news: News, now: datetime) -> bool:
    attempts = report_attempt.c
    changed = connection.execute(
        update(report_attempt)
        .where(attempts.id == attempt_id, attempts.fate.in_([fate.value for fate in _SURER[news.fate]]))
        .values(fate=news.fate.value, fate_at=to_micros(now), diagnostic=text(news.diagnostic, 500))
    )
    return changed.rowcount == 1


def undelivered_jobs(connection: Connection, since: datetime) -> list[int]:
    """Jobs that count as sent, but of which a copy came back that was handed over *since* then."""
    attempts = report_attempt.c
    found = connection.scalars(
        select(attempts.job_id)
        .join(report_job, report_job.c.id == attempts.job_id)
        .where(
            attempts.at >= to_micros(since),
            attempts.fate.in_([fate.value for fate in _UNDELIVERED]),
            report_job.c.status == JobStatus.SENT.value,
        )
        .distinct()
    )
    return list(found)


def conclude_undelivered(connection: Connection, job_ids: Sequence[int], now: datetime) -> None:
    """Those of the jobs that were sent and that reached nobody are failed (AGG-43); nothing is built again."""
    for job_id in job_ids:
        job = reports.get(connection, job_id)
        accepted = [a for a in reports.attempts(connection, job_id) if a.outcome == ACCEPTED]
        reached = [attempt for attempt in accepted if attempt.fate not in _UNDELIVERED]
        if job is None or job.status is not JobStatus.SENT or not accepted or reached:
            continue
        said = dict.fromkeys(f"{a.fate.value}: {a.diagnostic}" for a in accepted)
        reports.set_status(connection, job_id, JobStatus.FAILED, now, reason="; ".join(said))


def strike(
    connection: Connection, address: str, *, sent_at: datetime, diagnostic: str, now: datetime
) -> Suppression | None:
    """Keep reports from *address* after a bounce of what was *sent_at*: 7 days, then 30, then until it is edited.

    ``None`` where this changes nothing: mail that was on its way when an earlier bounce came is no further bounce.
    """
    address, until = text(address, 512), now + LADDER[0]
    reason = _verdict(1, diagnostic, now)
    new = insert_for(connection.dialect, suppression_table).values(
        address=address, until=to_micros(until), reason=reason, strikes=1
    )
    if connection.scalar(new.on_conflict_do_nothing().returning(suppression_table.c.address)) is not None:
        return Suppression(address, until, reason, 1)
    return _strike_again(connection, address, sent_at, diagnostic, now)


def _strike_again(
    connection: Connection, address: str, sent_at: datetime, diagnostic: str, now: datetime
) -> Suppression | None:
    is_it = suppression_table.c.address == address
    known = connection.execute(select(suppression_table).where(is_it).with_for_update()).first()
    if known is None or known.until is None or known.until > to_micros(sent_at):
        return None
    strikes = known.strikes + 1
    until = now + LADDER[strikes - 1] if strikes <= len(LADDER) else None
    reason = _verdict(strikes, diagnostic, now)
    values = {"until": to_micros(until) if until is not None else None, "reason": reason, "strikes": strikes}
    connection.execute(update(suppression_table).where(is_it).values(**values))
    return Suppression(address, until, reason, strikes)


def _verdict(strikes: int, diagnostic: str, now: datetime) -> str:
    return text(f"bounce {strikes} on {now:%Y-%m-%d}: {diagnostic}", 500)
