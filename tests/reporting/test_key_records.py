"""A key signs once the DNS has its record: exactly this one, and no other."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from appliance.lab.nameserver import Behaviour, NameServer
from appliance.store import audit, keys
from appliance.store.engine import Store
from appliance.store.keys import Algorithm, KeyState, PublicKey
from reporting.key_records import ACTOR, activate_published, tend_keys

NOW = datetime(2026, 3, 30, 12, 0, tzinfo=UTC)
DOMAIN = "gateway.test"


def made(store: Store, algorithm: Algorithm = Algorithm.RSA, now: datetime = NOW) -> PublicKey:
    return keys.generate(store, DOMAIN, algorithm, actor="ann", now=now)


def states(store: Store) -> dict[str, KeyState]:
    with store.read() as connection:
        return {key.selector: key.state for key in keys.keys(connection)}


def publish(nameserver: NameServer, *made_keys: PublicKey) -> None:
    for key in made_keys:
        nameserver.zone.txt(key.record_name, key.record)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_key_becomes_active_when_its_record_is_there(
    store: Store, nameserver: NameServer, algorithm: Algorithm
) -> None:
    key = made(store, algorithm)
    before = activate_published(store, nameserver.address, NOW)
    publish(nameserver, key)

    activated = activate_published(store, nameserver.address, NOW)

    assert (before, activated, states(store)) == ([], [key], {key.selector: KeyState.ACTIVE})
    with store.read() as connection:
        [entry] = audit.recent(connection, 1)
    assert (entry.actor, entry.action, entry.subject) == (ACTOR, "key activated", key.record_name)


Publish = Callable[[NameServer, PublicKey], None]


def beside_another(nameserver: NameServer, key: PublicKey) -> None:
    nameserver.zone.txt(key.record_name, key.record, "v=DKIM1; k=rsa; p=")


def text(change: Callable[[str], str]) -> Publish:
    return lambda nameserver, key: nameserver.zone.txt(key.record_name, change(key.record))


@pytest.mark.parametrize(
    "publish_wrongly",
    [
        pytest.param(
            text(lambda _: f"v=DKIM1; k=rsa; p={keys.make_pair(Algorithm.RSA).public_key}"), id="another key"
        ),
        pytest.param(text(lambda record: record[:200]), id="cut off"),
        pytest.param(text(lambda record: record.partition("p=")[0] + "p="), id="revoked"),
        pytest.param(text(lambda record: record.replace("k=rsa", "k=ed25519")), id="another kind"),
        pytest.param(text(lambda record: record.replace("; p=", "; t=y; p=")), id="in testing"),
        pytest.param(text(lambda record: record.replace("; p=", "; s=web; p=")), id="not for mail"),
        pytest.param(beside_another, id="two records"),
        pytest.param(
            lambda nameserver, key: nameserver.zone.misbehave(key.record_name, Behaviour.SERVFAIL),
            id="no answer",
        ),
    ],
)
def test_a_key_waits_while_receivers_would_not_find_it(
    sqlite_store: Store, nameserver: NameServer, publish_wrongly: Publish
) -> None:
    key = made(sqlite_store)
    publish_wrongly(nameserver, key)

    assert activate_published(sqlite_store, nameserver.address, NOW) == []
    assert states(sqlite_store) == {key.selector: KeyState.NEXT}


def test_a_record_written_in_another_way_is_the_same_key(sqlite_store: Store, nameserver: NameServer) -> None:
    key = made(sqlite_store)
    nameserver.zone.txt(key.record_name, f"p = {key.public_key[:100]} {key.public_key[100:]} ;")

    assert activate_published(sqlite_store, nameserver.address, NOW) == [key]


def test_after_a_rotation_the_published_kind_takes_over_and_the_other_waits(
    store: Store, nameserver: NameServer
) -> None:
    first = [made(store, algorithm) for algorithm in Algorithm]
    publish(nameserver, *first)
    activate_published(store, nameserver.address, NOW)
    following = keys.rotate(store, DOMAIN, actor="ann", now=NOW + timedelta(days=1))
    publish(nameserver, following[0])

    activate_published(store, nameserver.address, NOW + timedelta(days=2))

    assert states(store) == {
        "20260330-rsa": KeyState.RETIRED,
        "20260331-rsa": KeyState.ACTIVE,
        "20260330-ed25519": KeyState.ACTIVE,
        "20260331-ed25519": KeyState.NEXT,
    }


def test_the_chore_activates_and_forgets(store: Store, nameserver: NameServer) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=8)
    key = made(store, now=long_ago)
    publish(nameserver, key)
    activate_published(store, nameserver.address, long_ago)
    [following] = keys.rotate(store, DOMAIN, actor="ann", now=long_ago)
    with store.begin() as connection:
        keys.activate(connection, following, actor="ann", now=long_ago)
    [waiting] = keys.rotate(store, DOMAIN, actor="ann", now=long_ago)
    publish(nameserver, waiting)

    tend_keys(nameserver.address, store)

    assert states(store) == {following.selector: KeyState.RETIRED, waiting.selector: KeyState.ACTIVE}
