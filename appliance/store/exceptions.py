"""How often each entry of the exception list applied, and when last."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, case, select

from appliance.store.batch import BatchInsert, Insert
from appliance.store.schema import exception_hit
from appliance.store.values import from_micros, text, to_micros

MAX_KEY = 600


def _sum(insert: Insert) -> Insert:
    hit, new = exception_hit.c, insert.excluded
    return insert.on_conflict_do_update(
        index_elements=[hit.key],
        set_={
            "hits": hit.hits + new.hits,
            "last_at": case((new.last_at > hit.last_at, new.last_at), else_=hit.last_at),
        },
    )


_HITS = BatchInsert(exception_hit, ("key", "hits", "last_at"), _sum)


def count_hits(connection: Connection, counts: Mapping[str, int], now: datetime) -> None:
    """Add the messages that each key's entry applied to. Call it last in a transaction: workers share these rows."""
    at = to_micros(now)
    _HITS.run(connection, [(text(key, MAX_KEY), counts[key], at) for key in sorted(counts)])


def hits(connection: Connection) -> dict[str, tuple[int, datetime]]:
    """Messages, and when the last of them came, by the entry's key; entries that never applied are missing."""
    found = connection.execute(select(exception_hit)).all()
    return {row.key: (row.hits, from_micros(row.last_at)) for row in found}
