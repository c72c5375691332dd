"""Floods of facts: a UTC day has room for so many new report rows; the rest is folded into counters.

Who forges mail makes up a new row with every message. Messages whose row a day knows already count on as they did.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, select

from appliance.store.batch import BatchInsert, Insert, insert_for
from appliance.store.schema import fact_day, fact_folded, fact_row, published_policy

DAY = 86_400
MOST_NEW_ROWS = 2_000_000
"""In one UTC day."""
RESERVED_AT_ONCE = 1000
"""A connection takes room for so many rows at a time, so that workers seldom meet at the day's counter."""

UNKNOWN_POLICY = bytes(16)
"""Stands for every policy that was first seen when the day had no room."""

_RESERVE = "fact_rows_reserved"


@dataclass(slots=True)
class DayOfFacts:
    """What a batch adds to one UTC day; the keys are those of the tables."""

    policies: dict[bytes, tuple[Any, ...]] = field(default_factory=dict)
    rows: dict[bytes, tuple[Any, ...]] = field(default_factory=dict)
    counts: Counter[tuple[bytes, int, bytes]] = field(default_factory=Counter)
    folded: Counter[tuple[bytes, int]] = field(default_factory=Counter)
    causes: set[bytes] = field(default_factory=set)
    """Policies with a message that may cause a report."""


def _sum(insert: Insert) -> Insert:
    return insert.on_conflict_do_update(
        index_elements=[fact_folded.c.policy_key, fact_folded.c.hour],
        set_={"count": fact_folded.c.count + insert.excluded.count},
    )


_FOLDED = BatchInsert(fact_folded, ("policy_key", "hour", "count"), _sum)


def limited(connection: Connection, day: int, facts: DayOfFacts, most_new_rows: int) -> DayOfFacts:
    """*facts* as they are while *day* (days since 1970) has room for all their rows, else with new rows folded."""
    if _has_room(connection, day, len(facts.rows), most_new_rows):
        return facts
    known_rows = set(connection.scalars(select(fact_row.c.key).where(fact_row.c.key.in_(list(facts.rows)))))
    known_policies = set(
        connection.scalars(
            select(published_policy.c.key).where(published_policy.c.key.in_(list(facts.policies)))
        )
    )
    kept = DayOfFacts(causes=facts.causes & known_policies)
    for (policy_key, hour, row_key), count in facts.counts.items():
        if row_key in known_rows:
            kept.counts[policy_key, hour, row_key] = count
        else:
            kept.folded[policy_key if policy_key in known_policies else UNKNOWN_POLICY, hour] += count
    return kept


def use(connection: Connection, day: int, rows: int) -> None:
    """*rows* new ones were added on *day*."""
    _reserve(connection)[day] -= rows


def add(connection: Connection, rows: list[tuple[bytes, int, int]]) -> None:
    """Count folded messages; each row is ``(policy key, hour, messages)``."""
    _FOLDED.run(connection, rows)


def folded(connection: Connection, begin: int, end: int, *, policy_key: bytes | None = None) -> int:
    """How many messages in ``[begin, end)`` (Unix seconds), of one policy or of all, have no row."""
    wanted = [fact_folded.c.hour >= begin, fact_folded.c.hour < end]
    if policy_key is not None:
        wanted.append(fact_folded.c.policy_key == policy_key)
    return int(connection.scalar(select(func.sum(fact_folded.c.count)).where(*wanted)) or 0)


def _has_room(connection: Connection, day: int, rows: int, most_new_rows: int) -> bool:
    reserve = _reserve(connection)
    if reserve[day] >= rows:
        return True
    wanted = min(max(RESERVED_AT_ONCE, rows), most_new_rows)
    if not _take(connection, day, wanted, most_new_rows):
        return False
    for over in [other for other in reserve if other < day - 1]:
        del reserve[over]
    reserve[day] += wanted
    return reserve[day] >= rows


def _take(connection: Connection, day: int, rows: int, most_new_rows: int) -> bool:
    """Reserve room for *rows* in the day's counter, if there is so much."""
    insert = insert_for(connection.dialect, fact_day).values(day=day, new_rows=rows)
    taken = connection.execute(
        insert.on_conflict_do_update(
            index_elements=[fact_day.c.day],
            set_={"new_rows": fact_day.c.new_rows + rows},
            where=fact_day.c.new_rows <= most_new_rows - rows,
        ),
        execution_options={"preserve_rowcount": True},
    )
    return taken.rowcount > 0


def _reserve(connection: Connection) -> dict[int, int]:
    """How many rows this connection to the database may still add, by day.

    It outlives a transaction that failed, with what that one took: the day may then get so many rows more.
    """
    reserve: dict[int, int] = connection.info.setdefault(_RESERVE, defaultdict(int))
    return reserve
