"""The records that publish our keys: what stands in the DNS, and keys that begin to sign once it is theirs."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from appliance.checks.keys import UnusableKey, usable_key
from appliance.checks.options import CheckOptions
from appliance.log import get_logger
from appliance.resolver import Question, RecordType, Resolver, Status
from appliance.store import keys as stored_keys
from appliance.store.engine import Store
from appliance.store.keys import KeyState, PublicKey

ACTOR = "reports service"
LOOK_UP_SECONDS = 20.0
TEND_EVERY_SECONDS = 600

_OPTIONS = CheckOptions()


@dataclass(frozen=True, slots=True)
class Publication:
    """What the DNS has in place of a key's record."""

    matches: bool
    """Whether it is one record, and gives receivers this very key."""
    found: str
    """In our words."""


def tend_keys(nameserver: str, store: Store) -> None:
    """Activate what is published, forget what nobody needs any more. A chore, for as many nodes as there are."""
    now = datetime.now(UTC)
    activate_published(store, nameserver, now)
    with store.begin() as connection:
        for key in stored_keys.remove_retired(connection, actor=ACTOR, now=now):
            get_logger().info("key", state="removed", name=key.record_name)


def activate_published(store: Store, nameserver: str, now: datetime) -> list[PublicKey]:
    """Begin to sign with every *next* key whose record is there; returns them as they were.

    *nameserver* is ``ADDRESS:PORT``; trouble with the DNS leaves a key as it is.
    """
    with store.read() as connection:
        waiting = [key for key in stored_keys.keys(connection) if key.state is KeyState.NEXT]
    if not waiting:
        return []
    found = asyncio.run(_look_up_all(waiting, nameserver))
    published = [key for key, record in zip(waiting, found, strict=True) if record.matches]
    activated = []
    for key in published:
        with store.begin() as connection:
            if stored_keys.activate(connection, key, actor=ACTOR, now=now):
                activated.append(key)
                get_logger().info("key", state="active", name=key.record_name)
    return activated


async def look_up(key: PublicKey, resolver: Resolver, deadline: float) -> Publication:
    """Compare the record of *key* with what is published; *deadline* is of ``time.monotonic``."""
    answer = await resolver.resolve(Question(key.record_name, RecordType.TXT), deadline)
    if answer.status is Status.TEMPORARY:
        return Publication(matches=False, found=f"the name server can't tell now ({answer.reason})")
    difference = _difference(key, answer.records)
    return Publication(matches=not difference, found=difference or "our key")


def _difference(key: PublicKey, records: Sequence[bytes]) -> str:
    """What of *records*, those at the place of *key*, is not as it should be."""
    if not records:
        return "no TXT record"
    if len(records) > 1:
        # Which of them a receiver takes is its own choice (RFC 6376 section 3.6.2.2).
        return f"{len(records)} TXT records where one must be"
    try:
        theirs = usable_key(records[0], key.algorithm, _OPTIONS)
    except UnusableKey as unusable:
        return f"a record that gives no usable key: {unusable}"
    if theirs.public_key != usable_key(key.record.encode("ascii"), key.algorithm, _OPTIONS).public_key:
        return "another key"
    return "our key, but with t=y: receivers don't count its signatures" if theirs.testing else ""


async def _look_up_all(keys: Sequence[PublicKey], nameserver: str) -> list[Publication]:
    resolver = Resolver(nameserver)
    deadline = time.monotonic() + LOOK_UP_SECONDS
    try:
        return await asyncio.gather(*(look_up(key, resolver, deadline) for key in keys))
    finally:
        await resolver.close()
