"""Delete what is older than wanted, or more than fits, oldest first: in small transactions, so that nobody waits long."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    select,
    text,
    true,
)

from appliance.store import search_index
from appliance.store.engine import Store
from appliance.store.event_room import octets_of_events
from appliance.store.schema import (
    event,
    fact,
    fact_cause,
    fact_day,
    fact_folded,
    fact_row,
    published_policy,
    report_job,
)
from appliance.store.values import MILLION, to_micros

AT_ONCE = 1000
"""Rows in one transaction."""
MOST_BATCHES = 1000
"""Of one kind, in one call: the next call goes on."""
PAUSE_SECONDS = 0.05
"""Between transactions: on SQLite one who waits for the lock asks for it only from time to time."""

_DAY = 86_400
_BLOCKS_AT_ONCE = 4
_POLICIES_AT_ONCE = 500

_NEWEST_EVENT = select(func.max(event.c.id)).scalar_subquery()
_WITHOUT_FACTS = and_(
    ~exists().where(fact.c.policy_key == published_policy.c.key),
    ~exists().where(fact_folded.c.policy_key == published_policy.c.key),
)


@dataclass(frozen=True, slots=True)
class DeletedEvents:
    by_age: int
    by_size: int


@dataclass(frozen=True, slots=True)
class DeletedFacts:
    facts: int
    rows: int
    policies: int


def delete_old_events(store: Store, *, before: datetime, most_octets: int | None = None) -> DeletedEvents:
    """Delete the events received before then, and of the rest the oldest that go beyond *most_octets*.

    The newest event stays, whatever its age, so that its number is not given to another.
    """
    events = select(event.c.id).where(event.c.id < _NEWEST_EVENT)
    received = event.c.received_at, event.c.id
    by_age = _delete(store, event, events.where(received[0] < to_micros(before)).order_by(*received))
    by_size = 0
    if most_octets is not None:
        with store.read() as connection:
            end = _first_that_fits(connection, most_octets)
        by_size = _delete(store, event, events.where(event.c.id < end).order_by(event.c.id))
    _forget_blocks(store)
    return DeletedEvents(by_age, by_size)


def delete_old_facts(store: Store, *, before: datetime) -> DeletedFacts:
    """Delete the facts of UTC days that ended before then, and the rows and policies that none refers to any more."""
    day = to_micros(before) // MILLION // _DAY
    hour = day * _DAY
    facts = sum(
        _delete(store, fact, _key_of(fact).where(fact.c.policy_key.in_(keys), fact.c.hour < hour))
        for keys in _policies(store)
    )
    _delete(store, fact_folded, _key_of(fact_folded).where(fact_folded.c.hour < hour))
    _delete(store, fact_day, _key_of(fact_day).where(fact_day.c.day < day))
    _delete(store, fact_cause, _key_of(fact_cause).where(fact_cause.c.day < day))
    rows = _delete(store, fact_row, _key_of(fact_row).where(fact_row.c.key < day.to_bytes(2, "big")))
    return DeletedFacts(facts, rows, _delete_unused_policies(store))


def delete_old_reports(store: Store, *, before: datetime) -> int:
    """Delete the reports about UTC days that ended before then, with their copies and attempts; how many they were.

    Which addresses ever got one stays known.
    """
    day = before.astimezone(UTC).date().isoformat()
    return _delete(store, report_job, _key_of(report_job).where(report_job.c.day < day))


def _first_that_fits(connection: Connection, most_octets: int) -> int:
    """The number of the first event that stays when the events may hold *most_octets*; 0 when all do."""
    octets = octets_of_events(connection)
    if octets <= most_octets:
        return 0
    oldest, newest = connection.execute(select(func.min(event.c.id), func.max(event.c.id))).one()
    return int(newest) + 1 - (int(newest) - int(oldest) + 1) * most_octets // octets


def _forget_blocks(store: Store) -> None:
    """Drop the search index of the events that are gone."""
    with store.read() as connection:
        oldest: int = connection.scalar(select(func.min(event.c.id))) or 0
    while True:
        with store.begin() as connection:
            if not search_index.forget_before(connection, oldest, most_blocks=_BLOCKS_AT_ONCE):
                return
        time.sleep(PAUSE_SECONDS)


def _policies(store: Store) -> Iterator[list[bytes]]:
    """The keys of all policies, some at a time: the table of facts stands in their order."""
    last = b""
    while True:
        key = published_policy.c.key
        with store.read() as connection:
            some = select(key).where(key > last).order_by(key).limit(_POLICIES_AT_ONCE)
            keys = list(connection.scalars(some))
        if not keys:
            return
        yield keys
        last = keys[-1]


def _delete_unused_policies(store: Store) -> int:
    return _delete(
        store,
        published_policy,
        _key_of(published_policy).where(_WITHOUT_FACTS),
        only_if=_WITHOUT_FACTS,
        # Or another transaction could add a fact to a policy that it has just seen, while we delete that.
        lock="LOCK TABLE published_policy IN SHARE ROW EXCLUSIVE MODE",
    )


def _key_of(table: Table) -> Select[Any]:
    return select(*table.primary_key.columns)


def _delete(
    store: Store,
    table: Table,
    old: Select[Any],
    *,
    only_if: ColumnElement[bool] | None = None,
    lock: str | None = None,
) -> int:
    """Delete the rows of *table* whose keys *old* selects, batch by batch; how many there were.

    They are looked for without keeping writers waiting. *lock* is a statement for PostgreSQL; on SQLite there is one
    writer at a time anyway.
    """
    keys = table.primary_key.columns
    this = [key == bindparam(f"old_{key.name}") for key in keys]
    statement = delete(table).where(*this, true() if only_if is None else only_if)
    deleted = 0
    for _ in range(MOST_BATCHES):
        with store.read() as connection:
            found = connection.execute(old.limit(AT_ONCE)).all()
        if found:
            with store.begin() as connection:
                if lock is not None and connection.dialect.name == "postgresql":
                    connection.execute(text(lock))
                connection.execute(
                    statement,
                    [
                        {f"old_{key.name}": value for key, value in zip(keys, row, strict=True)}
                        for row in found
                    ],
                )
        deleted += len(found)
        if len(found) < AT_ONCE:
            break
        time.sleep(PAUSE_SECONDS)
    return deleted
