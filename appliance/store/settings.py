"""Settings revisions: append-only; a save names the revision that it is based on."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select
from sqlalchemy.exc import IntegrityError

from appliance.settings import Settings, from_document, to_document
from appliance.settings.selection import check_selection
from appliance.store import readiness
from appliance.store.schema import settings_revision
from appliance.store.values import from_micros, now, text, to_micros

_COLUMNS = (
    settings_revision.c.number,
    settings_revision.c.document,
    settings_revision.c.author,
    settings_revision.c.saved_at,
    settings_revision.c.comment,
)


@dataclass(frozen=True, slots=True)
class Revision:
    """*number* 0 is the defaults: nothing was ever saved."""

    number: int
    settings: Settings
    author: str
    saved_at: datetime
    comment: str


@dataclass(frozen=True, slots=True)
class Heading:
    """A revision without its settings: a page of history is quick, whatever the lists hold."""

    number: int
    author: str
    saved_at: datetime
    comment: str


class SettingsConflict(Exception):
    """Somebody saved *current* since the revision that this save was based on; nothing was saved."""

    def __init__(self, current: Revision) -> None:
        super().__init__(f"revision {current.number} was saved by {current.author} in the meantime")
        self.current = current


def current(connection: Connection) -> Revision:
    """The revision in force. Raises ``InvalidSettings`` for a document that this program can't read."""
    newest = select(*_COLUMNS).order_by(settings_revision.c.number.desc()).limit(1)
    row = connection.execute(newest).first()
    return _revision(row) if row is not None else _defaults()


def current_number(connection: Connection) -> int:
    """Only the number of the revision in force: cheap enough to ask every second."""
    return connection.scalar(select(func.max(settings_revision.c.number))) or 0


def save(
    connection: Connection, settings: Settings, *, based_on: int, author: str, comment: str = ""
) -> Revision:
    """Append *settings*; returns the new revision, or the one in force when nothing changed.

    Raises ``SettingsConflict`` when *based_on* is not the revision in force, and ``InvalidSettings`` for what can't be
    selected now; the transaction stays usable.
    """
    in_force = current(connection)
    if in_force.number != based_on:
        raise SettingsConflict(in_force)
    if in_force.settings == settings and in_force.number:
        return in_force
    check_selection(in_force.settings, settings)
    readiness.check_selection(connection, in_force.settings, settings, now())
    revision = Revision(based_on + 1, settings, text(author, 64), now(), text(comment, 500))
    try:
        with connection.begin_nested():
            connection.execute(
                insert(settings_revision).values(
                    number=revision.number,
                    saved_at=to_micros(revision.saved_at),
                    author=revision.author,
                    comment=revision.comment,
                    document=to_document(settings),
                )
            )
    except IntegrityError:  # saved by another since we looked: the number is taken
        raise SettingsConflict(current(connection)) from None
    return revision


def history(connection: Connection, limit: int = 50, before: int | None = None) -> list[Heading]:
    """Newest first; *before* is the last number of the page before."""
    table = settings_revision.c
    wanted = (
        select(table.number, table.author, table.saved_at, table.comment)
        .order_by(table.number.desc())
        .limit(limit)
    )
    if before is not None:
        wanted = wanted.where(table.number < before)
    return [
        Heading(row.number, row.author, from_micros(row.saved_at), row.comment)
        for row in connection.execute(wanted)
    ]


def get(connection: Connection, number: int) -> Revision:
    """Raises ``KeyError`` for a revision that doesn't exist."""
    if number == 0:
        return _defaults()
    row = connection.execute(select(*_COLUMNS).where(settings_revision.c.number == number)).first()
    if row is None:
        raise KeyError(number)
    return _revision(row)


def _revision(row: Row[*tuple[Any, ...]]) -> Revision:
    return Revision(
        row.number, from_document(row.document), row.author, from_micros(row.saved_at), row.comment
    )


def _defaults() -> Revision:
    return Revision(0, Settings(), "", from_micros(0), "")
