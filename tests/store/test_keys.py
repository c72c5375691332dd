"""Signing keys: made, published, in use, retired, forgotten; and never seen."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from sqlalchemy import select

from appliance.checks.keys import usable_key
from appliance.checks.options import CheckOptions
from appliance.store import audit, keys
from appliance.store.engine import Store
from appliance.store.keys import Algorithm, KeyRefused, KeyState, PublicKey, SigningKey
from appliance.store.schema import signing_key

NOW = datetime(2026, 3, 30, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
DOMAIN = "gateway.test"


def made(
    store: Store, algorithm: Algorithm = Algorithm.RSA, domain: str = DOMAIN, selector: str = ""
) -> PublicKey:
    return keys.generate(store, domain, algorithm, actor="ann", now=NOW, selector=selector)


def activated(store: Store, key: PublicKey, now: datetime = NOW) -> bool:
    with store.begin() as connection:
        return keys.activate(connection, key, actor="ann", now=now)


def states(store: Store) -> dict[str, KeyState]:
    with store.read() as connection:
        return {key.selector: key.state for key in keys.keys(connection)}


def signers(store: Store, domain: str = DOMAIN) -> tuple[SigningKey, ...]:
    with store.read() as connection:
        return keys.signing_keys(connection, domain)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_the_record_of_a_key_gives_receivers_its_public_half(store: Store, algorithm: Algorithm) -> None:
    key = made(store, algorithm)
    activated(store, key)

    [signer] = signers(store)
    private = load_pem_private_key(signer.private_key.encode(), None)
    published = usable_key(key.record.encode(), algorithm, CheckOptions())
    assert isinstance(private, RSAPrivateKey | Ed25519PrivateKey)
    assert private.public_key() == published.public_key
    assert key.record_name == f"20260330-{algorithm}._domainkey.gateway.test"


def test_an_rsa_key_has_2048_bits_and_goes_into_strings_of_255_octets(store: Store) -> None:
    key = made(store)
    activated(store, key)

    private = load_pem_private_key(signers(store)[0].private_key.encode(), None)
    assert isinstance(private, RSAPrivateKey)
    assert private.key_size == 2048
    assert [len(string) for string in key.record_strings] == [255, len(key.record) - 255]
    assert "".join(key.record_strings) == key.record


def test_a_new_key_signs_nothing_before_it_is_active(store: Store) -> None:
    key = made(store)

    before, moved, after = signers(store), activated(store, key), signers(store)

    assert (before, moved, [signer.selector for signer in after]) == ((), True, ["20260330-rsa"])
    assert activated(store, key) is False


def test_mail_is_signed_by_rsa_first_and_by_keys_of_its_own_domain_only(store: Store) -> None:
    for algorithm, domain in (
        (Algorithm.ED25519, DOMAIN),
        (Algorithm.RSA, DOMAIN),
        (Algorithm.RSA, "other.test"),
    ):
        activated(store, made(store, algorithm, domain))

    assert [signer.algorithm for signer in signers(store)] == [Algorithm.RSA, Algorithm.ED25519]


def test_a_second_first_key_of_a_kind_is_refused_and_rotation_named(store: Store) -> None:
    made(store)

    with pytest.raises(KeyRefused, match=r"the rsa key 20260330-rsa already, which is next; .* key rotate"):
        made(store, selector="another")


def test_rotation_makes_a_next_key_of_each_kind_in_use_once(store: Store) -> None:
    activated(store, made(store))
    activated(store, made(store, Algorithm.ED25519))

    first = keys.rotate(store, DOMAIN, actor="ann", now=NOW)
    again = keys.rotate(store, DOMAIN, actor="ann", now=NOW + DAY)

    assert [key.selector for key in first] == ["20260330-rsa-2", "20260330-ed25519-2"]
    assert again == first
    assert len(signers(store)) == 2


def test_rotation_without_a_key_names_the_remedy(store: Store) -> None:
    with pytest.raises(KeyRefused, match=r"gateway\.test has no key; .*dmarcgate key generate"):
        keys.rotate(store, DOMAIN, actor="ann", now=NOW)


def test_a_key_that_takes_over_retires_the_one_of_its_kind_before_it(store: Store) -> None:
    for algorithm in Algorithm:
        activated(store, made(store, algorithm))
    following = keys.rotate(store, DOMAIN, actor="ann", now=NOW + DAY)[0]

    activated(store, following, NOW + 2 * DAY)

    assert states(store) == {
        "20260330-rsa": KeyState.RETIRED,
        "20260331-rsa": KeyState.ACTIVE,
        "20260330-ed25519": KeyState.ACTIVE,
        "20260331-ed25519": KeyState.NEXT,
    }
    assert [signer.selector for signer in signers(store)] == ["20260331-rsa", "20260330-ed25519"]


def test_a_retired_key_goes_after_seven_days_and_says_until_when_its_record_stays(store: Store) -> None:
    activated(store, made(store))
    activated(store, keys.rotate(store, DOMAIN, actor="ann", now=NOW)[0])
    with store.read() as connection:
        retired = keys.keys(connection)[0]

    with store.begin() as connection:
        early = keys.remove_retired(connection, actor="job", now=NOW + 7 * DAY - timedelta(seconds=1))
        late = keys.remove_retired(connection, actor="job", now=NOW + 7 * DAY)

    assert (retired.record_stays_until, early, late) == (NOW + 7 * DAY, [], [retired])
    assert states(store) == {"20260330-rsa-2": KeyState.ACTIVE}


@pytest.mark.parametrize(
    "selector",
    [
        pytest.param("a b", id="white space"),
        pytest.param("-a", id="hyphen first"),
        pytest.param("a..b", id="empty label"),
        pytest.param("ü", id="not ASCII"),
        pytest.param("a;b", id="end of a tag"),
        pytest.param("x" * 64, id="too long"),
    ],
)
def test_a_selector_that_cannot_stand_in_the_dns_is_refused(store: Store, selector: str) -> None:
    with pytest.raises(KeyRefused, match="small letters, digits and hyphens"):
        made(store, selector=selector)
    assert states(store) == {}


def test_a_taken_selector_is_refused(store: Store) -> None:
    made(store, selector="mine")

    with pytest.raises(KeyRefused, match="mine is the selector of another key"):
        made(store, Algorithm.ED25519, selector="mine")


def test_each_step_stands_in_the_audit_trail_and_no_private_half_anywhere(store: Store) -> None:
    activated(store, made(store))
    activated(store, keys.rotate(store, DOMAIN, actor="bob", now=NOW)[0])
    with store.begin() as connection:
        keys.remove_retired(connection, actor="job", now=NOW + 7 * DAY)

    with store.read() as connection:
        trail = audit.recent(connection)
        private = list(connection.scalars(select(signing_key.c.private_key)))
        shown = repr((trail, keys.keys(connection), keys.signing_keys(connection, DOMAIN)))
    assert [(entry.actor, entry.action) for entry in reversed(trail)] == [
        ("ann", "key made"),
        ("ann", "key activated"),
        ("bob", "key made"),
        ("ann", "key activated"),
        ("ann", "key retired"),
        ("job", "key removed"),
    ]
    assert trail[1].detail == "its record must stay published until 2026-04-06"
    secret = private[0].splitlines()[1]
    assert secret not in shown
    assert "PRIVATE" not in shown
    assert "private" not in repr(keys.make_pair(Algorithm.ED25519)).lower()
