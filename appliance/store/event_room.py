"""How much room the events take."""

from functools import reduce
from operator import add

from sqlalchemy import ColumnElement, Connection, func, select, text

from appliance.store.schema import event

_SAMPLES = 500
_BESIDE_VALUES = {
    "sqlite": 180,
    "postgresql": 400,
}  # octets of an event: its row's frame, its share of both indexes


def octets_of_events(connection: Connection) -> int:
    """The octets that events and what they are found by take, about; room that was freed and is used again isn't counted.

    Estimated from events at 500 places all over the table; never more than the whole database has in use.
    """
    oldest, newest = connection.execute(select(func.min(event.c.id), func.max(event.c.id))).one()
    if newest is None:
        return 0
    texts = [column for column in event.columns if column.type.python_type in {str, bytes}]
    values: ColumnElement[int] = reduce(add, (func.coalesce(func.length(column), 0) for column in texts))
    places = [oldest + (newest - oldest) * place // _SAMPLES for place in range(_SAMPLES)]
    lengths = [
        connection.scalar(select(values).where(event.c.id >= place).order_by(event.c.id).limit(1)) or 0
        for place in places
    ]
    average = sum(lengths) // len(lengths) + _BESIDE_VALUES[connection.dialect.name]
    return min(average * (int(newest) - int(oldest) + 1), _octets_in_use(connection))


def _octets_in_use(connection: Connection) -> int:
    if connection.dialect.name == "postgresql":
        return connection.scalar(select(func.pg_database_size(func.current_database()))) or 0
    pages, free, size = (
        connection.execute(text(pragma)).scalar_one()
        for pragma in ("PRAGMA page_count", "PRAGMA freelist_count", "PRAGMA page_size")
    )
    return int((pages - free) * size)
