"""Failures that a report is asked for about, one row for all that are alike within an hour; and the report made of it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from appliance.mail.redaction import Redactor
from appliance.store import leases
from appliance.store.failure_samples import FailureSample, from_document, to_document
from appliance.store.reports import JobStatus
from appliance.store.schema import failure
from appliance.store.secret import shared_key
from appliance.store.values import from_json, from_micros, text, to_json, to_micros

OPEN = (JobStatus.PENDING, JobStatus.BUILT, JobStatus.SENDING)
"""What something is still to be done about."""

_PURPOSE = "local parts in failure reports"


@dataclass(frozen=True, slots=True)
class FailureCopy:
    """A failure report as it goes to one address, and what Postfix said to it."""

    mail_from: str
    head: str
    """Stands above the message: its signatures, and To."""
    outcome: str = ""
    reply: str = ""
    queue_id: str = ""


@dataclass(frozen=True, slots=True)
class FailureRow:
    """All failures of one kind within an hour; *first_at* to *last_at* is when their messages came."""

    id: int
    event_id: str
    """Of the first of them."""
    policy_domain: str
    author_domain: str
    first_at: datetime
    last_at: datetime
    incidents: int
    reported: int
    """How many of them reports have told of so far."""
    report_id: str
    """``""`` while no report is made."""
    status: JobStatus
    reason: str
    copies: Mapping[str, FailureCopy]
    """By recipient."""
    sample: FailureSample | None
    """``None`` for what was counted only, because the day had no room for more."""
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DaySoFar:
    """The failure reports of one UTC day; one to several addresses counts for each of them."""

    copies: int
    """About all domains."""
    by_address: Counter[str]
    """About one Author Domain."""


_SHOWN = tuple(
    column
    for column in failure.columns
    if column.name not in {"key", "alike", "message", "lease_owner", "lease_until"}
)


def redactor(connection: Connection) -> Redactor:
    """That of this gateway, the same on all nodes; in a transaction that may write."""
    return Redactor(shared_key(connection, _PURPOSE))


def claim(connection: Connection, owner: str, now: datetime, *, lease_seconds: int) -> FailureRow | None:
    """The oldest open row that nobody works on, leased to *owner*; ``None`` without one."""
    wanted = [failure.c.status.in_([status.value for status in OPEN])]
    lease = timedelta(seconds=lease_seconds)
    row_id = leases.claim(connection, failure, wanted, owner=owner, now=now, lease=lease)
    return get(connection, row_id) if row_id is not None else None


def get(connection: Connection, row_id: int) -> FailureRow | None:
    found = connection.execute(select(*_SHOWN).where(failure.c.id == row_id)).first()
    return _row(found) if found is not None else None


def recent(connection: Connection, limit: int = 50, *, before: int | None = None) -> list[FailureRow]:
    """Newest first; *before* is the id of the last row of the page before."""
    wanted = select(*_SHOWN).order_by(failure.c.id.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(failure.c.id < before)
    return [_row(row) for row in connection.execute(wanted)]


def find(connection: Connection, report_id: str) -> FailureRow | None:
    """The row whose report has this Report-ID."""
    found = connection.execute(
        select(*_SHOWN).where(failure.c.report_id == text(report_id, 255), failure.c.report_id != "")
    ).first()
    return _row(found) if found is not None else None


def message(connection: Connection, row_id: int) -> bytes | None:
    """The report's mail but for what differs between its recipients; ``None`` before it is made."""
    found: bytes | None = connection.scalar(select(failure.c.message).where(failure.c.id == row_id))
    return found


def wait_for_turn(connection: Connection) -> None:
    """Let nobody else make a failure report before this transaction ends: the caps hold for all nodes together."""
    shared_key(connection, _PURPOSE, lock=True)


def day_so_far(connection: Connection, author_domain: str, since: datetime) -> DaySoFar:
    """What was made from *since* on."""
    made = connection.execute(
        select(failure.c.author_domain, failure.c.destinations).where(
            failure.c.updated_at >= to_micros(since), failure.c.report_id != ""
        )
    )
    total, about_domain = 0, Counter[str]()
    for domain, destinations in made:
        addresses = from_json(destinations)
        total += len(addresses)
        if domain == author_domain:
            about_domain.update(addresses.keys())
    return DaySoFar(total, about_domain)


def take_unreported(connection: Connection, row_id: int) -> int:
    """How many incidents like those of this row no report has told of; from now on one does."""
    alike = select(failure.c.alike).where(failure.c.id == row_id).scalar_subquery()
    found = connection.execute(
        select(failure.c.id, failure.c.incidents, failure.c.reported)
        .where(failure.c.alike == alike, failure.c.incidents > failure.c.reported)
        .order_by(failure.c.id)
        .with_for_update()
    ).all()
    for row in found:
        connection.execute(update(failure).where(failure.c.id == row.id).values(reported=row.incidents))
    return sum(row.incidents - row.reported for row in found)


def keep_message(
    connection: Connection, row_id: int, *, report_id: str, octets: bytes, now: datetime
) -> None:
    """Freeze the report's mail: a retry sends the same octets (AGG-32)."""
    _update(
        connection, row_id, now, status=JobStatus.BUILT.value, reason="", report_id=report_id, message=octets
    )


def keep_copies(
    connection: Connection, row_id: int, copies: Mapping[str, FailureCopy], now: datetime
) -> None:
    """Where the report goes, and what became of it there so far."""
    _update(
        connection,
        row_id,
        now,
        destinations=to_json({address: asdict(copy) for address, copy in copies.items()}),
    )


def set_status(
    connection: Connection, row: FailureRow, status: JobStatus, now: datetime, *, reason: str = ""
) -> None:
    """With the last status goes what is not needed any more."""
    values = {"status": status.value, "reason": text(reason, 500)}
    if status not in OPEN and row.sample is not None:
        values["document"] = to_document(row.sample.without_text())
    _update(connection, row.id, now, **values)


def keep_lease(connection: Connection, row_id: int, owner: str, now: datetime, *, lease_seconds: int) -> bool:
    """Begin *owner*'s lease anew; false when somebody else works on the row by now."""
    lease = timedelta(seconds=lease_seconds)
    return leases.keep(connection, failure, row_id, owner, now=now, lease=lease)


def delete_before(connection: Connection, before: datetime) -> int:
    """Forget what happened before then; how many rows that were."""
    return connection.execute(delete(failure).where(failure.c.last_at < to_micros(before))).rowcount


def _update(connection: Connection, row_id: int, now: datetime, **values: Any) -> None:
    changed = connection.execute(
        update(failure).where(failure.c.id == row_id).values(updated_at=to_micros(now), **values)
    )
    if changed.rowcount != 1:
        raise KeyError(row_id)


def _row(found: Row[*tuple[Any, ...]]) -> FailureRow:
    values = dict(found._mapping)  # noqa: SLF001  the documented way to a row's names
    document, copies = values.pop("document"), from_json(values.pop("destinations"))
    first_at = from_micros(values["first_at"])
    return FailureRow(
        **values
        | {
            "first_at": first_at,
            "last_at": from_micros(values["last_at"]),
            "updated_at": from_micros(values["updated_at"]),
            "status": JobStatus(values["status"]),
            "copies": {address: FailureCopy(**copy) for address, copy in copies.items()},
            "sample": from_document(from_json(document), first_at) if document else None,
        }
    )
