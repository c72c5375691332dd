import base64
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from appliance.checks.answers import Answers, Missing
from appliance.checks.canonical import CanonicalMessage
from appliance.checks.dkim import DkimCheck
from appliance.checks.dmarc import evaluate_author
from appliance.checks.options import CheckOptions
from appliance.dmarc.evaluation import Evaluation
from appliance.mail.authentication import DkimResult, DkimWord, SpfResult, SpfWord
from appliance.resolver import Status
from tests.checks.mails import NOW, PLAIN, SigningKey, answered, received, signed

KEY = "s1._domainkey.example.org"
Records = Mapping[str, bytes | Sequence[bytes] | Status]


def check(
    octets: bytes,
    records: Records,
    *,
    authors: Sequence[str] = ("example.org",),
    later: timedelta = timedelta(),
    options: CheckOptions = CheckOptions(),  # noqa: B008  frozen
) -> tuple[DkimResult, ...]:
    dkim_check = DkimCheck(CanonicalMessage(received(octets)), authors, NOW + later, options)
    return dkim_check.results(Answers(answered(records)))


def verdict(octets: bytes, records: Records, **kwargs: object) -> tuple[DkimWord, str]:
    [result] = check(octets, records, **kwargs)  # type: ignore[arg-type]
    return result.result, result.reason


PASS = (DkimWord.PASS, "")


@pytest.mark.parametrize("forms", tuple(product(("simple", "relaxed"), repeat=2)), ids="/".join)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"Hello  Bob,\t \r\n\r\n two  spaces \r\n\r\n\r\n", id="trailing blank lines"),
        pytest.param(b"", id="empty body"),
        pytest.param(b"\r\n\r\n", id="blank lines only"),
        pytest.param(b"no line end", id="no line end"),
        pytest.param(bytes(octet for octet in range(256) if octet != 0x0A) + b"\r\n", id="every octet"),
    ],
)
def test_what_dkimpy_signs_verifies(rsa_key: SigningKey, forms: tuple[str, str], body: bytes) -> None:
    octets = PLAIN.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body

    [result] = check(signed(rsa_key, octets, forms=forms), {KEY: rsa_key.record})

    assert result == DkimResult(
        DkimWord.PASS, "example.org", "s1", "@example.org", "rsa-sha256", result.signature_start
    )
    assert len(result.signature_start) == 8


def test_ed25519_verifies() -> None:
    """DKIM-04."""
    private = ed25519.Ed25519PrivateKey.generate()
    public = base64.b64encode(private.public_key().public_bytes_raw())
    key = SigningKey(base64.b64encode(private.private_bytes_raw()), b"v=DKIM1; k=ed25519; p=" + public)

    assert verdict(signed(key, algorithm="ed25519-sha256"), {KEY: key.record}) == PASS


RFC_8463_MESSAGE = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
"""


def test_the_example_of_rfc_8463_appendix_a() -> None:
    records = {
        "brisbane._domainkey.football.example.com": (
            b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
        ),
        "test._domainkey.football.example.com": (
            b"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bd"
            b"OKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLz"
            b"BfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
        ),
    }

    results = check(RFC_8463_MESSAGE.replace(b"\n", b"\r\n"), records)

    assert [(r.result, r.algorithm) for r in results] == [
        (DkimWord.PASS, "ed25519-sha256"),
        (DkimWord.PASS, "rsa-sha256"),
    ]


def test_a_changed_message_fails(rsa_key: SigningKey) -> None:
    octets, records = signed(rsa_key), {KEY: rsa_key.record}

    assert verdict(octets.replace(b"Bob,", b"Eve,"), records) == (DkimWord.FAIL, "body hash")
    assert verdict(octets.replace(b"From: Ann", b"From: Eve"), records) == (DkimWord.FAIL, "signature")


def test_a_changed_body_needs_no_key(rsa_key: SigningKey) -> None:
    dkim_check = DkimCheck(CanonicalMessage(received(signed(rsa_key) + b"changed")), (), NOW, CheckOptions())

    assert dkim_check.questions == ()
    assert dkim_check.results(Answers())[0].result is DkimWord.FAIL


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param(Status.NXDOMAIN, (DkimWord.PERMERROR, "no key"), id="NXDOMAIN"),
        pytest.param(Status.NO_DATA, (DkimWord.PERMERROR, "no key"), id="no data"),
        pytest.param(Status.TEMPORARY, (DkimWord.TEMPERROR, "key: timeout"), id="timeout T20"),
        pytest.param(b"v=DKIM1; p=", (DkimWord.PERMERROR, "key revoked"), id="revoked"),
        pytest.param(b"v=spf1 -all", (DkimWord.PERMERROR, "no key"), id="another record"),
    ],
)
def test_troubles_with_the_key_are_told_apart(
    rsa_key: SigningKey, records: bytes | Status, expected: tuple[DkimWord, str]
) -> None:
    """DKIM-13."""
    assert verdict(signed(rsa_key), {KEY: records}) == expected


def test_a_key_not_yet_known_is_missing(rsa_key: SigningKey) -> None:
    with pytest.raises(Missing, match=f"TXT {KEY}"):
        check(signed(rsa_key), {})


def test_the_right_key_among_several_records_verifies(rsa_key: SigningKey) -> None:
    """DKIM-12."""
    other = b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

    assert verdict(signed(rsa_key), {KEY: (b"v=spf1 -all", other, rsa_key.record)}) == PASS


def rewritten(octets: bytes, pattern: bytes, replacement: bytes) -> bytes:
    """The signature's tags changed after signing."""
    changed, count = re.subn(pattern, replacement, octets, count=1, flags=re.DOTALL)
    assert count
    return changed


@pytest.mark.parametrize(
    ("pattern", "replacement", "expected"),
    [
        pytest.param(rb"v=1;", b"v=2;", (DkimWord.PERMERROR, "no v=1"), id="version DKIM-05"),
        pytest.param(rb"v=1;", b"", (DkimWord.PERMERROR, "no v=1"), id="no version DKIM-05"),
        pytest.param(rb"rsa-sha256", b"rsa-sha1", (DkimWord.PERMERROR, "rsa-sha1"), id="SHA-1 DKIM-02"),
        pytest.param(rb"rsa-sha256", b"x", (DkimWord.PERMERROR, "unknown algorithm"), id="algorithm DKIM-05"),
        pytest.param(
            rb"c=[^;]*;", b"c=x;", (DkimWord.PERMERROR, "unknown canonicalization"), id="c= DKIM-05"
        ),
        pytest.param(rb"h=from : ", b"h=", (DkimWord.PERMERROR, "From is not signed"), id="From DKIM-06"),
        pytest.param(rb"s=s1;", b"", (DkimWord.PERMERROR, "no s tag"), id="no selector DKIM-05"),
        pytest.param(rb"d=[^;]*;", b"", (DkimWord.PERMERROR, "no d tag"), id="no domain DKIM-05"),
        pytest.param(rb"a=[^;]*;", b"", (DkimWord.PERMERROR, "no a tag"), id="no algorithm DKIM-05"),
        pytest.param(rb"\bh=[^;]*;", b"", (DkimWord.PERMERROR, "no h tag"), id="no h= DKIM-05"),
        pytest.param(rb" b=.*?(?=\r\nFrom)", b" n=", (DkimWord.PERMERROR, "no b tag"), id="no b= DKIM-05"),
        pytest.param(
            rb"h=from", b"h=from :", (DkimWord.PERMERROR, "h= is no list of field names"), id="h= DKIM-05"
        ),
        pytest.param(rb"v=1;", b"v=1; z9=new;", (DkimWord.FAIL, "signature"), id="unknown tag DKIM-05"),
        pytest.param(rb"bh=[^;]*;", b"", (DkimWord.PERMERROR, "no bh tag"), id="no body hash DKIM-05"),
        pytest.param(rb"bh=", b"bh=?", (DkimWord.PERMERROR, "bh= is not base64"), id="base64 DKIM-05"),
        pytest.param(rb"bh=[^;]*;", b"bh=;", (DkimWord.PERMERROR, "bh= is not base64"), id="empty bh="),
        pytest.param(
            rb"d=[^;]*;",
            b'd="a".example;',
            (DkimWord.PERMERROR, "d= or s= is no domain name"),
            id="d= DKIM-18",
        ),
        pytest.param(
            rb"s=s1;",
            b"s=a..b;",
            (DkimWord.PERMERROR, "d= or s= is no domain name"),
            id="empty label DKIM-18",
        ),
        pytest.param(
            rb"i=[^;]*;", b"i=@example.net;", (DkimWord.PERMERROR, "i= is not below d="), id="i= DKIM-07"
        ),
        pytest.param(
            rb"i=[^;]*;", b"i=anexample.org;", (DkimWord.PERMERROR, "i= is not below d="), id="i= without @"
        ),
        pytest.param(rb"v=1;", b"v=1; v=1;", (DkimWord.NEUTRAL, "a tag occurs twice"), id="twice DKIM-05"),
        pytest.param(rb"v=1;", b"v=1; junk;", (DkimWord.NEUTRAL, "not a list of tags"), id="unparsable"),
        pytest.param(
            rb"v=1;", b"v=1; x=1;", (DkimWord.PERMERROR, "expires before it was made"), id="x<t DKIM-08"
        ),
        pytest.param(
            rb"t=[^;]*;", b"t=99999999999;", (DkimWord.FAIL, "made in the future"), id="future DKIM-08"
        ),
        pytest.param(rb"t=[^;]*;", b"t=1; x=2;", (DkimWord.FAIL, "expired"), id="expired DKIM-08"),
        pytest.param(rb"t=[^;]*;", b"t=x;", (DkimWord.PERMERROR, "t= is no number"), id="t= DKIM-05"),
        pytest.param(rb"v=1;", b"v=1; l=;", (DkimWord.PERMERROR, "l= is no number"), id="empty l="),
        pytest.param(
            rb"v=1;", b"v=1; l=999;", (DkimWord.PERMERROR, "l= is longer than the body"), id="l= T12"
        ),
        pytest.param(
            rb"q=dns/txt;", b"q=x;", (DkimWord.PERMERROR, "q= names no known way to the key"), id="q="
        ),
        pytest.param(
            rb"d=[^;]*; i=[^;]*;", b"d=org;", (DkimWord.POLICY, "d= is a top-level domain"), id="TLD DKIM-15"
        ),
        pytest.param(rb"v=1;", b"v=1; new=tag;", (DkimWord.FAIL, "signature"), id="unknown tag is ignored"),
    ],
)
def test_signatures_that_do_not_count(
    rsa_key: SigningKey, pattern: bytes, replacement: bytes, expected: tuple[DkimWord, str]
) -> None:
    """T13, and DKIM-16: no worse than none."""
    octets = signed(rsa_key).replace(b"\r\n d=", b" d=").replace(b";\r\n ", b"; ")

    assert verdict(rewritten(octets, pattern, replacement), {KEY: rsa_key.record}) == expected


SIGNED_AT = datetime.fromtimestamp(int(NOW.timestamp()), UTC)


@pytest.mark.parametrize(
    ("change", "seconds", "reason"),
    [
        pytest.param("", -300, "", id="made five minutes from now"),
        pytest.param("", -301, "made in the future", id="a second more"),
        pytest.param(f"x={SIGNED_AT.timestamp() + 60:.0f}; ", 360, "", id="expired five minutes ago"),
        pytest.param(f"x={SIGNED_AT.timestamp() + 60:.0f}; ", 361, "expired", id="a second more"),
    ],
)
def test_clocks_may_differ_by_five_minutes_not_by_ten_hours(
    rsa_key: SigningKey, change: str, seconds: int, reason: str
) -> None:
    """DKIM-08: whatever the library allows, and by the clock that is given."""
    times = b"%st=%d;" % (change.encode(), int(SIGNED_AT.timestamp()))
    octets = rewritten(signed(rsa_key), rb"t=[0-9]+;", times)
    moment = SIGNED_AT + timedelta(seconds=seconds)

    dkim_check = DkimCheck(CanonicalMessage(received(octets)), (), moment, CheckOptions())

    [result] = dkim_check.results(Answers(answered({KEY: rsa_key.record})))
    assert result.reason == (reason or "signature")  # the times are judged before the signature, broken here


def test_a_body_longer_than_signed_does_not_count_unless_accepted(rsa_key: SigningKey) -> None:
    """DKIM-09, T12, S7."""
    octets, records = signed(rsa_key, length=True) + b"<added>\r\n", {KEY: rsa_key.record}

    assert verdict(octets, records) == (DkimWord.POLICY, "covers part of the body")
    assert verdict(octets, records, options=CheckOptions(accept_partial_body=True)) == PASS


def test_l_over_the_whole_body_is_harmless(rsa_key: SigningKey) -> None:
    assert verdict(signed(rsa_key, length=True), {KEY: rsa_key.record}) == PASS


SINGLETONS = (
    "Subject",
    "To",
    "Cc",
    "Date",
    "Message-ID",
    "Reply-To",
    "Sender",
    "Content-Type",
    "Content-Transfer-Encoding",
)


@pytest.mark.parametrize("place", ["top", "bottom"])
@pytest.mark.parametrize("times_signed", [0, 1, 2])
@pytest.mark.parametrize("name", SINGLETONS)
def test_a_duplicate_that_is_not_signed_spoils_a_signature(
    rsa_key: SigningKey, name: str, times_signed: int, place: str
) -> None:
    """DKIM-11, T4: below the signed one it is selected in its place; above it is what readers show."""
    original = f"From: ann@example.org\r\n{name}: one\r\n".encode()
    octets = signed(rsa_key, original + b"\r\nHello\r\n", names=["from", *[name.lower()] * times_signed])
    added = f"{name}: other\r\n".encode()
    signature = octets[: octets.index(original)]
    octets = added + octets if place == "top" else signature + original + added + b"\r\nHello\r\n"
    broken = times_signed == 2 or (times_signed == 1 and place == "bottom")
    tolerant = CheckOptions(refuse_unsigned_duplicates=False)

    strictly = verdict(octets, {KEY: rsa_key.record})
    tolerantly = verdict(octets, {KEY: rsa_key.record}, options=tolerant)

    assert tolerantly == ((DkimWord.FAIL, "signature") if broken else PASS)
    assert strictly == (tolerantly if broken else (DkimWord.POLICY, "unsigned duplicate field"))


@pytest.mark.parametrize(
    "field",
    [
        pytest.param(b"X-Other: a\r\nX-Other: b\r\n", id="of any number"),
        pytest.param(b"Reply-To: a@x.example\r\n", id="the first of its name"),
        pytest.param(b"Received: a\r\nReceived: b\r\n", id="trace fields"),
    ],
)
def test_other_new_fields_do_no_harm(rsa_key: SigningKey, field: bytes) -> None:
    """DKIM-11."""
    assert verdict(field + signed(rsa_key), {KEY: rsa_key.record}) == PASS


def test_a_duplicate_that_is_signed_as_often_does_no_harm(rsa_key: SigningKey) -> None:
    """DKIM-11."""
    octets = signed(rsa_key, b"To: eve@example.net\r\n" + PLAIN, names=("from", "to", "to"))

    assert verdict(octets, {KEY: rsa_key.record}) == PASS


def test_a_field_signed_more_often_than_present_may_not_be_added(rsa_key: SigningKey) -> None:
    """DKIM-10: over-signed fields."""
    octets = signed(rsa_key, names=("from", "from", "subject", "x-none"))
    records = {KEY: rsa_key.record}

    assert verdict(octets, records) == PASS
    assert verdict(b"X-None: now\r\n" + octets, records) == (DkimWord.FAIL, "signature")
    assert verdict(b"From: Eve <eve@example.org>\r\n" + octets, records) == (DkimWord.FAIL, "signature")


@pytest.mark.parametrize(
    ("identity", "flags", "expected"),
    [
        pytest.param("a@example.org", b"s", PASS, id="exact domain"),
        pytest.param("a@sub.example.org", b"", PASS, id="below, allowed"),
        pytest.param(
            "a@sub.example.org",
            b"s",
            (DkimWord.PERMERROR, "i= is not the exact domain"),
            id="below, not allowed",
        ),
    ],
)
def test_a_key_may_forbid_identities_below(
    rsa_key: SigningKey, identity: str, flags: bytes, expected: tuple[DkimWord, str]
) -> None:
    """DKIM-07."""
    octets = signed(rsa_key, identity=identity)

    assert verdict(octets, {KEY: rsa_key.record + b"; t=" + flags}) == expected


def test_a_testing_key_is_noted(rsa_key: SigningKey) -> None:
    """DKIM-14."""
    [result] = check(signed(rsa_key), {KEY: rsa_key.record + b"; t=y"})

    assert result.result is DkimWord.PASS
    assert result.testing


def test_a_signature_that_fails_by_a_testing_key_is_as_good_as_none(rsa_key: SigningKey) -> None:
    """DKIM-14: it isn't even a sign of indirect mail, as broken aligned signatures are."""
    octets = signed(rsa_key).replace(b"From: Ann", b"From: Eve")
    plain = check(octets, {KEY: rsa_key.record})
    testing = check(octets, {KEY: rsa_key.record + b"; t=y"})

    assert plain[0].result is testing[0].result is DkimWord.FAIL
    assert [evaluated(results).broken_aligned_signature for results in (plain, testing, ())] == [
        True,
        False,
        False,
    ]


def evaluated(dkim: tuple[DkimResult, ...], spf: SpfWord = SpfWord.FAIL) -> Evaluation:
    """For a message from example.org, which publishes p=reject."""
    answers = Answers(answered({"_dmarc.example.org": b"v=DMARC1; p=reject", "_dmarc.org": Status.NXDOMAIN}))
    return evaluate_author("example.org", SpfResult(spf, "example.org"), dkim, answers)


@pytest.mark.parametrize("spf", [SpfWord.PASS, SpfWord.FAIL])
@pytest.mark.parametrize("good", [True, False], ids=["with a good one", "alone"])
@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        pytest.param(rb"bh=[^;]*;", b"bh=AAAA;", id="fail"),
        pytest.param(rb"v=1;", b"v=2;", id="permerror"),
        pytest.param(rb"v=1;", b"v=1;;", id="neutral"),
        pytest.param(rb" d=[^;]*;\s+i=[^;]*;", b" d=org;", id="policy"),
    ],
)
def test_a_bad_signature_is_as_good_as_none(
    rsa_key: SigningKey, pattern: bytes, replacement: bytes, good: bool, spf: SpfWord
) -> None:
    """DKIM-16: the verdict of DMARC is the same with it and without it, whatever else there is."""
    octets = signed(rsa_key) if good else PLAIN
    bad = rewritten(signed(rsa_key), pattern, replacement).removesuffix(PLAIN)
    records = {KEY: rsa_key.record}

    with_it, without_it = check(bad + octets, records), check(octets, records)

    assert len(with_it) == len(without_it) + 1
    assert evaluated(with_it, spf).result is evaluated(without_it, spf).result


def test_a_short_key_does_not_count(rsa_key: SigningKey) -> None:
    """DKIM-03."""
    options = CheckOptions(min_rsa_bits=4096)

    found = verdict(signed(rsa_key), {KEY: rsa_key.record}, options=options)

    assert found == (DkimWord.PERMERROR, "key shorter than 4096 bits")


def test_of_many_signatures_ten_are_verified_aligned_ones_first(rsa_key: SigningKey) -> None:
    """DKIM-01, T11, S7."""
    own, mail = (
        signed(rsa_key, domain=name).removesuffix(PLAIN) for name in ("example.org", "mail.example.org")
    )
    junk = [own.replace(b"d=example.org", b"d=junk%d.example" % number) for number in range(48)]
    names = [f"s1._domainkey.junk{number}.example" for number in range(48)]
    records = dict.fromkeys([*names, KEY, "s1._domainkey.mail.example.org"], rsa_key.record)

    results = check(b"".join([*junk, mail, own]) + PLAIN, records)

    assert len(results) == 50
    assert [r.domain for r in results][:2] == ["junk0.example", "junk1.example"]
    assert [r.result for r in results[-2:]] == [DkimWord.PASS, DkimWord.PASS]
    assert Counter((r.result, r.reason) for r in results) == {
        PASS: 2,
        (DkimWord.PERMERROR, "i= is not below d="): 8,
        (DkimWord.POLICY, "limit"): 40,
    }


def test_a_hundred_signatures_are_listed_those_nearest_to_the_author(rsa_key: SigningKey) -> None:
    """DKIM-01, T11: junk on top hides no aligned signature."""
    octets = b"DKIM-Signature: v=1\r\n" * 300 + signed(rsa_key)

    results = check(octets, {KEY: rsa_key.record})

    assert len(results) == 100
    assert (results[-1].result, results[-1].domain) == (DkimWord.PASS, "example.org")


def test_five_hundred_signatures_cost_ten_questions(rsa_key: SigningKey) -> None:
    """DKIM-01, T11."""
    signature = signed(rsa_key, domain="x.example", selector="s").removesuffix(PLAIN)
    junk = b"".join(signature.replace(b"s=s;", b"s=s%d;" % number) for number in range(500))

    dkim_check = DkimCheck(CanonicalMessage(received(junk + PLAIN)), ("example.org",), NOW, CheckOptions())

    assert len(dkim_check.questions) == 10


def test_hostile_names_never_reach_the_result() -> None:
    """DKIM-18, T5."""
    octets = (
        b'DKIM-Signature: v=1; a=x"y; d=a(b.example; s=a@b; i=a@b(c; b="AA; bh=AAAA; h=from\r\n'
        b'DKIM-Signature: v=1; a=rsa-sha256; d=Example.ORG; s=S1; i=a"b@example.org; b=AA?AA; bh=x; h=from\r\n'
    ) + PLAIN

    results = check(octets, {})

    assert results == (
        DkimResult(DkimWord.PERMERROR, reason="unknown algorithm"),
        DkimResult(DkimWord.PERMERROR, "example.org", "s1", "", "rsa-sha256", reason="b= is not base64"),
    )


def test_internationalized_names_become_a_labels(rsa_key: SigningKey) -> None:
    """DKIM-17, RFC 8616."""
    octets = signed(
        rsa_key, domain="b\u00fccher.example", selector="s\u00e9l", identity="@b\u00fccher.example"
    )
    record = {"xn--sl-bja._domainkey.xn--bcher-kva.example": rsa_key.record}

    [result] = check(octets, record)

    assert result.result is DkimWord.PASS
    assert (result.domain, result.identity) == ("xn--bcher-kva.example", "@xn--bcher-kva.example")


def test_junk_lines_and_odd_colons_do_not_void_the_message(rsa_key: SigningKey) -> None:
    octets = b"X-Junk : \xff\xfe\r\n" + signed(rsa_key)

    assert verdict(octets, {KEY: rsa_key.record}) == PASS


def test_an_unsigned_message_has_no_results() -> None:
    assert check(PLAIN, {}) == ()
