"""DKIM and ARC through the handler: what each setting does to mail, what is recorded, and whose word delivers it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from appliance.filter.handler import Handler
from appliance.lab.nameserver import NameServer
from appliance.mail.authentication import ArcWord, DkimWord, SpfWord
from appliance.milter.replies import Accept, Discard, Reply
from appliance.policy import LocalPolicy, OverrideType
from appliance.quarantine import Quarantine
from appliance.resolver import Resolver
from appliance.settings import Settings, from_document
from appliance.store import events
from appliance.store.engine import Store
from appliance.store.events import Event
from appliance.store.recorder import Recorder
from tests.checks.mails import PLAIN, SigningKey, new_rsa_key, received, signed
from tests.checks.sealer import Sealer, with_set


class Policies:
    """Each revision is one policy object, as in a worker."""

    def __init__(self, settings: Settings) -> None:
        self.policy = LocalPolicy(settings, 1)

    def current(self) -> LocalPolicy:
        return self.policy

    def save(self, settings: Settings) -> None:
        self.policy = LocalPolicy(settings, self.policy.revision + 1)


def settings_with(**groups: Any) -> Settings:
    return from_document({"verification": {"enabled": True}, **groups})


def judge(
    octets: bytes, settings: Settings, store: Store, nameserver: NameServer, folder: Path
) -> tuple[Reply, list[Event]]:
    """What becomes of a message from 192.0.2.1, and what is recorded of it."""

    async def run() -> Reply:
        recorder, resolver = Recorder(store), Resolver(nameserver.address)
        handler = Handler(
            node="gateway.example",
            authserv_id=None,
            policies=Policies(settings),
            resolver=resolver,
            recorder=recorder,
            quarantine=Quarantine(folder),
        )
        try:
            return await handler.handle(received(octets))
        finally:
            await recorder.close()
            await resolver.close()

    reply = asyncio.run(run())
    with store.read() as connection:
        return reply, events.recent(connection, limit=9)


def results(reply: Reply) -> str:
    assert isinstance(reply, Accept)
    return reply.insert[0].value.decode().replace("\r\n", "")


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return new_rsa_key()


@pytest.fixture(scope="module")
def short_key() -> SigningKey:
    return new_rsa_key(1024)


@pytest.fixture
def nameserver(nameserver: NameServer, key: SigningKey, short_key: SigningKey) -> NameServer:
    zone = nameserver.zone
    zone.txt("_dmarc.example.org", "v=DMARC1; p=quarantine")
    zone.txt("s1._domainkey.example.org", key.record)
    zone.txt("short._domainkey.example.org", short_key.record)
    for sealer in ("list.example", "relay.example", "evil.example"):
        zone.txt(f"arc._domainkey.{sealer}", key.record)
    return nameserver


@pytest.fixture
def store(sqlite_store: Store) -> Store:
    return sqlite_store


def test_the_settings_of_signatures_decide_whether_they_count(
    key: SigningKey, short_key: SigningKey, store: Store, nameserver: NameServer, tmp_path: Path
) -> None:
    """DKIM-03, DKIM-09, DKIM-11, T4, T12: each setting by itself turns a quarantined message into a delivered one, or back."""
    longer = signed(key, length=True) + b"<added>\r\n"
    duplicate = b"Subject: other\r\n" + signed(key)
    short = signed(short_key, selector="short")
    strict = {"min_rsa_bits": 2048}
    cases: tuple[tuple[bytes, dict[str, Any], type[Reply]], ...] = (
        (longer, {}, Discard),
        (longer, {"partial_body_counts": True}, Accept),
        (longer, {"unsigned_duplicates_count": True}, Discard),
        (duplicate, {}, Discard),
        (duplicate, {"unsigned_duplicates_count": True}, Accept),
        (duplicate, {"partial_body_counts": True}, Discard),
        (short, {}, Accept),
        (short, strict, Discard),
        (signed(key), strict, Accept),
    )

    for number, (octets, signatures, expected) in enumerate(cases):
        reply, _ = judge(octets, settings_with(signatures=signatures), store, nameserver, tmp_path)

        assert isinstance(reply, expected), f"case {number}"


def test_a_saved_revision_holds_from_the_next_message_on(
    key: SigningKey, store: Store, nameserver: NameServer, tmp_path: Path
) -> None:
    octets = signed(key, length=True) + b"<added>\r\n"
    policies = Policies(settings_with())

    async def run() -> list[Reply]:
        recorder, resolver = Recorder(store), Resolver(nameserver.address)
        handler = Handler(
            node="gateway.example",
            authserv_id=None,
            policies=policies,
            resolver=resolver,
            recorder=recorder,
            quarantine=Quarantine(tmp_path),
        )
        before = await handler.handle(received(octets))
        policies.save(settings_with(signatures={"partial_body_counts": True}))
        after = await handler.handle(received(octets))
        await recorder.close()
        await resolver.close()
        return [before, after]

    before, after = asyncio.run(run())

    assert isinstance(before, Discard)
    assert isinstance(after, Accept)


def forwarded(
    key: SigningKey, *sealers: str, results_of_first: str = "dmarc=pass header.from=example.org"
) -> bytes:
    """A signed message that a list changed and sealed, and others sealed after it."""
    octets = signed(key).replace(b"Subject: ", b"Subject: [list] ")
    for number, domain in enumerate(sealers):
        asserted = results_of_first if number == 0 else "arc=pass; dmarc=fail header.from=example.org"
        octets = with_set(
            octets, Sealer(key, domain), results=f"{asserted}; arc=none smtp.remote-ip=192.0.2.77"
        )
    return octets


def test_arc_09_arc_10_mail_that_a_trusted_list_vouches_for_is_delivered(
    key: SigningKey, store: Store, nameserver: NameServer, tmp_path: Path
) -> None:
    settings = settings_with(network={"trusted_sealers": ["list.example", "relay.example"]})

    reply, [event] = judge(
        forwarded(key, "list.example", "relay.example"), settings, store, nameserver, tmp_path
    )

    assert "arc=pass" in results(reply)
    assert "dmarc=fail (p=quarantine dis=none)" in results(reply)
    assert (event.result, event.disposition) == ("fail", "none")
    [override] = event.overrides
    assert override.type is OverrideType.LOCAL_POLICY
    assert override.comment == (
        "arc=pass as[2].d=relay.example as[2].s=arc as[1].d=list.example as[1].s=arc remote-ip[1]=192.0.2.77"
    )


@pytest.mark.parametrize(
    ("sealers", "asserted", "network", "signatures"),
    [
        pytest.param(("list.example",), "dmarc=pass header.from=example.org", {}, {}, id="nobody is trusted"),
        pytest.param(
            ("list.example", "evil.example"),
            "dmarc=pass header.from=example.org",
            {"trusted_sealers": ["list.example"]},
            {},
            id="an untrusted sealer on top",
        ),
        pytest.param(
            ("evil.example",),
            "dmarc=pass header.from=example.org",
            {"trusted_sealers": ["list.example"]},
            {},
            id="an untrusted sealer",
        ),
        pytest.param(
            ("list.example",),
            "dmarc=pass header.from=other.example",
            {"trusted_sealers": ["list.example"]},
            {},
            id="another author domain",
        ),
        pytest.param(
            ("list.example",),
            "dmarc=fail header.from=example.org",
            {"trusted_sealers": ["list.example"]},
            {},
            id="it failed there too",
        ),
        pytest.param(
            ("list.example", "list.example"),
            "dmarc=pass header.from=example.org",
            {"trusted_sealers": ["list.example"]},
            {"max_arc_sets": 1},
            id="ARC-12 a chain longer than the setting allows",
        ),
    ],
)
def test_arc_09_without_trust_the_action_is_taken(
    key: SigningKey,
    store: Store,
    nameserver: NameServer,
    tmp_path: Path,
    sealers: tuple[str, ...],
    asserted: str,
    network: dict[str, Any],
    signatures: dict[str, Any],
) -> None:
    """T17."""
    octets = forwarded(key, *sealers, results_of_first=asserted)

    reply, _ = judge(
        octets, settings_with(network=network, signatures=signatures), store, nameserver, tmp_path
    )

    assert reply == Discard()


def test_arc_09_a_changed_chain_of_trusted_sealers_vouches_for_nothing(
    key: SigningKey, store: Store, nameserver: NameServer, tmp_path: Path
) -> None:
    """T17."""
    octets = forwarded(key, "list.example").replace(b"From: Ann", b"From: Eve")

    reply, [event] = judge(
        octets, settings_with(network={"trusted_sealers": ["list.example"]}), store, nameserver, tmp_path
    )

    assert reply == Discard()
    assert event.authentication is not None
    assert event.authentication.arc.result is ArcWord.FAIL


def test_dkim_19_ar_07_the_octets_are_verified_as_they_came_before_forged_results_go(
    key: SigningKey, store: Store, nameserver: NameServer, tmp_path: Path
) -> None:
    forged = b"Authentication-Results: gateway.example; dmarc=pass header.from=example.org\r\n"
    octets = signed(key, forged + PLAIN, names=("from", "authentication-results"))

    reply, _ = judge(octets, settings_with(), store, nameserver, tmp_path)

    assert "dkim=pass" in results(reply)
    assert isinstance(reply, Accept)
    assert reply.delete == (1,)


def test_aln_06_the_results_of_each_mechanism_are_kept_with_the_message(
    key: SigningKey, store: Store, nameserver: NameServer, tmp_path: Path
) -> None:
    nameserver.zone.txt("example.org", "v=spf1 -all")
    octets = signed(key, signed(key, domain="evil.example", selector="none"))

    _, [event] = judge(octets, settings_with(), store, nameserver, tmp_path)

    assert event.authentication is not None
    spf, dkim = event.authentication.spf, event.authentication.dkim
    assert (spf.result, spf.domain) == (SpfWord.FAIL, "example.org")
    assert [(s.result, s.domain, s.selector, s.reason) for s in dkim] == [
        (DkimWord.PASS, "example.org", "s1", ""),
        (DkimWord.PERMERROR, "evil.example", "none", "no key"),
    ]


@pytest.mark.parametrize(
    ("record", "valid", "word"),
    [
        pytest.param("v=DMARC1; p=none", True, "pass", id="one aligned pass"),
        pytest.param("v=DMARC1; p=none", False, "fail", id="a record and no aligned pass"),
        pytest.param("none", False, "none", id="no record"),
    ],
)
def test_aln_07_pass_fail_and_none(
    key: SigningKey, store: Store, nameserver: NameServer, tmp_path: Path, record: str, valid: bool, word: str
) -> None:
    nameserver.zone.txt("_dmarc.example.org", record)
    octets = signed(key, signed(key, domain="evil.example")) if valid else signed(key, domain="evil.example")

    reply, _ = judge(octets, settings_with(), store, nameserver, tmp_path)

    assert f"dmarc={word}" in results(reply)
