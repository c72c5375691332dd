"""Passwords: argon2id hashes, one-time passwords, what is strong enough."""

import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH = 12  # no composition rules: length is what helps (NIST SP 800-63B)
MAX_LENGTH = 1024  # bounds the work of a guess

# OWASP's first choice. Memory is what an appliance of 1 GiB is short of: a few sign-ins at once must not hurt mail.
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # no l, o, 0, 1: it is read from a console and typed
_GROUPS, _GROUP_LENGTH = 4, 5  # 100 bits


class WeakPassword(ValueError):
    """The message says what is wrong with it."""


def one_time_password() -> str:
    """A random password in groups that can be read aloud."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS))
    return "-".join(groups)


def hash_password(password: str) -> str:
    """Takes some 30 ms and 19 MiB on purpose. Raises ``WeakPassword``."""
    if len(password) < MIN_LENGTH:
        raise WeakPassword(f"The password is too short: use at least {MIN_LENGTH} characters.")
    if len(password) > MAX_LENGTH:
        raise WeakPassword(f"The password is too long: use at most {MAX_LENGTH} characters.")
    return HASHER.hash(_octets(password))


def matches(password_hash: str, password: str) -> bool:
    """Takes as long for a *password_hash* of ``""`` (no account, no password) as for any other."""
    try:
        HASHER.verify(password_hash or nobodys_hash(), _octets(password[:MAX_LENGTH]))
    except (VerificationError, InvalidHashError):
        return False
    return bool(password_hash)


def _octets(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


@cache
def nobodys_hash() -> str:
    """The hash that is checked where there is none to check."""
    return HASHER.hash(secrets.token_bytes(16))
