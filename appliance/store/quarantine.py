"""The rows of quarantined messages; their octets are files (``appliance.quarantine``)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, insert, or_, select, update

from appliance.mail.message import Envelope
from appliance.store.documents import envelope_document, envelope_from
from appliance.store.schema import quarantine
from appliance.store.values import from_json, from_micros, text, to_json, to_micros


class HoldState(StrEnum):
    """*Releasing* is the short time in which the message is handed to Postfix; a crash may leave it there."""

    HELD = "held"
    RELEASING = "releasing"
    RELEASED = "released"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """A quarantined message, but for its octets."""

    event_id: str
    held_at: datetime
    envelope: Envelope
    """Exact, with all recipients and parameters: a release needs them."""
    message_id: str
    subject: str
    header_from: str
    author_domain: str
    reason: str
    size_octets: int
    sha256: str
    """Of the octets in the file."""
    state: HoldState = HoldState.HELD
    release_queue_id: str = ""
    """Postfix's, of the released message."""
    changed_at: datetime | None = None
    """When *state* changed last."""


def add(connection: Connection, row: QuarantineRow) -> None:
    """Add *row*; an event ID that is there already raises SQLAlchemy's ``IntegrityError``."""
    connection.execute(insert(quarantine).values(_values(row)))


def list_held(
    connection: Connection, limit: int = 50, *, before: tuple[datetime, str] | None = None
) -> list[QuarantineRow]:
    """What is in quarantine now, newest first, a broken-off release included.

    *before* is ``(held_at, event_id)`` of the last row of the page before.
    """
    wanted = select(quarantine).where(quarantine.c.state.in_([HoldState.HELD, HoldState.RELEASING]))
    if before is not None:
        at = to_micros(before[0])
        same_time = and_(quarantine.c.held_at == at, quarantine.c.event_id < before[1])
        wanted = wanted.where(or_(quarantine.c.held_at < at, same_time))
    newest_first = wanted.order_by(quarantine.c.held_at.desc(), quarantine.c.event_id.desc())
    return [_row(found) for found in connection.execute(newest_first.limit(limit)).mappings()]


def get(connection: Connection, event_id: str) -> QuarantineRow | None:
    """The row, whatever its state."""
    found = connection.execute(select(quarantine).where(quarantine.c.event_id == event_id)).mappings().first()
    return _row(found) if found is not None else None


def set_state(
    connection: Connection,
    event_id: str,
    state: HoldState,
    *,
    expected: HoldState,
    at: datetime,
    release_queue_id: str = "",
) -> bool:
    """Go from *expected* to *state*; ``False`` when the row is in another state or missing: nothing is changed."""
    changed = connection.execute(
        update(quarantine)
        .where(quarantine.c.event_id == event_id, quarantine.c.state == expected)
        .values(state=state, changed_at=to_micros(at), release_queue_id=text(release_queue_id, 64))
    )
    return changed.rowcount == 1


def _values(row: QuarantineRow) -> dict[str, Any]:
    return {
        "event_id": row.event_id,
        "held_at": to_micros(row.held_at),
        "state": row.state.value,
        "changed_at": to_micros(row.changed_at) if row.changed_at is not None else None,
        "release_queue_id": text(row.release_queue_id, 64),
        "envelope": to_json(envelope_document(row.envelope)),
        "message_id": text(row.message_id, 500),
        "subject": text(row.subject, 200),
        "header_from": text(row.header_from, 320),
        "author_domain": text(row.author_domain, 253),
        "reason": text(row.reason, 200),
        "size_octets": row.size_octets,
        "sha256": row.sha256,
    }


def _row(found: RowMapping) -> QuarantineRow:
    values = dict(found)
    changed_at = values["changed_at"]
    return QuarantineRow(
        **values
        | {
            "held_at": from_micros(values["held_at"]),
            "state": HoldState(values["state"]),
            "changed_at": from_micros(changed_at) if changed_at is not None else None,
            "envelope": envelope_from(from_json(values["envelope"])),
        }
    )
