"""Whole messages against a real name server."""

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

import pytest

from appliance.checks.answers import Missing, from_json, to_json
from appliance.checks.authenticate import Assessment, assess, authenticate
from appliance.checks.options import CheckOptions
from appliance.dmarc.evaluation import DmarcWord
from appliance.dmarc.record import Policy
from appliance.lab.nameserver import Behaviour, NameServer, Zone
from appliance.mail.authentication import ArcWord, DkimWord, SpfWord
from appliance.mail.message import Message
from appliance.resolver import Question, RecordType, Resolver
from tests.checks.mails import NOW, PLAIN, SigningKey, received, sealed, signed

KEY = "s1._domainkey.example.org"


@pytest.fixture
def nameserver(nameserver: NameServer, rsa_key: SigningKey) -> NameServer:
    """Has what *publish* publishes."""
    publish(nameserver.zone, rsa_key)
    return nameserver


def publish(zone: Zone, key: SigningKey) -> None:
    """example.org sends from 192.0.2.1, signs with s1, and wants forgeries rejected."""
    zone.txt("example.org", "v=spf1 ip4:192.0.2.1 -all")
    zone.txt("_dmarc.example.org", "v=DMARC1; p=reject")
    zone.txt(KEY, key.record)
    zone.txt("arc._domainkey.list.example", key.record)


def judge(
    nameserver: NameServer,
    message: Message,
    *,
    client: str = "192.0.2.1",
    authors: Sequence[str] = ("example.org",),
    **options: Any,
) -> Assessment:
    async def run() -> Assessment:
        resolver = Resolver(nameserver.address, query_timeout_seconds=0.3, attempts=1)
        assessment = await authenticate(
            message,
            client_ip=IPv4Address(client),
            helo="mx.example.org",
            author_domains=authors,
            resolver=resolver,
            now=NOW,
            options=CheckOptions(**options),
        )
        await resolver.close()
        return assessment

    return asyncio.run(run())


def words(assessment: Assessment) -> tuple[SpfWord, list[DkimWord], ArcWord, list[DmarcWord]]:
    found = assessment.authentication
    return (
        found.spf.result,
        [signature.result for signature in found.dkim],
        found.arc.result,
        [evaluation.result for evaluation in assessment.evaluations],
    )


@pytest.mark.parametrize("good_spf", [True, False], ids=["SPF pass", "SPF fail"])
@pytest.mark.parametrize("good_dkim", [True, False], ids=["DKIM pass", "DKIM fail"])
def test_either_aligned_mechanism_is_enough(
    nameserver: NameServer, rsa_key: SigningKey, good_spf: bool, good_dkim: bool
) -> None:
    """S8, S1: the four-way truth table."""
    octets = signed(rsa_key) + (b"" if good_dkim else b"changed")

    found = judge(nameserver, received(octets), client="192.0.2.1" if good_spf else "198.51.100.1")

    assert words(found) == (
        SpfWord.PASS if good_spf else SpfWord.FAIL,
        [DkimWord.PASS if good_dkim else DkimWord.FAIL],
        ArcWord.NONE,
        [DmarcWord.PASS if good_spf or good_dkim else DmarcWord.FAIL],
    )
    assert found.exceeded == ""


def test_a_spoof_through_the_senders_own_domain_fails(nameserver: NameServer, rsa_key: SigningKey) -> None:
    nameserver.zone.txt("evil.example", "v=spf1 +all")
    nameserver.zone.txt("s1._domainkey.evil.example", rsa_key.record)
    message = received(signed(rsa_key, domain="evil.example"), mail_from="ann@evil.example")

    found = judge(nameserver, message)

    assert words(found)[:2] == (SpfWord.PASS, [DkimWord.PASS])
    assert found.evaluations[0].result is DmarcWord.FAIL
    assert found.evaluations[0].policy is Policy.REJECT


def test_an_arc_chain_is_validated(nameserver: NameServer, rsa_key: SigningKey) -> None:
    found = judge(nameserver, received(sealed(rsa_key, PLAIN, chain="none")))

    assert found.authentication.arc.result is ArcWord.PASS


@pytest.mark.parametrize("behaviour", [Behaviour.SERVFAIL, Behaviour.SILENCE, Behaviour.GARBAGE])
@pytest.mark.parametrize("name", ["example.org", KEY, "_dmarc.example.org"])
def test_trouble_with_the_dns_is_never_a_failure(
    nameserver: NameServer, rsa_key: SigningKey, name: str, behaviour: Behaviour
) -> None:
    """S22, T20, F10, DISC-42: nothing passes, and the one that could not be checked might have."""
    nameserver.zone.txt(KEY, "v=DKIM1; p=")
    nameserver.zone.misbehave(name, behaviour)

    found = judge(nameserver, received(signed(rsa_key)), client="198.51.100.1")

    assert found.evaluations[0].result is DmarcWord.TEMPERROR


def test_trouble_beside_an_aligned_pass_does_not_matter(nameserver: NameServer, rsa_key: SigningKey) -> None:
    """DISC-41."""
    nameserver.zone.misbehave(KEY, Behaviour.SERVFAIL)

    found = judge(nameserver, received(signed(rsa_key)))

    assert words(found)[1] == [DkimWord.TEMPERROR]
    assert found.evaluations[0].result is DmarcWord.PASS


def test_the_senders_broken_dns_does_not_hide_a_spoof(nameserver: NameServer, rsa_key: SigningKey) -> None:
    """DISC-42: what can't align does not count, however temporary its trouble."""
    for name in ("evil.example", "s1._domainkey.evil.example", "_dmarc.evil.example"):
        nameserver.zone.misbehave(name, Behaviour.SERVFAIL)
    message = received(signed(rsa_key, domain="evil.example"), mail_from="ann@evil.example")

    found = judge(nameserver, message)

    assert words(found) == (SpfWord.TEMPERROR, [DkimWord.TEMPERROR], ArcWord.NONE, [DmarcWord.FAIL])


def test_no_name_is_asked_for_twice_within_a_message(rsa_key: SigningKey) -> None:
    """S3, even with answers that may not be cached."""
    zone = Zone(ttl_seconds=0)
    publish(zone, rsa_key)
    octets = signed(rsa_key, signed(rsa_key))

    with NameServer(zone) as nameserver:
        judge(nameserver, received(octets), authors=("example.org", "mail.example.org"))

    assert len(set(nameserver.queries)) == len(nameserver.queries)
    assert nameserver.count("example.org", "TXT") == 1


def test_likely_names_are_asked_for_in_one_round(nameserver: NameServer, rsa_key: SigningKey) -> None:
    nameserver.hold()

    async def run() -> None:
        resolver = Resolver(nameserver.address)
        task = asyncio.create_task(
            authenticate(
                received(signed(rsa_key)),
                client_ip=IPv4Address("192.0.2.1"),
                helo="mx.example.org",
                author_domains=("example.org",),
                resolver=resolver,
                now=NOW,
            )
        )
        await asyncio.sleep(0.05)
        in_flight = resolver.counters.queries
        nameserver.release()
        await task
        assert in_flight == resolver.counters.queries == 4

    asyncio.run(run())


def test_a_message_whose_answers_are_cached_is_judged_without_a_task_switch(
    nameserver: NameServer, rsa_key: SigningKey
) -> None:
    async def run() -> int:
        resolver = Resolver(nameserver.address)
        arguments: dict[str, Any] = {
            "client_ip": IPv4Address("192.0.2.1"),
            "helo": "mx.example.org",
            "author_domains": ("example.org",),
            "resolver": resolver,
            "now": NOW,
        }
        message = received(sealed(rsa_key, signed(rsa_key), chain="none"))
        await authenticate(message, **arguments)
        judging = authenticate(message, **arguments)
        with pytest.raises(StopIteration) as finished:
            judging.send(None)  # a coroutine that waits for anything would yield instead
        assert finished.value.value.evaluations[0].result is DmarcWord.PASS
        return resolver.counters.queries

    assert asyncio.run(run()) == 5


def test_a_verdict_can_be_explained_from_its_recorded_answers(
    nameserver: NameServer, rsa_key: SigningKey
) -> None:
    nameserver.zone.misbehave("_dmarc.org", Behaviour.SERVFAIL)
    nameserver.zone.mx("example.org", "mx.example.org")
    nameserver.zone.txt("example.org", "v=spf1 mx include:none.example -all")
    message = received(sealed(rsa_key, signed(rsa_key), chain="none"))

    found = judge(nameserver, message, client="198.51.100.1")
    again = assess(
        message,
        client_ip=IPv4Address("198.51.100.1"),
        helo="mx.example.org",
        author_domains=("example.org",),
        answers=from_json(to_json(found.answers)),
        now=NOW,
    )

    assert again == found
    assert Question("mx.example.org", RecordType.A) in found.answers


def test_unread_answers_are_not_recorded(nameserver: NameServer) -> None:
    nameserver.zone.txt("_dmarc.mail.example.org", "v=DMARC1; p=none; aspf=s; psd=n")

    found = judge(
        nameserver, received(PLAIN, mail_from="ann@mail.example.org"), authors=("mail.example.org",)
    )

    assert nameserver.count("_dmarc.org", "TXT") == 1
    assert Question("_dmarc.org", RecordType.TXT) not in found.answers


def test_too_few_recorded_answers_are_missing() -> None:
    with pytest.raises(Missing):
        assess(
            received(PLAIN),
            client_ip=IPv4Address("192.0.2.1"),
            helo="",
            author_domains=("example.org",),
            answers={},
            now=NOW,
        )


def test_a_record_that_asks_for_too_much_is_temperror_and_says_so(nameserver: NameServer) -> None:
    """T15."""
    zone = nameserver.zone
    zone.txt("evil.example", "v=spf1 " + " ".join(f"mx:m{n}.example" for n in range(10)) + " -all")
    for n in range(10):
        zone.mx(f"m{n}.example", *(f"h{n}-{host}.example" for host in range(10)))
        for host in range(10):
            zone.a(f"h{n}-{host}.example", "203.0.113.9")

    found = judge(nameserver, received(PLAIN, mail_from="a@evil.example"))

    assert found.authentication.spf.result is SpfWord.TEMPERROR
    assert found.exceeded == "queries"
    assert found.evaluations[0].result is DmarcWord.FAIL
    assert nameserver.count() <= 40


def test_junk_signatures_do_not_use_up_what_spf_needs(nameserver: NameServer, rsa_key: SigningKey) -> None:
    """A forger must not be able to turn a failure into a temporary error."""
    terms = " ".join(f"a:h{n}.example" for n in range(10))
    nameserver.zone.txt("example.org", f"v=spf1 {terms} -all")
    for n in range(10):
        nameserver.zone.a(f"h{n}.example", "203.0.113.9")
    signature = signed(rsa_key).removesuffix(PLAIN)
    junk = [signature.replace(b"s=s1;", b"s=junk%d;" % n) for n in range(30)]
    octets = b"".join(junk) + PLAIN

    found = judge(nameserver, received(octets), client="198.51.100.1")

    assert found.authentication.spf.result is SpfWord.FAIL
    assert found.evaluations[0].result is DmarcWord.FAIL


def test_a_long_arc_chain_gets_what_is_left(nameserver: NameServer, rsa_key: SigningKey) -> None:
    """ARC-12."""
    octets = sealed(rsa_key, PLAIN, chain="none")
    for n in range(3):
        octets = sealed(rsa_key, octets, chain="pass", domain=f"list{n}.example")

    found = judge(nameserver, received(octets), max_questions=5)

    assert found.authentication.arc.result is ArcWord.FAIL
    assert (found.evaluations[0].result, found.exceeded) == (DmarcWord.PASS, "queries")


def test_waiting_has_an_end(nameserver: NameServer) -> None:
    """F10: what was not answered in time is temporary trouble; the policy still gets its share."""
    nameserver.zone.misbehave("evil.example", Behaviour.SILENCE)
    nameserver.zone.txt("_dmarc.example.org", "v=DMARC1; p=none; np=reject")

    found = judge(
        nameserver,
        received(PLAIN, mail_from="a@evil.example"),
        authors=("nowhere.example.org",),
        max_seconds=0.2,
    )

    assert found.authentication.spf.result is SpfWord.TEMPERROR
    assert found.exceeded == "seconds"
    assert (found.evaluations[0].result, found.evaluations[0].policy) == (DmarcWord.FAIL, Policy.REJECT)


def test_a_message_without_author_domain_is_still_authenticated(
    nameserver: NameServer, rsa_key: SigningKey
) -> None:
    found = judge(nameserver, received(signed(rsa_key)), authors=())

    assert words(found) == (SpfWord.PASS, [DkimWord.PASS], ArcWord.NONE, [])
