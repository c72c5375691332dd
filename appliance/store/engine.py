"""Open the store: its transactions, and whether its schema is the one that this program knows."""

import contextlib
from collections.abc import Iterator

from sqlalchemy import URL, Connection, Engine, column, inspect, select, table

from appliance.store import database
from appliance.store.database import InvalidStoreUrl
from appliance.store.schema import REVISION
from appliance.store.troubles import StoreUnavailable

__all__ = [
    "InvalidStoreUrl",
    "SchemaMismatch",
    "Store",
    "StoreUnavailable",
    "open_store",
    "store_at",
    "upgrade",
]

_ALEMBIC_VERSION = table("alembic_version", column("version_num"))


class SchemaMismatch(Exception):
    """The database is older or newer than this program."""


class Store:
    """A way to the database. Open it after a fork, not before."""

    def __init__(self, url: URL, engine: Engine) -> None:
        self._url = url
        self._engine = engine
        self._reading = engine.execution_options(**{database.READ_ONLY: True, "postgresql_readonly": True})

    def __repr__(self) -> str:
        return f"Store({self._url.render_as_string(hide_password=True)!r})"

    @property
    def url(self) -> str:
        """With the password: not for people to see."""
        return self._url.render_as_string(hide_password=False)

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction that may write; on SQLite the only one at a time. Raises ``StoreUnavailable``."""
        with self._transaction(self._engine) as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that only reads, and never waits for a writer. Raises ``StoreUnavailable``."""
        with self._transaction(self._reading) as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with database.plain_errors(self._url), engine.begin() as connection:
                yield connection
        except StoreUnavailable as error:
            if error.reconnect:
                self._engine.dispose()
            raise

    def close(self) -> None:
        self._engine.dispose()


def store_at(url: str) -> Store:
    """A way to the store at *url*, which need not be there yet: for who must go on without it.

    Its schema was looked at by whoever opened it first. Raises ``InvalidStoreUrl``.
    """
    parsed = database.parse_url(url)
    return Store(parsed, database.make_engine(parsed))


def open_store(url: str, *, create: bool = False) -> Store:
    """Open the store at *url*; with *create* an empty or missing database is made ready first.

    Raises ``StoreUnavailable`` or ``SchemaMismatch``; a database in use is never upgraded here.
    """
    parsed = database.parse_url(url)
    if create and parsed.get_backend_name() == "sqlite":
        database.create_database_file(database.database_file(parsed))
    store = store_at(url)
    try:
        with store.read() as connection:
            tables = inspect(connection).get_table_names()
            found = schema_revision(connection, tables)
        if create and not tables:
            upgrade(url)
        else:
            _check(found, tables)
    except BaseException:
        store.close()
        raise
    return store


def upgrade(url: str) -> str:
    """Bring the database to this program's schema, and make it where there is none; returns the revision.

    Safe when two processes do it at once: the second finds nothing to do.
    """
    from appliance.store.migrate import upgrade as run  # noqa: PLC0415  Alembic is slow to load

    return run(url)


def schema_revision(connection: Connection, tables: list[str]) -> str | None:
    """``None`` when no migration ever ran there."""
    if _ALEMBIC_VERSION.name not in tables:
        return None
    found: str | None = connection.scalar(select(_ALEMBIC_VERSION.c.version_num))
    return found


def _check(found: str | None, tables: list[str]) -> None:
    if found == REVISION:
        return
    if found is None and tables:
        raise SchemaMismatch("the database holds tables that are not ours; name an empty database")
    if found is None or found < REVISION:
        raise SchemaMismatch(
            f"the database's schema is {found or 'missing'}, this program needs {REVISION}; run: dmarcgate db upgrade"
        )
    raise SchemaMismatch(
        f"the database's schema {found} is newer than this program's {REVISION}; install the newer program"
    )
