"""Connect to SQLite or PostgreSQL so that both behave alike."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from appliance.store.troubles import StoreUnavailable, of_postgresql, of_sqlite

BUSY_SECONDS = 5  # how long a writer waits for another's lock
READ_ONLY = "dmarcgate_read_only"

_EXAMPLES = "sqlite:////var/lib/dmarcgate/dmarcgate.db or postgresql://user@host/database"


class InvalidStoreUrl(StoreUnavailable):
    """No store can be at this URL, now or later."""


def parse_url(url: str) -> URL:
    """The URL with the driver we use; raises ``InvalidStoreUrl``."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidStoreUrl(f"the store's URL can't be read; it looks like {_EXAMPLES}") from None
    match parsed.get_backend_name():
        case "sqlite" if parsed.database not in {None, "", ":memory:"}:
            return parsed.set(drivername="sqlite")
        case "postgresql":
            return parsed.set(drivername="postgresql+psycopg")
        case _:
            raise InvalidStoreUrl(f"the store's URL must name a database file or server, such as {_EXAMPLES}")


def make_engine(url: URL, *, busy_seconds: float = BUSY_SECONDS) -> Engine:
    """An engine that hasn't connected yet."""
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(database_file(url), busy_seconds)
    return _postgresql_engine(url, busy_seconds)


def database_file(url: URL) -> Path:
    assert url.database, "parse_url saw to it"
    return Path(url.database).absolute()


def create_database_file(path: Path) -> None:
    """Make an empty SQLite file for all services of the group; one that exists stays as it is."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o660)
    except FileExistsError:
        return
    except OSError as error:
        raise StoreUnavailable(f"the database {path} can't be created: {error.strerror}") from None
    try:
        os.fchmod(descriptor, 0o660)  # SQLite gives its other files the same mode
    finally:
        os.close(descriptor)


class _FileConnection(sqlite3.Connection):
    """A connection that knows whether another file stands now where its own was, as after a backup was restored."""

    path: Path
    file: tuple[int, int]

    def remember(self, path: Path) -> None:
        self.path, self.file = path, _identity(path)

    @property
    def is_replaced(self) -> bool:
        return _identity(self.path) != self.file


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def _sqlite_engine(path: Path, busy_seconds: float) -> Engine:
    def connect() -> sqlite3.Connection:
        connection: _FileConnection = sqlite3.connect(
            f"{path.as_uri()}?mode=rw",  # never makes a file by mistake
            uri=True,
            timeout=busy_seconds,
            check_same_thread=False,
            isolation_level=None,
            factory=_FileConnection,
        )
        connection.remember(path)
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")  # readers and a writer don't wait for each other
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")  # what was answered survives a power cut (F12)
        cursor.close()

    @event.listens_for(engine, "checkout")
    def _still_there(connection: DBAPIConnection, _record: Any, _proxy: Any) -> None:
        if isinstance(connection, _FileConnection) and connection.is_replaced:
            raise DisconnectionError(f"{path} is another file now")  # SQLAlchemy connects anew

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that begins by reading can't wait for a lock later, so a writer takes it at once.
        reading = connection.get_execution_options().get(READ_ONLY)
        cursor = connection.connection.cursor()
        cursor.execute("PRAGMA query_only = ON" if reading else "PRAGMA query_only = OFF")
        cursor.close()
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _postgresql_engine(url: URL, busy_seconds: float) -> Engine:
    try:
        return create_engine(
            url,
            paramstyle="format",
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": BUSY_SECONDS,
                "tcp_user_timeout": 2 * BUSY_SECONDS * 1000,
                # A server that vanished while it owed us an answer is noticed as soon.
                "keepalives_idle": BUSY_SECONDS,
                "keepalives_interval": 1,
                "keepalives_count": BUSY_SECONDS,
                "application_name": "dmarcgate",
                "options": f"-c lock_timeout={int(busy_seconds * 1000)} -c timezone=UTC",
            },
        )
    except (ImportError, NoSuchModuleError):
        raise InvalidStoreUrl("PostgreSQL needs the driver: pip install 'dmarcgate[postgresql]'") from None


@contextlib.contextmanager
def plain_errors(url: URL) -> Iterator[None]:
    """Turn what a driver says about an unusable database into ``StoreUnavailable``; other errors pass."""
    try:
        yield
    except PoolTimeout:
        raise StoreUnavailable("all connections to the database are in use") from None
    except DBAPIError as error:
        file = database_file(url) if url.get_backend_name() == "sqlite" else None
        trouble = of_sqlite(error, file) if file else of_postgresql(error, url)
        if trouble is None:
            raise
        raise trouble from error
