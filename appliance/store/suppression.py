"""Addresses that get no reports: for some days after a bounce, or until somebody changes it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, or_, select

from appliance.store.batch import insert_for
from appliance.store.schema import suppression as table
from appliance.store.values import from_micros, text, to_micros


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that gets no reports."""

    address: str
    until: datetime | None
    """``None``: until somebody removes it."""
    reason: str
    strikes: int = 0
    """How many bounces led here; 0: none, somebody wanted it."""


def suppress(connection: Connection, address: str, until: datetime | None, reason: str) -> None:
    """Send nothing to *address* until then; replaces what was said of it before."""
    values = {
        "until": to_micros(until) if until is not None else None,
        "reason": text(reason, 500),
        "strikes": 0,
    }
    insert = insert_for(connection.dialect, table).values(address=text(address, 512), **values)
    connection.execute(insert.on_conflict_do_update(index_elements=[table.c.address], set_=values))


def unsuppress(connection: Connection, address: str) -> None:
    connection.execute(delete(table).where(table.c.address == text(address, 512)))


def find(connection: Connection, address: str, now: datetime) -> Suppression | None:
    """Why *address* gets nothing now; ``None`` when it does."""
    in_force = or_(table.c.until.is_(None), table.c.until > to_micros(now))
    found = connection.execute(select(table).where(table.c.address == text(address, 512), in_force)).first()
    return _suppression(found) if found is not None else None


def known(connection: Connection) -> list[Suppression]:
    """All, those that ran out included, by address."""
    found = connection.execute(select(table).order_by(table.c.address))
    return [_suppression(row) for row in found]


def _suppression(row: Row[*tuple[Any, ...]]) -> Suppression:
    until = from_micros(row.until) if row.until is not None else None
    return Suppression(row.address, until, row.reason, row.strikes)
