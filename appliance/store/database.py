"""Connect to SQLite or PostgreSQL so that both behave alike, and put a driver's errors into plain words."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

BUSY_SECONDS = 5  # how long a writer waits for another's lock
READ_ONLY = "dmarcgate_read_only"

_EXAMPLES = "sqlite:////var/lib/dmarcgate/dmarcgate.db or postgresql://user@host/database"
_INSUFFICIENT_PRIVILEGE = "42501"  # PostgreSQL's SQLSTATE


class StoreUnavailable(Exception):
    """The store can't be used now; the message is one clear line without a password."""


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


def _sqlite_engine(path: Path, busy_seconds: float) -> Engine:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"{path.as_uri()}?mode=rw",  # never makes a file by mistake
            uri=True,
            timeout=busy_seconds,
            check_same_thread=False,
            isolation_level=None,
        )

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")  # readers and a writer don't wait for each other
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")  # what was answered survives a power cut (F12)
        cursor.close()

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
        if not _is_unavailable(error):
            raise
        raise StoreUnavailable(_in_words(url, error)) from error


def _is_unavailable(error: DBAPIError) -> bool:
    if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
        return True
    # SQLite says plain DatabaseError for a damaged file.
    damaged = isinstance(error.orig, sqlite3.Error) and type(error.orig) is sqlite3.DatabaseError
    return damaged or getattr(error.orig, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE


def _in_words(url: URL, error: DBAPIError) -> str:
    lines = str(error.orig).strip().splitlines()
    reason = lines[0] if lines else type(error.orig).__name__
    if url.get_backend_name() != "sqlite":
        return f"the database {url.database} on {url.host or 'this machine'} can't be used: {reason}"
    path = database_file(url)
    match reason:
        case "database is locked":
            return f"the database {path} stays locked by another program"
        case "unable to open database file" if not path.exists():
            return f"there is no database {path}; make one with dmarcgate db upgrade"
        case "database or disk is full":
            return f"the disk of the database {path} is full"
        case _:
            return f"the database {path} can't be used: {reason}"
