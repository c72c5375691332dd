"""The rows of quarantined messages; their octets are files (``appliance.quarantine``)."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, and_, func, insert, or_, select, update

from appliance.mail.message import Envelope, Recipient
from appliance.store.documents import envelope_document, envelope_from
from appliance.store.schema import quarantine
from appliance.store.values import from_json, from_micros, text, to_json, to_micros


class HoldState(StrEnum):
    """*Releasing* is the short time in which the message is handed to Postfix; a crash may leave it there."""

    HELD = "held"
    RELEASING = "releasing"
    RELEASED = "released"
    DELETED = "deleted"


IN_QUARANTINE = (HoldState.HELD, HoldState.RELEASING)


class Notify(StrEnum):
    """Who hears what becomes of a released message: nobody, or whom the envelope's own parameters say."""

    NEVER = "never"
    ORIGINAL = "original"


@dataclass(frozen=True, slots=True)
class LogPosition:
    """A place in a log that may be rotated: the file itself, and how many octets it had; *boot* is the machine's."""

    inode: int
    octets: int
    boot: str


@dataclass(frozen=True, slots=True)
class ReleaseOrder:
    """A release under way, with all that somebody who finds it broken off needs."""

    recipients: tuple[Recipient, ...]
    """With the parameters that RCPT TO gets."""
    notify: Notify
    actor: str
    before: HoldState
    """What the message was before, and is again when Postfix refuses it."""
    log: LogPosition | None
    """Postfix's log, just before. ``None``: the log can't tell what became of this release."""


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """A quarantined message, but for its octets."""

    event_id: str
    node: str
    """Where its file is."""
    held_at: datetime
    envelope: Envelope
    """Exact, with all recipients and parameters: a release needs them."""
    client_ip: str
    """The effective client's; ``""`` for local submission."""
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
    """Postfix's, of the message that was released last."""
    changed_at: datetime | None = None
    """When *state* changed last."""
    release: ReleaseOrder | None = None
    """Set until the outcome of a release is known."""


Place = tuple[datetime, str]
"""``(held_at, event_id)`` of a page's last row: the next page goes on behind it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How many files there are, and their size in all."""

    messages: int
    octets: int


def add(connection: Connection, row: QuarantineRow) -> None:
    """Add *row*; an event ID that is there already raises SQLAlchemy's ``IntegrityError``."""
    connection.execute(insert(quarantine).values(_values(row)))


def get(connection: Connection, event_id: str) -> QuarantineRow | None:
    """The row, whatever its state."""
    found = connection.execute(select(quarantine).where(quarantine.c.event_id == event_id)).mappings().first()
    return read_row(found) if found is not None else None


def list_held(connection: Connection, limit: int = 50, *, before: Place | None = None) -> list[QuarantineRow]:
    """What is in quarantine now, newest first, a release that broke off included; *before* is the page before's end."""
    held = select(quarantine).where(quarantine.c.state.in_(IN_QUARANTINE))
    return newest_first(connection, held, limit, after=before)


def place_of(row: QuarantineRow) -> Place:
    return row.held_at, row.event_id


def newest_first(
    connection: Connection, wanted: Select[*tuple[Any, ...]], limit: int, *, after: Place | None
) -> list[QuarantineRow]:
    """The next *limit* rows behind *after* that *wanted* selects from the table."""
    if after is not None:
        at = to_micros(after[0])
        same_time = and_(quarantine.c.held_at == at, quarantine.c.event_id < after[1])
        wanted = wanted.where(or_(quarantine.c.held_at < at, same_time))
    ordered = wanted.order_by(quarantine.c.held_at.desc(), quarantine.c.event_id.desc())
    return [read_row(found) for found in connection.execute(ordered.limit(limit)).mappings()]


def count_held(connection: Connection) -> int:
    """How many messages are in quarantine now, on all nodes; a release that broke off is."""
    held = select(func.count()).select_from(quarantine).where(quarantine.c.state.in_(IN_QUARANTINE))
    return connection.scalar(held) or 0


def usage(connection: Connection, *, node: str | None = None, states: Collection[HoldState] = ()) -> Usage:
    """Of all rows, or of those of one node, or in some states only. A deleted message has its file until it is purged."""
    wanted = select(func.count(), func.coalesce(func.sum(quarantine.c.size_octets), 0))
    if node is not None:
        wanted = wanted.where(quarantine.c.node == node)
    if states:
        wanted = wanted.where(quarantine.c.state.in_(states))
    messages, octets = connection.execute(wanted).one()
    return Usage(messages, int(octets))


def change(
    connection: Connection,
    row: QuarantineRow,
    state: HoldState,
    at: datetime,
    *,
    release: ReleaseOrder | None = None,
    release_queue_id: str | None = None,
) -> QuarantineRow | None:
    """The row with its new *state*; ``None`` when it isn't as it was in *row* any more: nothing is changed then.

    *release_queue_id* stays as it is when it isn't given.
    """
    queue_id = row.release_queue_id if release_queue_id is None else text(release_queue_id, 64)
    changed = replace(row, state=state, changed_at=at, release=release, release_queue_id=queue_id)
    found = connection.execute(
        update(quarantine)
        .where(
            quarantine.c.event_id == row.event_id,
            quarantine.c.state == row.state,
            quarantine.c.changed_at.is_not_distinct_from(_micros_or_none(row.changed_at)),
        )
        .values(_changing_values(changed))
    )
    return changed if found.rowcount == 1 else None


def read_row(found: RowMapping) -> QuarantineRow:
    values = dict(found)
    del values["mail_from"]  # a copy of the envelope's, for searches
    return QuarantineRow(
        **values
        | {
            "held_at": from_micros(values["held_at"]),
            "state": HoldState(values["state"]),
            "changed_at": from_micros(values["changed_at"]) if values["changed_at"] is not None else None,
            "envelope": envelope_from(from_json(values["envelope"])),
            "release": _order_from(values["release"]),
        }
    )


def _values(row: QuarantineRow) -> dict[str, Any]:
    return {
        "event_id": row.event_id,
        "node": text(row.node, 253),
        "held_at": to_micros(row.held_at),
        "envelope": to_json(envelope_document(row.envelope)),
        "mail_from": text(row.envelope.mail_from, 320),
        "client_ip": row.client_ip,
        "message_id": text(row.message_id, 500),
        "subject": text(row.subject, 200),
        "header_from": text(row.header_from, 320),
        "author_domain": text(row.author_domain, 253),
        "reason": text(row.reason, 200),
        "size_octets": row.size_octets,
        "sha256": row.sha256,
        **_changing_values(row),
    }


def _changing_values(row: QuarantineRow) -> dict[str, Any]:
    return {
        "state": row.state.value,
        "changed_at": _micros_or_none(row.changed_at),
        "release_queue_id": text(row.release_queue_id, 64),
        "release": _order_document(row.release),
    }


def _micros_or_none(moment: datetime | None) -> int | None:
    return to_micros(moment) if moment is not None else None


def _order_document(order: ReleaseOrder | None) -> str:
    if order is None:
        return ""
    return to_json(
        {
            "to": [(r.address, *r.parameters) for r in order.recipients],
            "notify": order.notify,
            "actor": order.actor,
            "before": order.before,
            "log": (order.log.inode, order.log.octets, order.log.boot) if order.log is not None else None,
        }
    )


def _order_from(document: str) -> ReleaseOrder | None:
    if not document:
        return None
    values = from_json(document)
    return ReleaseOrder(
        recipients=tuple(Recipient(address, tuple(rest)) for address, *rest in values["to"]),
        notify=Notify(values["notify"]),
        actor=values["actor"],
        before=HoldState(values["before"]),
        log=LogPosition(*values["log"]) if values["log"] is not None else None,
    )
