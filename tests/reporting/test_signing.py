"""Report mail is signed so that every receiver can verify it (AGG-34, RFC 6376)."""

import asyncio
import gzip
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import dkim
import pytest

from appliance.checks.authenticate import Assessment, authenticate
from appliance.checks.tags import parse_tags, without_white_space
from appliance.dmarc.evaluation import DmarcWord
from appliance.lab.mailbox import Mailbox
from appliance.lab.nameserver import NameServer
from appliance.lab.postfix import PostfixInstance
from appliance.mail.authentication import DkimWord
from appliance.mail.message import Envelope, Message, split_message
from appliance.resolver import Resolver
from appliance.store import keys
from appliance.store.keys import Algorithm, PublicKey, SigningKey
from reporting.aggregate_xml import Totals
from reporting.compose import AggregateMail, addressed, compose
from reporting.delivery import Courier
from reporting.mailto import MailAddress
from reporting.period import utc_day
from reporting.signing import signed
from tests.postfix import config_below
from tests.reporting.samples import DAY, ORIGIN

NOW = datetime.now(UTC)
DOMAIN = "gateway.test"
COMPOSED = compose(
    AggregateMail(ORIGIN, "bank.test", utc_day(DAY), Totals(2, 42), gzip.compress(b"<feedback/>" * 5000)), NOW
)
MAIL = addressed(COMPOSED, MailAddress("a,b", "bank.test"))


@pytest.fixture(scope="module")
def pairs() -> dict[str, keys.KeyPair]:
    """One of each kind, by selector."""
    return {algorithm.value: keys.make_pair(algorithm) for algorithm in Algorithm}


@pytest.fixture(scope="module")
def signers(pairs: dict[str, keys.KeyPair]) -> tuple[SigningKey, ...]:
    return tuple(
        SigningKey(DOMAIN, selector, pair.algorithm, pair.private_key) for selector, pair in pairs.items()
    )


@pytest.fixture(scope="module")
def owner(pairs: dict[str, keys.KeyPair]) -> Iterator[NameServer]:
    """The DNS of the report address's domain; SPF permits nobody."""
    with NameServer() as running:
        running.zone.txt(f"_dmarc.{DOMAIN}", "v=DMARC1; p=reject; adkim=s")
        running.zone.txt(DOMAIN, "v=spf1 -all")
        for selector, pair in pairs.items():
            key = PublicKey(
                0, DOMAIN, selector, pair.algorithm, keys.KeyState.ACTIVE, pair.public_key, NOW, NOW
            )
            running.zone.txt(key.record_name, key.record)
        yield running


def received(octets: bytes, owner: NameServer) -> Assessment:
    """What our own checks say to *octets* when they arrive from somewhere."""
    fields, body = split_message(octets)
    client = ip_address("198.51.100.9")
    envelope = Envelope(client, "", "relay.test", f"b@{DOMAIN}", (), "4ZqK1", NOW)

    async def judged() -> Assessment:
        resolver = Resolver(owner.address)
        try:
            return await authenticate(
                Message(envelope, fields, body),
                client_ip=client,
                helo="relay.test",
                author_domains=(DOMAIN,),
                resolver=resolver,
                now=NOW,
            )
        finally:
            await resolver.close()

    return asyncio.run(judged())


def words(octets: bytes, owner: NameServer) -> list[DkimWord]:
    return [signature.result for signature in received(octets, owner).authentication.dkim]


def tags_of(octets: bytes) -> list[dict[bytes, bytes]]:
    """The tags of each signature on top of *octets*."""
    values = [field.value for field in split_message(octets)[0] if field.name.lower() == b"dkim-signature"]
    return [
        {name: without_white_space(value) for name, value in parse_tags(value).items()} for value in values
    ]


def test_agg_34_a_report_passes_dmarc_by_each_of_its_signatures(
    signers: Sequence[SigningKey], owner: NameServer
) -> None:
    octets = signed(MAIL, signers, NOW)

    assessment = received(octets, owner)

    assert [
        (signature.domain, signature.selector, signature.algorithm, signature.result)
        for signature in assessment.authentication.dkim
    ] == [
        (DOMAIN, "rsa", "rsa-sha256", DkimWord.PASS),
        (DOMAIN, "ed25519", "ed25519-sha256", DkimWord.PASS),
    ]
    [evaluation] = assessment.evaluations
    assert (evaluation.result, evaluation.dkim_aligned, evaluation.spf_aligned) == (
        DmarcWord.PASS,
        True,
        False,
    )


def test_agg_34_another_verifier_accepts_each_signature(
    signers: Sequence[SigningKey], pairs: dict[str, keys.KeyPair]
) -> None:
    octets = signed(MAIL, signers, NOW)
    records = {
        f"{selector}._domainkey.{DOMAIN}.": f"v=DKIM1; k={pair.algorithm}; p={pair.public_key}".encode()
        for selector, pair in pairs.items()
    }

    def txt(name: bytes, timeout: float = 5) -> bytes | None:
        return records.get(name.decode())

    assert [dkim.DKIM(octets).verify(idx=number, dnsfunc=txt) for number in range(2)] == [True, True]


def test_a_signature_is_relaxed_names_from_once_more_than_it_is_there_and_covers_the_whole_body(
    signers: Sequence[SigningKey],
) -> None:
    for tags in tags_of(signed(MAIL, signers, NOW)):
        names = tags[b"h"].split(b":")
        assert tags[b"c"] == b"relaxed/relaxed"
        assert tags[b"t"] == str(int(NOW.timestamp())).encode()
        assert not tags.keys() & {b"i", b"l", b"x"}
        assert names.count(b"from") == 2
        assert set(names) == {
            *(b"from", b"to", b"subject", b"date", b"message-id"),
            *(b"auto-submitted", b"mime-version", b"content-type"),
        }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b"From: ", b"From: x@evil.test\r\nFrom: ", id="another From on top"),
        pytest.param(b"To: ", b"To: victim@other.test, ", id="another To"),
        pytest.param(b"Report Domain: bank", b"Report Domain: tank", id="another Subject"),
        pytest.param(b"Messages:   42", b"Messages:   43", id="another body"),
        pytest.param(b"auto-generated", b"no", id="another Auto-Submitted"),
    ],
)
def test_what_is_signed_cannot_be_changed(
    signers: Sequence[SigningKey], owner: NameServer, before: bytes, after: bytes
) -> None:
    octets = signed(MAIL, signers, NOW)
    assert octets.count(before) >= 1

    changed = octets.replace(before, after, 1)

    assert DkimWord.PASS not in words(changed, owner)


def test_agg_32_the_same_mail_keys_and_time_give_the_same_octets(signers: Sequence[SigningKey]) -> None:
    once, again = (signed(MAIL, signers, NOW) for _ in range(2))

    assert once == again
    assert once.endswith(MAIL)


def test_without_keys_mail_stays_as_it_is() -> None:
    assert signed(MAIL, (), NOW) == MAIL


def test_a_report_is_seven_bit_so_that_nobody_converts_it() -> None:
    assert COMPOSED.isascii()
    short = AggregateMail(ORIGIN, "b.test", utc_day(DAY), Totals(1, 1), b"")
    assert compose(short, NOW).isascii()


@pytest.mark.system
def test_agg_34_the_signatures_survive_postfix(
    tmp_path: Path, requires_postfix: None, signers: Sequence[SigningKey], owner: NameServer
) -> None:
    octets = signed(MAIL, signers, NOW)

    with PostfixInstance(config_below(tmp_path / "postfix", "inside.test")) as postfix:
        with Courier("127.0.0.1", postfix.config.report_port) as courier:
            done = courier.hand_over(f"bounces+x@{DOMAIN}", "user@bank.test", octets)
        delivered = Mailbox(postfix.outside_maildir).wait_for(queue_id=done.queue_id)

    assert words(delivered.octets, owner) == [DkimWord.PASS, DkimWord.PASS]
