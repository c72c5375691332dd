"""ARC chains, sound and broken, made by our own sealer, one or more for each rule; dkimpy judges them too."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from appliance.checks.answers import Answers
from appliance.checks.arc import ArcCheck
from appliance.checks.canonical import CanonicalMessage
from appliance.checks.options import CheckOptions
from appliance.mail.authentication import ArcResult, ArcWord
from appliance.resolver import Status
from tests.checks.mails import NOW, PLAIN, SigningKey, answered, received
from tests.checks.sealer import AAR, AMS, SEAL, Fault, Sealer, with_set, without

Records = Mapping[str, bytes | Status]
DEFAULTS = CheckOptions()
LATER = str(int(NOW.timestamp()) + 900)
EARLIER = str(int(NOW.timestamp()) - 900)


@dataclass(frozen=True)
class Sealers:
    """Three sealers, the third with an Ed25519 key; and what the DNS says of them."""

    one: Sealer
    two: Sealer
    three: Sealer

    @property
    def records(self) -> dict[str, bytes | Status]:
        return {sealer.place: sealer.key.record for sealer in (self.one, self.two, self.three)}


@pytest.fixture(scope="session")
def sealers(rsa_key: SigningKey) -> Sealers:
    private = ed25519.Ed25519PrivateKey.generate()
    public = base64.b64encode(private.public_key().public_bytes_raw())
    ed25519_key = SigningKey(
        base64.b64encode(private.private_bytes_raw()), b"v=DKIM1; k=ed25519; p=" + public
    )
    return Sealers(
        Sealer(rsa_key, "list.example"),
        Sealer(rsa_key, "other.example"),
        Sealer(ed25519_key, "modern.example"),
    )


def check(octets: bytes, records: Records, options: CheckOptions = DEFAULTS) -> ArcResult:
    return ArcCheck(CanonicalMessage(received(octets)), NOW, options).result(Answers(answered(records)))


def dkimpy_says(octets: bytes, records: Records) -> str:
    """``pass``, ``none`` or ``fail``; a chain that dkimpy calls terminated has failed (RFC 8617 section 5.2.1)."""

    def text(name: bytes, timeout: int = 0) -> bytes | None:
        record = records.get(name.decode().removesuffix("."))
        return record if isinstance(record, bytes) else None

    chain, _, _ = dkim.arc_verify(octets, dnsfunc=text)
    return "fail" if chain is None else chain.decode()


def chain(octets: bytes, *made_by: Sealer) -> bytes:
    """*octets* sealed by each in turn."""
    for sealer in made_by:
        octets = with_set(octets, sealer)
    return octets


def set_with(names: str = "from:to:subject:date:message-id", **fault: object) -> Callable[[Sealers], bytes]:
    """A chain of one set, made in a peculiar way."""
    return lambda s: with_set(PLAIN, s.one, names=names, fault=Fault(**fault))  # type: ignore[arg-type]


def second_with(**fault: object) -> Callable[[Sealers], bytes]:
    """A chain of two sets, the second made in a peculiar way."""
    return lambda s: with_set(chain(PLAIN, s.one), s.two, fault=Fault(**fault))  # type: ignore[arg-type]


SOUND = [
    pytest.param(set_with(), id="ARC-03 one set"),
    pytest.param(lambda s: chain(PLAIN, s.one, s.two), id="ARC-03 two sets"),
    pytest.param(lambda s: chain(PLAIN, s.one, s.two, s.one), id="ARC-03 a sealer that comes twice"),
    pytest.param(lambda s: chain(PLAIN, *[s.one] * 12), id="ARC-03 instances of two digits"),
    pytest.param(set_with(ams={"c": None}), id="ARC-04 no c= means relaxed"),
    pytest.param(set_with(ams={"c": "simple/simple"}), id="ARC-04 simple canonicalization"),
    pytest.param(set_with(ams={"c": "relaxed"}), id="ARC-04 no body canonicalization"),
    pytest.param(set_with(names="to:subject"), id="ARC-04 From need not be signed"),
    pytest.param(set_with(names="From : TO :subject: Date"), id="ARC-04 white space and case in h="),
    pytest.param(set_with(names="from:from:x-none:subject"), id="ARC-04 over-signed fields"),
    pytest.param(set_with(names=""), id="ARC-04 empty h="),
    pytest.param(set_with(names="from::to"), id="ARC-04 empty name in h="),
    pytest.param(
        lambda s: with_set(
            chain(PLAIN, s.one),
            s.two,
            names="from:arc-message-signature:arc-authentication-results:authentication-results",
        ),
        id="ARC-04 fields that should not be signed",
    ),
    pytest.param(lambda s: b"Subject: new\r\n" + chain(PLAIN, s.one), id="ARC-04 unsigned duplicate"),
    pytest.param(set_with(ams={"t": None}, seal={"t": None}), id="ARC-05 no t="),
    pytest.param(set_with(ams={"z9": "?"}, seal={"z9": "?"}), id="ARC-05 unknown tags"),
    pytest.param(
        lambda s: chain(PLAIN, s.one, s.two).replace(b"ARC-Seal: i=1; ", b"arc-seal:i=1;\r\n \t"),
        id="ARC-05 relaxed canonicalization of sealed fields",
    ),
]


@pytest.mark.parametrize("make", SOUND)
def test_sound_chains_pass_here_and_with_dkimpy(sealers: Sealers, make: Callable[[Sealers], bytes]) -> None:
    octets = make(sealers)

    assert check(octets, sealers.records).reason == ""
    assert check(octets, sealers.records).result is ArcWord.PASS
    assert dkimpy_says(octets, sealers.records) == "pass"


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda s: chain(PLAIN, s.three), id="Ed25519"),
        pytest.param(lambda s: chain(PLAIN, s.one, s.three, s.two), id="Ed25519 among RSA"),
        pytest.param(set_with(space=""), id="no space before i="),
        pytest.param(set_with(space="  "), id="two spaces before i="),
        pytest.param(set_with(space="\r\n\t"), id="a fold before i="),
        pytest.param(set_with(ams={"i": "1 "}), id="a space after i=1"),
    ],
)
def test_sound_chains_that_dkimpy_stumbles_over_pass(
    sealers: Sealers, make: Callable[[Sealers], bytes]
) -> None:
    """ARC-04, ARC-05: dkimpy knows no Ed25519 here, and looks for exactly " i=1;" in a message signature."""
    assert check(make(sealers), sealers.records).reason == ""


BROKEN = [
    pytest.param(second_with(seal={"cv": "fail"}), "the newest seal says that the chain failed", id="ARC-02"),
    pytest.param(
        second_with(seal={"cv": "fail"}, seals_itself_only=True),
        "the newest seal says that the chain failed",
        id="ARC-02 as it is properly made",
    ),
    pytest.param(
        set_with(seal={"cv": "fail"}), "the newest seal says that the chain failed", id="ARC-02 first set"
    ),
    pytest.param(
        lambda s: chain(with_set(chain(PLAIN, s.one), s.two, cv="fail"), s.one),
        "a seal states a wrong chain status",
        id="ARC-02 T17 cv=fail, then cv=pass",
    ),
    *[
        pytest.param(
            lambda s, name=name, n=n: without(chain(PLAIN, s.one, s.two), name, n),
            "incomplete set",
            id=f"ARC-03 no {name} {n}",
        )
        for name in (AAR, AMS, SEAL)
        for n in (1, 2)
    ],
    *[
        pytest.param(
            lambda s, name=name: (
                with_set(PLAIN, s.one).partition(name.encode())[1] + b": i=1; x\r\n" + with_set(PLAIN, s.one)
            ),
            "incomplete set",
            id=f"ARC-03 another {name}",
        )
        for name in (AAR, AMS, SEAL)
    ],
    pytest.param(
        lambda s: chain(PLAIN, s.one).removesuffix(PLAIN) + chain(PLAIN, s.one),
        "instances do not run from 1 without gap",
        id="ARC-03 a whole set twice",
    ),
    pytest.param(
        lambda s: without(without(without(chain(PLAIN, s.one, s.two, s.one), AAR, 1), AMS, 1), SEAL, 1),
        "instances do not run from 1 without gap",
        id="ARC-03 the first set is gone",
    ),
    pytest.param(
        lambda s: without(without(without(chain(PLAIN, s.one, s.two, s.one), AAR, 2), AMS, 2), SEAL, 2),
        "instances do not run from 1 without gap",
        id="ARC-03 a gap",
    ),
    pytest.param(set_with(seal={"i": "0"}), "set without instance", id="ARC-03 seal i=0"),
    pytest.param(set_with(seal={"i": "a"}), "set without instance", id="ARC-03 seal i=a"),
    pytest.param(set_with(seal={"i": None}), "set without instance", id="ARC-03 seal without i="),
    pytest.param(set_with(ams={"i": "100"}), "set without instance", id="ARC-03 i=100"),
    pytest.param(
        set_with(ams={"i": "2"}), "instances do not run from 1 without gap", id="ARC-03 signature i=2"
    ),
    pytest.param(
        set_with(instance="i=2"), "instances do not run from 1 without gap", id="ARC-03 results i=2"
    ),
    pytest.param(
        set_with(instance="list.example"), "results without instance", id="ARC-03 results without i="
    ),
    pytest.param(
        set_with(seal={"cv": "pass"}), "a seal states a wrong chain status", id="ARC-03 first cv=pass"
    ),
    pytest.param(
        second_with(seal={"cv": "none"}), "a seal states a wrong chain status", id="ARC-03 second cv=none"
    ),
    pytest.param(set_with(seal={"cv": None}), "a seal states a wrong chain status", id="ARC-03 no cv="),
    pytest.param(set_with(seal={"cv": ""}), "a seal states a wrong chain status", id="ARC-03 empty cv="),
    pytest.param(
        second_with(seal={"cv": "Pass"}), "a seal states a wrong chain status", id="ARC-03 case of cv="
    ),
    pytest.param(
        lambda s: chain(PLAIN, s.one) + b"more\r\n", "message signature 1: body hash", id="ARC-04 body"
    ),
    pytest.param(
        lambda s: chain(PLAIN, s.one).replace(b"From: Ann", b"From: Eve"),
        "message signature 1: signature",
        id="ARC-04 signed field",
    ),
    pytest.param(
        lambda s: b"X-None: now\r\n" + with_set(PLAIN, s.one, names="from:x-none"),
        "message signature 1: signature",
        id="ARC-04 field signed as absent",
    ),
    pytest.param(set_with(names="from:ARC-Seal"), "message signature over a seal", id="ARC-04 signs a seal"),
    pytest.param(set_with(ams={"h": None}), "message signature: no h tag", id="ARC-04 no h="),
    pytest.param(set_with(ams={"bh": None}), "message signature: no bh tag", id="ARC-04 no bh="),
    pytest.param(
        set_with(ams={"bh": "?"}), "message signature: bh= is not base64", id="ARC-04 bh= is not base64"
    ),
    pytest.param(
        set_with(after_ams={"c": "x"}), "message signature: unknown canonicalization", id="ARC-04 c="
    ),
    pytest.param(set_with(after_ams={"b": "AAAA"}), "message signature 1: signature", id="ARC-04 b="),
    pytest.param(
        lambda s: with_set(chain(PLAIN, s.one) + b"more", s.two, fault=Fault(after_ams={"b": "AAAA"})),
        "message signature 2: signature",
        id="ARC-04 the newest message signature, not an older one",
    ),
    pytest.param(
        lambda s: chain(PLAIN, s.one, s.two).replace(b"dmarc=pass", b"dmarc=none", 1),
        "seal 2: signature",
        id="ARC-05 newest results changed",
    ),
    pytest.param(
        lambda s: chain(PLAIN, s.one, s.two)[::-1].replace(b"ssap=cramd", b"enon=cramd", 1)[::-1],
        "seal 2: signature",
        id="ARC-05 oldest results changed",
    ),
    pytest.param(
        second_with(seals_itself_only=True), "seal 2: signature", id="ARC-05 covers its own set only"
    ),
    pytest.param(set_with(after_seal={"b": "AAAA"}), "seal 1: signature", id="ARC-05 b="),
    pytest.param(set_with(after_seal={"b": "?"}), "seal: b= is not base64", id="ARC-05 b= is not base64"),
    pytest.param(set_with(seal={"h": "from"}), "seal with h=", id="ARC-05 h="),
    pytest.param(set_with(seal={"t": ""}), "seal: t= is no number", id="ARC-05 empty t="),
    pytest.param(set_with(seal={"t": "x"}), "seal: t= is no number", id="ARC-05 t="),
    pytest.param(set_with(seal={"a": "rsa-sha1"}), "seal: rsa-sha1", id="ARC-05 SHA-1"),
    pytest.param(set_with(seal={"a": "RSA-SHA256"}), "seal: unknown algorithm", id="ARC-05 case of a="),
    pytest.param(set_with(seal={"a": None}), "seal: no a tag", id="ARC-05 no a="),
    pytest.param(set_with(seal={"d": None}), "seal: no d tag", id="ARC-05 no d="),
    pytest.param(set_with(seal={"d": ""}), "seal: d= or s= is no domain name", id="ARC-05 empty d="),
    pytest.param(set_with(seal={"s": "x..y"}), "seal: d= or s= is no domain name", id="ARC-05 s="),
    pytest.param(set_with(seal={"_": "x"}), "not a list of tags", id="ARC-05 name of a tag"),
    pytest.param(set_with(space=" ; "), "not a list of tags", id="ARC-05 empty tag"),
]


@pytest.mark.parametrize(("make", "reason"), BROKEN)
def test_broken_chains_fail_here_and_with_dkimpy(
    sealers: Sealers, make: Callable[[Sealers], bytes], reason: str
) -> None:
    octets = make(sealers)

    assert check(octets, sealers.records) == ArcResult(ArcWord.FAIL, reason=reason)
    assert dkimpy_says(octets, sealers.records) == "fail"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(
            set_with(ams={"t": LATER}), "message signature 1: made in the future", id="ARC-04 of the future"
        ),
        pytest.param(
            set_with(ams={"t": None, "x": EARLIER}), "message signature 1: expired", id="ARC-04 expired"
        ),
        pytest.param(
            set_with(ams={"l": "999"}), "message signature 1: l= is longer than the body", id="ARC-04 l="
        ),
        pytest.param(
            set_with(ams={"l": "5", "bh": base64.b64encode(hashlib.sha256(b"Hello").digest()).decode()}),
            "message signature 1: covers part of the body",
            id="l= shorter than the body, DKIM-09 T12",
        ),
        pytest.param(
            lambda s: b"ARC-Seal: x\r\n" + chain(PLAIN, s.one),
            "incomplete set",
            id="ARC-03 a seal without tags",
        ),
    ],
)
def test_broken_chains_that_dkimpy_lets_through_fail(
    sealers: Sealers, make: Callable[[Sealers], bytes], reason: str
) -> None:
    """Its clock is ten hours wide, and it does not look at lengths."""
    octets = make(sealers)

    assert check(octets, sealers.records) == ArcResult(ArcWord.FAIL, reason=reason)
    assert dkimpy_says(octets, sealers.records) == "pass"


def test_a_message_signature_over_part_of_the_body_counts_when_that_is_accepted(sealers: Sealers) -> None:
    """DKIM-09, ARC-04."""
    digest = base64.b64encode(hashlib.sha256(b"Hello").digest()).decode()
    octets = with_set(PLAIN, sealers.one, fault=Fault(ams={"l": "5", "bh": digest}))

    assert check(octets, sealers.records, CheckOptions(accept_partial_body=True)).result is ArcWord.PASS


@pytest.mark.parametrize(
    ("sets", "most", "reason"),
    [
        pytest.param(20, 20, "", id="as many as the default allows"),
        pytest.param(21, 20, "too many sets", id="one more than the default"),
        pytest.param(21, 50, "", id="more are allowed by the setting"),
        pytest.param(50, 50, "", id="as many as RFC 8617 allows"),
        pytest.param(51, 50, "too many sets", id="one more than RFC 8617 allows"),
        pytest.param(51, 99, "too many sets", id="no option goes beyond RFC 8617"),
    ],
)
def test_arc_01_arc_12_chains_have_a_limit(sealers: Sealers, sets: int, most: int, reason: str) -> None:
    octets = chain(PLAIN, *[sealers.three] * sets)  # Ed25519, because it is quick

    found = check(octets, sealers.records if not reason else {}, CheckOptions(max_arc_sets=most))

    assert found.reason == reason  # without a question when there is one: an unknown key would be missing
    assert len(found.seals) == (0 if reason else sets)


KEY_TROUBLE = [
    pytest.param(Status.NXDOMAIN, "no key", id="no name"),
    pytest.param(Status.NO_DATA, "no key", id="no record"),
    pytest.param(Status.TEMPORARY, "timeout", id="DNS error"),
    pytest.param(b"v=DKIM1; k=rsa; p=", "key revoked", id="revoked"),
    pytest.param(b"v=DKIM1; k=rsa; p=AAAA", "key unusable", id="unusable"),
    pytest.param(b"v=DKIM1; k=rsa; omgwhatsgoingon", "no key", id="no key record"),
]


@pytest.mark.parametrize(("trouble", "reason"), KEY_TROUBLE)
@pytest.mark.parametrize("seal", [1, 2, 3])
def test_arc_07_any_trouble_with_the_key_of_any_seal_fails_the_chain(
    sealers: Sealers, seal: int, trouble: bytes | Status, reason: str
) -> None:
    octets = PLAIN
    for number in (1, 2, 3):
        octets = with_set(octets, replace(sealers.one, selector="arc" if number != seal else "old"))
    bad = replace(sealers.one, selector="old").place

    found = check(octets, {**sealers.records, bad: trouble})

    where = "message signature 3" if seal == 3 else f"seal {seal}"  # the newest message signature comes first
    assert found == ArcResult(ArcWord.FAIL, reason=f"{where}: {reason}")


@pytest.mark.parametrize(("trouble", "reason"), KEY_TROUBLE)
def test_arc_06_an_old_message_signature_whose_key_is_gone_only_moves_the_oldest_pass(
    sealers: Sealers, trouble: bytes | Status, reason: str
) -> None:
    octets = with_set(PLAIN, sealers.one, fault=Fault(ams={"s": "old"}))
    octets = chain(octets, sealers.two, sealers.three)

    found = check(octets, {**sealers.records, replace(sealers.one, selector="old").place: trouble})

    assert (found.result, found.oldest_pass) == (ArcWord.PASS, 2)


@pytest.mark.parametrize(
    ("change_before", "oldest_pass"),
    [
        pytest.param((), 0, id="nowhere"),
        pytest.param((1,), 0, id="before the first sealer"),
        pytest.param((2,), 2, id="after the first sealer"),
        pytest.param((3,), 3, id="after the second sealer"),
        pytest.param((2, 3), 3, id="after the first and the second"),
    ],
)
def test_arc_06_the_oldest_pass_tells_since_when_the_message_is_unchanged(
    sealers: Sealers, change_before: tuple[int, ...], oldest_pass: int
) -> None:
    octets = PLAIN
    for number, sealer in enumerate((sealers.one, sealers.two, sealers.one), start=1):
        octets = with_set(octets + b"-- \r\n" if number in change_before else octets, sealer)

    found = check(octets, sealers.records)

    assert (found.result, found.oldest_pass) == (ArcWord.PASS, oldest_pass)


def test_arc_02_a_chain_that_ended_is_not_looked_into(sealers: Sealers) -> None:
    octets = with_set(chain(PLAIN, sealers.one), sealers.two, cv="fail")

    assert check(octets, {}).result is ArcWord.FAIL  # no key is missed
