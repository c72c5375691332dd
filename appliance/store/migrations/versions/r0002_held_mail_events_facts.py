"""Held mail names its node, its sender and how it was to be released; exceptions are counted; facts go by their day.

Events lose the indexes that every message had to keep in order: they are indexed afterwards, block by block.
"""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

DAY = 86_400
AT_ONCE = 5000

_HELD = (
    ("node", sa.String(length=253)),
    ("release", sa.Text()),
    ("mail_from", sa.String(length=320)),
    ("client_ip", sa.String(length=45)),
)
_EVENT_INDEXES = (
    "ix_event_author_domain_received_at",
    "ix_event_event_id",
    "ix_event_message_id",
    "ix_event_queue_id",
)
_Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_held = sa.table("quarantine", *map(sa.column, ("event_id", "envelope", "mail_from", "client_ip")))
_fact = sa.table("fact", *map(sa.column, ("policy_key", "hour", "row_key", "count")))
_fact_row = sa.table("fact_row", *map(sa.column, ("key", "disposition", "document")))


def upgrade() -> None:
    _extend_quarantine()
    _fill_held(op.get_bind())
    _count_exceptions()
    _index_events_afterwards()
    _limit_facts()
    _put_days_before_row_keys(op.get_bind())


def _extend_quarantine() -> None:
    with op.batch_alter_table("quarantine") as quarantine:
        for name, kind in _HELD:
            quarantine.add_column(sa.Column(name, kind, nullable=False, server_default=""))
    with op.batch_alter_table("quarantine") as quarantine:
        for name, kind in _HELD:
            quarantine.alter_column(name, existing_type=kind, existing_nullable=False, server_default=None)


def _fill_held(connection: sa.Connection) -> None:
    """What is searched for in held mail, from its envelope; the connected client stands in for the effective one."""
    for event_id, document in connection.execute(sa.select(_held.c.event_id, _held.c.envelope)).all():
        envelope = json.loads(document)
        values = {"mail_from": _storable(envelope["from"]), "client_ip": envelope["ip"] or ""}
        connection.execute(sa.update(_held).where(_held.c.event_id == event_id).values(values))


def _storable(address: str) -> str:
    return address[:320].encode("utf-8", "replace").decode().replace("\0", "?")


def _count_exceptions() -> None:
    op.create_table(
        "exception_hit",
        sa.Column("key", sa.String(length=600), nullable=False),
        sa.Column("hits", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_exception_hit")),
    )


def _index_events_afterwards() -> None:
    for name in _EVENT_INDEXES:
        op.drop_index(op.f(name), table_name="event")
    op.create_table(
        "event_block",
        sa.Column("number", _Number, autoincrement=False, nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_event_block")),
    )
    op.create_table(
        "event_term",
        sa.Column("place", _Number, autoincrement=False, nullable=False),
        sa.Column("rare", sa.LargeBinary(), nullable=False),
        sa.Column("frequent", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_event_term")),
    )


def _limit_facts() -> None:
    op.create_table(
        "fact_day",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("new_rows", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_fact_day")),
    )
    op.create_table(
        "fact_folded",
        sa.Column("policy_key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("policy_key", "hour", name=op.f("pk_fact_folded")),
        sqlite_with_rowid=False,
    )


def _put_days_before_row_keys(connection: sa.Connection) -> None:
    """A row's key begins with the UTC day on which it was seen, in two octets."""
    known: set[tuple[bytes, bytes]] = set()
    last: tuple[Any, ...] | None = None
    while facts := _facts_after(connection, last):
        last = facts[-1]
        pairs = {(old, _with_day(old, hour)) for _, hour, old in facts} - known
        known |= pairs
        _copy_rows(connection, sorted(pairs))
        connection.execute(
            sa.update(_fact)
            .where(
                _fact.c.policy_key == sa.bindparam("policy"),
                _fact.c.hour == sa.bindparam("at"),
                _fact.c.row_key == sa.bindparam("old"),
            )
            .values(row_key=sa.bindparam("new")),
            [
                {"policy": policy, "at": hour, "old": old, "new": _with_day(old, hour)}
                for policy, hour, old in facts
            ],
        )
    connection.execute(sa.delete(_fact_row).where(sa.func.length(_fact_row.c.key) == 16))


def _facts_after(connection: sa.Connection, last: tuple[Any, ...] | None) -> list[tuple[bytes, int, bytes]]:
    """The next facts whose row's key has no day yet, in the order of their keys."""
    key = _fact.c.policy_key, _fact.c.hour, _fact.c.row_key
    wanted = sa.select(*key).where(sa.func.length(_fact.c.row_key) == 16).order_by(*key).limit(AT_ONCE)
    if last is not None:
        wanted = wanted.where(sa.tuple_(*key) > sa.tuple_(*map(sa.literal, last)))
    return [(policy, hour, row) for policy, hour, row in connection.execute(wanted)]


def _copy_rows(connection: sa.Connection, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    if not pairs:
        return
    copied = sa.select(
        sa.bindparam("new", type_=sa.LargeBinary()), _fact_row.c.disposition, _fact_row.c.document
    ).where(_fact_row.c.key == sa.bindparam("old"))
    connection.execute(
        sa.insert(_fact_row).from_select(["key", "disposition", "document"], copied),
        [{"old": old, "new": new} for old, new in pairs],
    )


def _with_day(key: bytes, hour: int) -> bytes:
    return (hour // DAY).to_bytes(2, "big") + key
