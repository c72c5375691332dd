"""Accounts of the settings page: sign-in with its limits (T34), passwords, sessions that can be ended."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from appliance.store import values
from appliance.store.engine import Store
from appliance.store.passwords import WeakPassword, hash_password, matches, one_time_password
from appliance.store.schema import account as account_table
from appliance.store.schema import session as session_table
from appliance.store.schema import sign_in_attempt

__all__ = [
    "Account",
    "AccountExists",
    "Role",
    "SignInRefused",
    "TooManyAttempts",
    "WeakPassword",
    "close_session",
    "close_sessions",
    "create",
    "disable",
    "get",
    "list_accounts",
    "one_time_password",
    "open_session",
    "session",
    "set_password",
    "set_role",
    "verify",
]

MAX_FAILURES = 5
FAILURE_WINDOW = timedelta(minutes=15)
IDLE_LIMIT = timedelta(minutes=15)
SESSION_LIMIT = timedelta(hours=12)
SEEN_EVERY = timedelta(minutes=1)
"""How exactly the last use of a session is known: a page view is no reason to write."""

_MAX_NAME = 64
_LOCK = 0x7369676E  # any number, the same in all our programs


class Role(StrEnum):
    """Admin: everything. Operator: quarantine and activity. Viewer: only looks."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True)
class Account:
    """Who may use the pages; *name* is lower-case."""

    name: str
    role: Role
    must_change: bool
    """The password is a one-time password: another must be set before anything else."""
    disabled: bool
    created_at: datetime


class SignInRefused(Exception):
    """Name or password is wrong, or the account is disabled: nobody is told which."""


class TooManyAttempts(SignInRefused):
    """Five failures within 15 minutes for this account or network; nothing was checked."""


class AccountExists(ValueError):
    """There is an account of this name already."""


_COLUMNS = (
    account_table.c.name,
    account_table.c.role,
    account_table.c.must_change,
    account_table.c.disabled,
    account_table.c.created_at,
)


def create(
    connection: Connection,
    name: str,
    password: str | None,
    role: Role,
    *,
    must_change: bool,
    now: datetime | None = None,
) -> Account:
    """Make an account; without *password* nobody can sign in until one is set.

    Raises ``AccountExists``, ``WeakPassword``, or ``ValueError`` for a name that can't be one.
    """
    account = Account(_account_name(name), role, must_change, disabled=False, created_at=now or values.now())
    try:
        with connection.begin_nested():
            connection.execute(
                insert(account_table).values(
                    name=account.name,
                    password_hash=hash_password(password) if password is not None else "",
                    role=account.role.value,
                    must_change=account.must_change,
                    disabled=False,
                    created_at=values.to_micros(account.created_at),
                    password_set_at=values.to_micros(account.created_at) if password is not None else None,
                )
            )
    except IntegrityError:
        raise AccountExists(f"the account {account.name} exists already") from None
    return account


def verify(store: Store, name: str, password: str, address: str, now: datetime) -> Account:
    """The account that *name* and *password* open. Raises ``SignInRefused`` or ``TooManyAttempts``.

    Takes the store, not a connection: an attempt is counted before it is checked, in a transaction of its own, so
    that many at once get no further than one after the other, and no transaction waits for the hash.
    """
    wanted = values.text(name.strip().lower(), _MAX_NAME)
    with store.begin() as connection:
        attempt = _count_attempt(connection, wanted, _network(address), now)
        found = connection.execute(
            select(*_COLUMNS, account_table.c.password_hash).where(account_table.c.name == wanted)
        ).first()
    if attempt is None:
        raise TooManyAttempts
    accepted = matches(found.password_hash if found is not None else "", password)
    if not accepted or found is None or found.disabled:
        raise SignInRefused
    with store.begin() as connection:
        connection.execute(
            delete(sign_in_attempt).where(
                or_(sign_in_attempt.c.id == attempt, sign_in_attempt.c.account == wanted)
            )
        )
    return _account(found)


def set_password(
    connection: Connection,
    name: str,
    password: str,
    *,
    must_change: bool = False,
    now: datetime | None = None,
) -> None:
    """Replace the password and end all the account's sessions. Raises ``WeakPassword`` or ``KeyError``."""
    _update(
        connection,
        name,
        password_hash=hash_password(password),
        must_change=must_change,
        password_set_at=values.to_micros(now or values.now()),
    )
    close_sessions(connection, name)


def disable(connection: Connection, name: str, *, disabled: bool = True) -> None:
    """Nobody can sign in as *name*, or with ``disabled=False`` can again; open sessions end. Raises ``KeyError``."""
    _update(connection, name, disabled=disabled)
    close_sessions(connection, name)


def set_role(connection: Connection, name: str, role: Role) -> None:
    """Holds from the account's next request on. Raises ``KeyError``."""
    _update(connection, name, role=role.value)


def list_accounts(connection: Connection) -> list[Account]:
    """By name."""
    return [_account(row) for row in connection.execute(select(*_COLUMNS).order_by(account_table.c.name))]


def get(connection: Connection, name: str) -> Account | None:
    found = connection.execute(select(*_COLUMNS).where(account_table.c.name == _key(name))).first()
    return _account(found) if found is not None else None


def open_session(connection: Connection, account: Account, now: datetime, address: str = "") -> str:
    """The new session's token: only its hash is kept, so a stolen database opens no session."""
    token = secrets.token_urlsafe(32)
    connection.execute(
        insert(session_table).values(
            token_hash=_hash(token),
            account=account.name,
            address=values.text(address, 45),
            opened_at=values.to_micros(now),
            seen_at=values.to_micros(now),
        )
    )
    return token


def session(connection: Connection, token: str, now: datetime) -> Account | None:
    """Whose session it is; ``None`` when it ended, was idle for 15 minutes, or is older than 12 hours.

    Needs a transaction that may write: it notes that the session is in use.
    """
    found = connection.execute(
        select(*_COLUMNS, session_table.c.opened_at, session_table.c.seen_at)
        .join(session_table, session_table.c.account == account_table.c.name)
        .where(session_table.c.token_hash == _hash(token))
    ).first()
    if found is None:
        return None
    idle = now - values.from_micros(found.seen_at)
    if found.disabled or idle > IDLE_LIMIT or now - values.from_micros(found.opened_at) > SESSION_LIMIT:
        close_session(connection, token)
        return None
    if idle > SEEN_EVERY:
        connection.execute(
            update(session_table)
            .where(session_table.c.token_hash == _hash(token))
            .values(seen_at=values.to_micros(now))
        )
    return _account(found)


def close_session(connection: Connection, token: str) -> None:
    connection.execute(delete(session_table).where(session_table.c.token_hash == _hash(token)))


def close_sessions(connection: Connection, name: str) -> None:
    """All of one account."""
    connection.execute(delete(session_table).where(session_table.c.account == _key(name)))


def _count_attempt(connection: Connection, name: str, network: str, now: datetime) -> int | None:
    """Note an attempt; its id, or ``None`` when there were too many. It is taken back when it succeeds."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    earliest = values.to_micros(now - FAILURE_WINDOW)
    connection.execute(delete(sign_in_attempt).where(sign_in_attempt.c.at < earliest))
    added = connection.execute(
        insert(sign_in_attempt)
        .values(at=values.to_micros(now), account=name, network=network)
        .returning(sign_in_attempt.c.id)
    ).scalar_one()
    earlier = select(func.count()).where(sign_in_attempt.c.id < added)
    by_name = connection.scalar(earlier.where(sign_in_attempt.c.account == name)) or 0
    by_network = connection.scalar(earlier.where(sign_in_attempt.c.network == network)) or 0
    if by_name < MAX_FAILURES and by_network < MAX_FAILURES:
        return int(added)
    connection.execute(delete(sign_in_attempt).where(sign_in_attempt.c.id == added))
    return None


def _network(address: str) -> str:
    """The /24 or /64 that *address* is in; anything else stands for itself."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return values.text(address, 45)
    return str(ip_network((parsed, 24 if parsed.version == 4 else 64), strict=False))


def _update(connection: Connection, name: str, **changes: object) -> None:
    changed = connection.execute(
        update(account_table).where(account_table.c.name == _key(name)).values(**changes)
    )
    if changed.rowcount != 1:
        raise KeyError(name)


def _account_name(name: str) -> str:
    key = name.strip().lower()
    if not key or len(key) > _MAX_NAME or not key.isprintable() or any(char.isspace() for char in key):
        raise ValueError(f"an account's name has 1 to {_MAX_NAME} characters and no spaces")
    return key


def _key(name: str) -> str:
    return values.text(name.strip().lower(), _MAX_NAME)


def _account(row: Row[*tuple[Any, ...]]) -> Account:
    return Account(
        row.name, Role(row.role), row.must_change, row.disabled, values.from_micros(row.created_at)
    )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
