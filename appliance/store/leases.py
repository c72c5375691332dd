"""Claim a row for one worker for some time, so that several nodes, or a restart, never do the same work twice."""

import os
import secrets
import socket
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Table, and_, or_, select, update

from appliance.store.values import to_micros


def new_owner() -> str:
    """A name for one run of a job, which no other run on any node has."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def claim(
    connection: Connection,
    table: Table,
    wanted: Sequence[ColumnElement[bool]],
    *,
    owner: str,
    now: datetime,
    lease: timedelta,
) -> int | None:
    """Lease the oldest row of *table* that is *wanted* and free to *owner*; its id, or ``None`` without one.

    A lease that ran out is free again, and so is one that lasts twice as long as a new one would: whoever took it had
    a wrong clock. On PostgreSQL rows that others are just claiming are passed over; on SQLite there is one writer at a
    time.
    """
    free = or_(
        table.c.lease_until.is_(None),
        table.c.lease_until <= to_micros(now),
        table.c.lease_until > to_micros(now + 2 * lease),
    )
    found = connection.scalar(
        select(table.c.id)
        .where(and_(*wanted), free)
        .order_by(table.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if found is None:
        return None
    connection.execute(
        update(table).where(table.c.id == found).values(lease_owner=owner, lease_until=to_micros(now + lease))
    )
    return int(found)


def keep(
    connection: Connection, table: Table, row_id: int, owner: str, *, now: datetime, lease: timedelta
) -> bool:
    """Let *owner*'s lease begin anew; false when the row is another's by now, and none of *owner*'s business any more.

    Whoever asks this in the transaction in which a step is noted never takes a step that somebody else takes too.
    """
    kept = connection.execute(
        update(table)
        .where(table.c.id == row_id, table.c.lease_owner == owner)
        .values(lease_until=to_micros(now + lease))
    )
    return kept.rowcount == 1


def end(connection: Connection, table: Table, row_id: int, owner: str) -> None:
    """Give a row back before its lease runs out; does nothing when it isn't *owner*'s any more."""
    connection.execute(
        update(table)
        .where(table.c.id == row_id, table.c.lease_owner == owner)
        .values(lease_owner=None, lease_until=None)
    )
