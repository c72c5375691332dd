"""What may leave the quarantine, and its removal: always one node's rows, a few at a time."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Row, and_, case, delete, or_, select, tuple_

from appliance.store.quarantine import HoldState, QuarantineRow, read_row, usage
from appliance.store.schema import quarantine
from appliance.store.values import to_micros


@dataclass(frozen=True, slots=True)
class Removable:
    """A message that may go."""

    event_id: str
    state: HoldState
    size_octets: int


Choice = Callable[[Connection, int], list[Removable]]
"""Chooses at most so many messages, in a transaction that then removes them."""


def broken_off(connection: Connection, node: str, before: datetime) -> list[QuarantineRow]:
    """Releases of this node that are under way since a time before *before*: nobody carries them out any more."""
    wanted = select(quarantine).where(
        quarantine.c.state == HoldState.RELEASING,
        quarantine.c.node == node,
        quarantine.c.changed_at < to_micros(before),
    )
    return [
        read_row(found) for found in connection.execute(wanted.order_by(quarantine.c.changed_at)).mappings()
    ]


def undo_is_over(connection: Connection, node: str, before: datetime, limit: int) -> list[Removable]:
    """Messages that were deleted before *before*."""
    condition = and_(quarantine.c.state == HoldState.DELETED, quarantine.c.changed_at < to_micros(before))
    return _removable(connection, node, condition, limit)


def too_old(
    connection: Connection, node: str, before: datetime, limit: int, *, quiet_since: datetime
) -> list[Removable]:
    """Messages that were held before *before*, the oldest first; not one whose release began after *quiet_since*."""
    idle = or_(quarantine.c.state != HoldState.RELEASING, quarantine.c.changed_at < to_micros(quiet_since))
    return _removable(connection, node, and_(quarantine.c.held_at < to_micros(before), idle), limit)


def beyond(connection: Connection, node: str, octets: int, limit: int) -> list[Removable]:
    """What must go for *octets* to be left at most, with the least loss.

    Deleted messages first, then released ones, then those that are held, the oldest of each first.
    """
    excess = usage(connection, node=node).octets - octets
    chosen = []
    for message in _removable(connection, node, quarantine.c.state != HoldState.RELEASING, limit):
        if excess <= 0:
            break
        chosen.append(message)
        excess -= message.size_octets
    return chosen


def remove(connection: Connection, messages: Sequence[Removable]) -> list[Removable]:
    """Take the rows out; returns those that were there, in the state in which they were found."""
    as_found = tuple_(quarantine.c.event_id, quarantine.c.state)
    gone = connection.execute(
        delete(quarantine)
        .where(as_found.in_([(message.event_id, message.state) for message in messages]))
        .returning(quarantine.c.event_id, quarantine.c.state, quarantine.c.size_octets)
    )
    return [_read(row) for row in gone]


def known(connection: Connection, event_ids: Collection[str]) -> set[str]:
    """Those of *event_ids* that have a row."""
    found = connection.scalars(select(quarantine.c.event_id).where(quarantine.c.event_id.in_(event_ids)))
    return set(found)


def _removable(
    connection: Connection, node: str, condition: ColumnElement[bool], limit: int
) -> list[Removable]:
    usefulness = case(
        (quarantine.c.state == HoldState.DELETED, 0), (quarantine.c.state == HoldState.RELEASED, 1), else_=2
    )
    wanted = (
        select(quarantine.c.event_id, quarantine.c.state, quarantine.c.size_octets)
        .where(quarantine.c.node == node, condition)
        .order_by(usefulness, quarantine.c.held_at, quarantine.c.event_id)
        .limit(limit)
    )
    return [_read(row) for row in connection.execute(wanted)]


def _read(row: Row[str, str, int]) -> Removable:
    event_id, state, size_octets = row
    return Removable(event_id, HoldState(state), size_octets)
