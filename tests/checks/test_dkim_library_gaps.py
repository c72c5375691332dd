"""What common DKIM libraries get wrong, by crashing, by accepting too much or by taking too long: ours must not."""

import re
from collections.abc import Mapping

import pytest

from appliance.checks.answers import Answers
from appliance.checks.canonical import CanonicalMessage
from appliance.checks.dkim import DkimCheck
from appliance.checks.options import CheckOptions
from appliance.mail.authentication import DkimResult, DkimWord
from appliance.mail.message import HeaderField, Message
from appliance.resolver import Status
from tests.checks.mails import NOW, PLAIN, SigningKey, answered, received, signed

KEY = "s1._domainkey.example.org"
PASS = (DkimWord.PASS, "")


def result_of(message: Message, records: Mapping[str, bytes | Status]) -> DkimResult:
    dkim_check = DkimCheck(CanonicalMessage(message), ("example.org",), NOW, CheckOptions())
    [result] = dkim_check.results(Answers(answered(records)))
    return result


def verdict(octets: bytes, records: Mapping[str, bytes | Status]) -> tuple[DkimWord, str]:
    result = result_of(received(octets), records)
    return result.result, result.reason


def changed(octets: bytes, pattern: bytes, replacement: bytes) -> bytes:
    octets, count = re.subn(pattern, replacement, octets, count=1, flags=re.DOTALL)
    assert count
    return octets


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b".", id="root"),
        pytest.param(b"a..example", id="empty label"),
        pytest.param(b".example", id="empty first label"),
        pytest.param(b"a" * 64 + b".example", id="label of 64 octets"),
        pytest.param(b".".join([b"a" * 63] * 4), id="name of 255 octets"),
        pytest.param(b"a\\.example", id="escape"),
        pytest.param(b"a b.example", id="space"),
        pytest.param(b'"a".example', id="quotation mark A4"),
        pytest.param(b"(a.example", id="parenthesis A4"),
        pytest.param("\u00df\u200d.example".encode(), id="no U-label"),
        pytest.param(b"\xff.example", id="not UTF-8"),
    ],
)
@pytest.mark.parametrize("tag", [b"d", b"s"])
def test_names_that_cannot_be_asked_for(rsa_key: SigningKey, tag: bytes, value: bytes) -> None:
    """DKIM-05, DKIM-18, T5: no question is asked, nothing is raised and nothing of it is shown."""
    octets = changed(signed(rsa_key), rb"\b%s=[^;]*;" % tag, rb"%s=%s;" % (tag, re.escape(value)))
    octets = octets.replace(re.escape(value), value)

    result = result_of(received(octets), {})

    assert (result.result, result.reason) == (DkimWord.PERMERROR, "d= or s= is no domain name")
    assert "" in {result.domain, result.selector}


def test_a_name_that_is_too_long_only_with_the_selector(rsa_key: SigningKey) -> None:
    """DKIM-18: each fits, the name of the key does not."""
    long_name = b".".join([b"a" * 60] * 4)
    octets = changed(signed(rsa_key), rb" d=[^;]*;\s+i=[^;]*;", b" d=%s;" % long_name)

    assert verdict(octets, {}) == (DkimWord.PERMERROR, "d= or s= is no domain name")


def test_a_nul_in_a_selector_makes_the_list_unreadable(rsa_key: SigningKey) -> None:
    """DKIM-18: A3."""
    assert verdict(signed(rsa_key).replace(b"s=s1;", b"s=s1\x00.evil;"), {}) == (
        DkimWord.NEUTRAL,
        "unprintable characters",
    )


@pytest.mark.parametrize("value", [b"AAA", b"AAAAA", b"A===", b"=AAA", b"AA=A", b"AAAA=", b"AAAA-_", b"\xe9"])
@pytest.mark.parametrize("tag", [b"b", b"bh"])
def test_bad_base64(rsa_key: SigningKey, tag: bytes, value: bytes) -> None:
    """DKIM-05."""
    field = {b"b": rb" b=.*?(?=\r\nFrom)", b"bh": rb" bh=[^;]*(?=;)"}[tag]
    octets = changed(signed(rsa_key), field, rb" %s=%s" % (tag, value))

    assert verdict(octets, {KEY: rsa_key.record}) == (
        DkimWord.PERMERROR,
        f"{tag.decode()}= is not base64",
    )


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1.0", b"0x1", b"9" * 77, b"\xd9\xa1"])
def test_a_length_that_is_no_number(rsa_key: SigningKey, value: bytes) -> None:
    """DKIM-05, DKIM-09: the last one is a digit, but not an ASCII one."""
    octets = changed(signed(rsa_key), b"v=1;", b"v=1; l=%s;" % value)

    assert verdict(octets, {KEY: rsa_key.record}) == (DkimWord.PERMERROR, "l= is no number")


def test_a_length_beyond_the_body(rsa_key: SigningKey) -> None:
    """DKIM-09, T12: the body was cut after signing."""
    octets = signed(rsa_key, length=True)

    assert verdict(octets[:-20], {KEY: rsa_key.record}) == (DkimWord.PERMERROR, "l= is longer than the body")


def test_a_body_that_begins_behind_the_length_is_not_covered(rsa_key: SigningKey) -> None:
    """DKIM-09, T12: ``l=0`` covers nothing."""
    octets = signed(rsa_key, PLAIN.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", length=True)

    assert b"l=0;" in octets
    assert verdict(octets, {KEY: rsa_key.record}) == PASS
    assert verdict(octets + b"anything", {KEY: rsa_key.record}) == (
        DkimWord.POLICY,
        "covers part of the body",
    )


@pytest.mark.parametrize(
    "identity", [b"", b"@", b"ann", b"example.org", b"ann@", b"a@b@xexample.org", b"@.example.org"]
)
def test_an_identity_that_is_none(rsa_key: SigningKey, identity: bytes) -> None:
    """DKIM-07."""
    octets = changed(signed(rsa_key), rb"\bi=[^;]*;", b"i=%s;" % identity)

    assert verdict(octets, {KEY: rsa_key.record}) == (DkimWord.PERMERROR, "i= is not below d=")


def test_a_junk_line_does_not_void_the_message(rsa_key: SigningKey) -> None:
    message = received(signed(rsa_key))
    junk = (HeaderField(b"no field at all \xff", b""), HeaderField(b"", b" empty"))
    with_junk = Message(message.envelope, (*junk, *message.fields), message.body)

    result = result_of(with_junk, {KEY: rsa_key.record})

    assert result.result is DkimWord.PASS


@pytest.mark.parametrize("name", [b"Subject ", b"Subject\t", b"Subject \t "])
def test_white_space_before_a_colon_does_not_hide_the_field(rsa_key: SigningKey, name: bytes) -> None:
    """DKIM-10: the relaxed form has none; the simple form keeps it, so there it is a change."""
    relaxed, simple = (signed(rsa_key, forms=(form, form)) for form in ("relaxed", "simple"))

    assert verdict(relaxed.replace(b"Subject:", name + b":"), {KEY: rsa_key.record}) == PASS
    assert verdict(simple.replace(b"Subject:", name + b":"), {KEY: rsa_key.record}) == (
        DkimWord.FAIL,
        "signature",
    )


def test_a_signature_with_white_space_before_its_colon_is_one(rsa_key: SigningKey) -> None:
    octets = signed(rsa_key).replace(b"DKIM-Signature:", b"dkim-SIGNATURE :")

    assert verdict(octets, {KEY: rsa_key.record}) == PASS


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        pytest.param(b"s=email", PASS, id="mail"),
        pytest.param(b"s=tlsrpt:*", PASS, id="any"),
        pytest.param(b"s=tlsrpt", (DkimWord.PERMERROR, "key not for mail"), id="another service"),
        pytest.param(b"h=sha1", (DkimWord.PERMERROR, "key not for sha256"), id="another hash"),
        pytest.param(b"h=sha1:sha256", PASS, id="both hashes"),
        pytest.param(b"k=ed25519", (DkimWord.PERMERROR, "key record unparsable"), id="type twice"),
    ],
)
def test_the_lists_of_a_key_are_kept_to(
    rsa_key: SigningKey, tags: bytes, expected: tuple[DkimWord, str]
) -> None:
    """DKIM-12."""
    assert verdict(signed(rsa_key), {KEY: rsa_key.record + b"; " + tags}) == expected


def test_a_signature_with_sha1_never_passes_however_good_it_is(rsa_key: SigningKey) -> None:
    """DKIM-02: the algorithm is told."""
    result = result_of(received(signed(rsa_key, algorithm="rsa-sha1")), {KEY: rsa_key.record})

    assert (result.result, result.reason, result.algorithm) == (DkimWord.PERMERROR, "rsa-sha1", "rsa-sha1")


def test_a_from_field_that_is_not_signed_may_be_forged(rsa_key: SigningKey) -> None:
    """DKIM-06."""
    octets = changed(signed(rsa_key), rb"h=from : ", b"h=")

    assert verdict(octets, {KEY: rsa_key.record}) == (DkimWord.PERMERROR, "From is not signed")


def test_no_answer_is_not_no_key(rsa_key: SigningKey) -> None:
    """DKIM-13, T20."""
    assert verdict(signed(rsa_key), {KEY: Status.TEMPORARY})[0] is DkimWord.TEMPERROR
    assert verdict(signed(rsa_key), {KEY: Status.NO_DATA})[0] is DkimWord.PERMERROR


def test_several_records_at_a_selector_are_all_tried(rsa_key: SigningKey) -> None:
    """DKIM-12: the first that comes may be another one."""
    message = received(signed(rsa_key))
    records = answered({KEY: (b"v=DKIM1; p=", b"v=DKIM1; p=AAAA", rsa_key.record)})
    dkim_check = DkimCheck(CanonicalMessage(message), (), NOW, CheckOptions())

    [result] = dkim_check.results(Answers(records))

    assert result.result is DkimWord.PASS
