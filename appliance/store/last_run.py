"""When something was done last that all nodes together do once, and the mail that it left to be handed over."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, or_, select, update

from appliance.store.batch import insert_for
from appliance.store.schema import last_run
from appliance.store.values import text, to_micros

_WRONG_CLOCK = timedelta(days=1)


def is_due(connection: Connection, name: str, since: datetime, now: datetime) -> bool:
    """Whether *name* was not begun from *since* on."""
    found = connection.scalar(select(last_run.c.at).where(_is(name)))
    return found is None or not to_micros(since) <= found <= to_micros(now + _WRONG_CLOCK)


def begin(connection: Connection, name: str, since: datetime, now: datetime) -> bool:
    """Note that *name* begins *now*, unless it was begun from *since* on; of several nodes that ask one gets true.

    What was begun far in the future, by a wrong clock, was not begun.
    """
    at = last_run.c.at
    wrong = or_(at < to_micros(since), at > to_micros(now + _WRONG_CLOCK))
    begun = connection.execute(
        insert_for(connection.dialect, last_run)
        .values(name=text(name, 64), at=to_micros(now))
        .on_conflict_do_update(index_elements=[last_run.c.name], set_={"at": to_micros(now)}, where=wrong),
        execution_options={"preserve_rowcount": True},
    )
    return begun.rowcount > 0


def keep_message(connection: Connection, name: str, message: bytes | None) -> None:
    """Freeze the mail that *name* made; ``None`` once it needs no further attempt."""
    connection.execute(update(last_run).where(_is(name)).values(message=message))


def message(connection: Connection, name: str) -> bytes | None:
    """The mail that is still to be handed over."""
    found: bytes | None = connection.scalar(select(last_run.c.message).where(_is(name)))
    return found


def _is(name: str) -> ColumnElement[bool]:
    return last_run.c.name == text(name, 64)
