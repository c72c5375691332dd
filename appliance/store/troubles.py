"""What a driver says about a database that can't be used, in words that name the remedy."""

import shutil
import sqlite3
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

_FEW_OCTETS = 64 * 1024  # less is too little for the smallest transaction

_READ_ONLY_SERVER = "25006"
_NO_SCHEMA = ("42P01", "42703", "3F000")  # undefined table, column, schema
_UNUSABLE = {_READ_ONLY_SERVER, *_NO_SCHEMA, "42501", "XX001", "XX002"}  # insufficient privilege, corrupted
"""PostgreSQL's SQLSTATEs that its driver does not count among a server's operational troubles."""


class StoreUnavailable(Exception):
    """The store can't be used now; the message is one clear line without a password.

    *reconnect*: connections that are open already will be of no use even when the trouble is over.
    """

    def __init__(self, message: str, *, reconnect: bool = False) -> None:
        super().__init__(message)
        self.reconnect = reconnect


def of_postgresql(error: DBAPIError, url: URL) -> StoreUnavailable | None:
    """``None`` for an error that says nothing about the server's state."""
    state = getattr(error.orig, "sqlstate", None)
    if not (_is_operational(error) or state in _UNUSABLE):
        return None
    where = f"the database {url.database} on {url.host or 'this machine'}"
    if state == _READ_ONLY_SERVER:
        return StoreUnavailable(f"{where} takes no writes: its server is a read-only standby", reconnect=True)
    if state in _NO_SCHEMA:
        return StoreUnavailable(f"{where} lacks our tables ({_reason(error)}); run: dmarcgate db upgrade")
    return StoreUnavailable(f"{where} can't be used: {_reason(error)}")


def of_sqlite(error: DBAPIError, path: Path) -> StoreUnavailable | None:
    """``None`` for an error that says nothing about the file's state."""
    damaged = type(error.orig) is sqlite3.DatabaseError  # what Python makes of a damaged file
    if not (_is_operational(error) or damaged):
        return None
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    return StoreUnavailable(f"the database {path} {_of_file(path, code, _reason(error))}", reconnect=damaged)


def _is_operational(error: DBAPIError) -> bool:
    return isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated


def _reason(error: DBAPIError) -> str:
    lines = str(error.orig).strip().splitlines()
    return lines[0] if lines else type(error.orig).__name__


def _of_file(path: Path, code: int, reason: str) -> str:
    """What is wrong with the file, by SQLite's primary result *code*."""
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            words = "stays locked by another program"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            words = (
                f"is damaged ({reason}): stop the services, move it aside together with {path.name}-wal and "
                f"{path.name}-shm, then restore a backup, or begin anew with dmarcgate db upgrade"
            )
        case sqlite3.SQLITE_CANTOPEN if not path.exists():
            words = "is missing: restore a backup, or make a new one with dmarcgate db upgrade"
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN if _is_full(path, code):
            words = "can't be written because its disk is full: make room there, nothing needs a restart"
        case sqlite3.SQLITE_IOERR:
            words = f"can't be read or written ({reason}): look at its disk and at the kernel's log"
        case sqlite3.SQLITE_READONLY:
            words = f"can't be written ({reason}): look at its owner, its mode and its file system"
        case sqlite3.SQLITE_ERROR if reason.startswith("no such "):
            words = f"lacks our tables ({reason}); run: dmarcgate db upgrade"
        case _:
            words = f"can't be used: {reason}"
    return words


def _is_full(path: Path, code: int) -> bool:
    """Also where SQLite only says that it could not make its files larger."""
    if code == sqlite3.SQLITE_FULL:
        return True
    try:
        return shutil.disk_usage(path.parent).free < _FEW_OCTETS
    except OSError:
        return False
