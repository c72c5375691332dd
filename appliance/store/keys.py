"""The keys that reports are signed with: all nodes sign with the same ones (RFC 6376, RFC 8463).

A key is made as *next*, signs once its public half is published (*active*), and is *retired* when another takes over.
Private halves leave this module by ``signing_keys`` alone.
"""

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from appliance.mail.domain import MAX_NAME_OCTETS
from appliance.store import audit
from appliance.store.engine import Store
from appliance.store.schema import signing_key
from appliance.store.values import from_micros, to_micros

RSA_BITS = 2048
RECORD_STAYS = timedelta(days=7)
"""How long a retired key's record must stay published: mail that it signed may wait in queues for five days."""
MAX_STRING_OCTETS = 255  # of one character-string of a TXT record (RFC 1035 section 3.3)

_MAX_SELECTOR = 63
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.ASCII)
_SHOWN = tuple(column for column in signing_key.columns if column.name != "private_key")


class KeyRefused(ValueError):
    """No key was made; the message says why and what to do."""


class Algorithm(StrEnum):
    """As ``k=`` of the key's record names it. In the order in which signatures stand: every receiver knows RSA."""

    RSA = "rsa"
    ED25519 = "ed25519"


class KeyState(StrEnum):
    NEXT = "next"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """All of a key that may be seen."""

    id: int
    domain: str
    selector: str
    algorithm: Algorithm
    state: KeyState
    public_key: str
    """base64, as ``p=`` of the record has it."""
    created_at: datetime
    changed_at: datetime
    """When it came into its state."""

    @property
    def record_name(self) -> str:
        """Where receivers look for it; no closing dot."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def record(self) -> str:
        """The text of its TXT record."""
        return f"v=DKIM1; k={self.algorithm}; p={self.public_key}"

    @property
    def record_strings(self) -> tuple[str, ...]:
        """The record in the pieces that one character-string each can hold."""
        text = self.record
        return tuple(text[at : at + MAX_STRING_OCTETS] for at in range(0, len(text), MAX_STRING_OCTETS))

    @property
    def record_stays_until(self) -> datetime | None:
        """When the record may go, and the key goes; ``None`` while the key is in use."""
        return self.changed_at + RECORD_STAYS if self.state is KeyState.RETIRED else None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What it takes to sign."""

    domain: str
    selector: str
    algorithm: Algorithm
    private_key: str = field(repr=False)
    """PKCS #8, PEM."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A new key, not yet kept. Making one takes longer than a transaction should."""

    algorithm: Algorithm
    public_key: str
    private_key: str = field(repr=False)


def make_pair(algorithm: Algorithm) -> KeyPair:
    if algorithm is Algorithm.RSA:
        rsa = generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        public = rsa.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        private = rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    else:
        edwards = Ed25519PrivateKey.generate()
        public = edwards.public_key().public_bytes_raw()  # RFC 8463 section 4: no ASN.1 around it
        private = edwards.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return KeyPair(algorithm, base64.b64encode(public).decode("ascii"), private.decode("ascii"))


def keys(connection: Connection, domain: str | None = None) -> list[PublicKey]:
    """Every key, or those of *domain*: by domain and kind, the oldest first."""
    wanted = select(*_SHOWN).order_by(signing_key.c.domain, signing_key.c.id)
    if domain is not None:
        wanted = wanted.where(signing_key.c.domain == domain)
    found = [_public(row) for row in connection.execute(wanted)]
    return sorted(found, key=lambda key: (key.domain, tuple(Algorithm).index(key.algorithm)))


def signing_keys(connection: Connection, domain: str) -> tuple[SigningKey, ...]:
    """The active keys of *domain*, RSA first; mail from it gets a signature of each."""
    found = connection.execute(
        select(signing_key)
        .where(signing_key.c.domain == domain, signing_key.c.state == KeyState.ACTIVE.value)
        .order_by(signing_key.c.id)
    )
    ours = [SigningKey(row.domain, row.selector, Algorithm(row.algorithm), row.private_key) for row in found]
    return tuple(sorted(ours, key=lambda key: tuple(Algorithm).index(key.algorithm)))


def generate(
    store: Store, domain: str, algorithm: Algorithm, *, actor: str, now: datetime, selector: str = ""
) -> PublicKey:
    """Make the first key of its kind for *domain*; the *selector* is made of the date unless given.

    Raises ``KeyRefused`` where there is such a key already, or the selector can't be used.
    """
    if selector:
        _check_selector(selector, domain)
    pair = make_pair(algorithm)
    with store.begin() as connection:
        for key in keys(connection, domain):
            if key.algorithm is algorithm and key.state is not KeyState.RETIRED:
                raise KeyRefused(
                    f"{domain} has the {algorithm} key {key.selector} already, which is {key.state}; "
                    "the key that follows it is made by dmarcgate key rotate"
                )
        return _add(connection, domain, pair, selector, actor=actor, now=now)


def rotate(store: Store, domain: str, *, actor: str, now: datetime) -> list[PublicKey]:
    """See that every active key of *domain* has a next one; returns the next ones, those that waited included.

    Raises ``KeyRefused`` where there is no key to follow.
    """
    with store.read() as connection:
        pairs = [make_pair(algorithm) for algorithm in _without_next(keys(connection, domain))]
    with store.begin() as connection:
        missing = set(_without_next(keys(connection, domain)))
        for pair in pairs:
            if pair.algorithm in missing:
                _add(connection, domain, pair, "", actor=actor, now=now)
        following = [key for key in keys(connection, domain) if key.state is KeyState.NEXT]
    if not following:
        raise KeyRefused(f"{domain} has no key; make the first one by dmarcgate key generate")
    return following


def activate(connection: Connection, key: PublicKey, *, actor: str, now: datetime) -> bool:
    """Sign with *key* from now on, and no longer with the one before it; false when it isn't *next* any more."""
    if not _move(connection, key, KeyState.NEXT, KeyState.ACTIVE, now):
        return False
    audit.write(connection, actor, "key activated", key.record_name, now=now)
    for other in keys(connection, key.domain):
        is_before = other.algorithm is key.algorithm and other.id != key.id
        if is_before and _move(connection, other, KeyState.ACTIVE, KeyState.RETIRED, now):
            stays = f"its record must stay published until {now + RECORD_STAYS:%Y-%m-%d}"
            audit.write(connection, actor, "key retired", other.record_name, stays, now=now)
    return True


def remove_retired(connection: Connection, *, actor: str, now: datetime) -> list[PublicKey]:
    """Forget the retired keys that no mail on its way can need any more."""
    gone = [
        key
        for key in keys(connection)
        if key.record_stays_until is not None and key.record_stays_until <= now
    ]
    for key in gone:
        connection.execute(delete(signing_key).where(signing_key.c.id == key.id))
        audit.write(connection, actor, "key removed", key.record_name, now=now)
    return gone


def _without_next(known: Sequence[PublicKey]) -> Iterator[Algorithm]:
    for algorithm in Algorithm:
        states = {key.state for key in known if key.algorithm is algorithm}
        if KeyState.ACTIVE in states and KeyState.NEXT not in states:
            yield algorithm


def _add(
    connection: Connection, domain: str, pair: KeyPair, selector: str, *, actor: str, now: datetime
) -> PublicKey:
    taken = {key.selector for key in keys(connection, domain)}
    chosen = selector or _free_selector(pair.algorithm, now, taken)
    refused = KeyRefused(f"{chosen} is the selector of another key of {domain}; choose another")
    if chosen in taken:
        raise refused
    try:
        with connection.begin_nested():
            number: int = connection.execute(
                insert(signing_key)
                .values(
                    domain=domain,
                    selector=chosen,
                    algorithm=pair.algorithm.value,
                    state=KeyState.NEXT.value,
                    private_key=pair.private_key,
                    public_key=pair.public_key,
                    created_at=to_micros(now),
                    changed_at=to_micros(now),
                )
                .returning(signing_key.c.id)
            ).scalar_one()
    except IntegrityError:  # another took it since we looked
        raise refused from None
    key = _public(connection.execute(select(*_SHOWN).where(signing_key.c.id == number)).one())
    audit.write(connection, actor, "key made", key.record_name, now=now)
    return key


def _move(connection: Connection, key: PublicKey, before: KeyState, after: KeyState, now: datetime) -> bool:
    """Whether it was *key*, seen in state *before*, that is now in state *after*: of two nodes one gets true."""
    moved = connection.execute(
        update(signing_key)
        .where(signing_key.c.id == key.id, signing_key.c.state == before.value)
        .values(state=after.value, changed_at=to_micros(now))
    )
    return bool(moved.rowcount)


def _check_selector(selector: str, domain: str) -> None:
    if len(selector) > _MAX_SELECTOR or not all(map(_LABEL.fullmatch, selector.split("."))):
        raise KeyRefused(
            f"a selector has at most {_MAX_SELECTOR} small letters, digits and hyphens, such as dmarc-2026"
        )
    if len(f"{selector}._domainkey.{domain}") > MAX_NAME_OCTETS:
        raise KeyRefused("selector and domain together are too long for a name in the DNS")


def _free_selector(algorithm: Algorithm, now: datetime, taken: set[str]) -> str:
    wanted = f"{now:%Y%m%d}-{algorithm}"
    candidates = (wanted, *(f"{wanted}-{number}" for number in range(2, len(taken) + 3)))
    return next(candidate for candidate in candidates if candidate not in taken)


def _public(row: Row[*tuple[Any, ...]]) -> PublicKey:
    return PublicKey(
        row.id,
        row.domain,
        row.selector,
        Algorithm(row.algorithm),
        KeyState(row.state),
        row.public_key,
        from_micros(row.created_at),
        from_micros(row.changed_at),
    )
