"""What of a header gets into a failure report (RUF-10, T24)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.message import HeaderField, split_message
from appliance.mail.redaction import (
    MAX_HEADER_OCTETS,
    Redactor,
    folded,
    marked_address,
    plain_header,
    pruned_header,
)
from tests.failing import HEADER, PERSONAL

REDACTOR = Redactor(b"k" * 32)


def redacted(octets: bytes) -> str:
    fields, _ = split_message(octets)
    return REDACTOR.redact("\r\n".join(pruned_header(fields)))


def test_ruf_10_no_local_part_no_word_of_the_subject_and_no_inner_address_is_left() -> None:
    left = redacted(HEADER).lower()

    assert [word for word in PERSONAL if word in left] == []
    assert set(re.findall(r"^[a-z-]+(?=:)", left, re.MULTILINE)) == {
        *("from", "sender", "reply-to", "to", "date", "message-id", "dkim-signature")
    }


def test_ruf_10_domains_are_left_and_one_address_has_one_code() -> None:
    left = redacted(HEADER)

    codes = dict(re.findall(r"^(From|Sender|Reply-To|To): (\S+?)@", left, re.MULTILINE))
    assert len(set(codes.values())) == 4
    assert f"i={codes['From']}@bank.test" in left
    assert re.findall(r"redacted-[0-9a-f]{24}@([a-z.]+)", left) == [
        *("bank.test", "bank.test", "stranger.test", "corp.example", "other.example", "mail.bank.test"),
        "bank.test",
    ]


def test_ruf_10_codes_differ_by_key_and_by_receivers_domain_and_stay_the_same_for_each() -> None:
    text = marked_address("Ann", "bank.test")
    octets = REDACTOR.redact(text).encode()

    assert REDACTOR.redact(marked_address("ann", "bank.test")).encode() == octets
    assert Redactor(b"x" * 32).redact(text).encode() != octets
    one, other = (REDACTOR.for_receiver(octets, domain) for domain in ("one.test", "other.test"))
    assert len({octets, one, other}) == 3
    assert len(one) == len(octets)
    assert REDACTOR.for_receiver(octets, "one.test") == one


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        pytest.param(b"From: ann@a.test, =?utf-8?q?bob=40b.test?= <c@c.test>", 2, id="encoded word"),
        pytest.param(b'From: "d@d.test" <c@c.test>', 1, id="an address as a display name"),
        pytest.param(b"From: c@c.test (e@e.test)", 1, id="an address in a comment"),
        pytest.param(b"From: <@r.test,@s.test:c@c.test>", 1, id="source route"),
        pytest.param(b'From: "quoted \\" local"@c.test', 1, id="quoted local part"),
        pytest.param(b"From: list: a@a.test, b@b.test;", 2, id="group"),
        pytest.param(b"From: c@[10.0.0.1]", 0, id="address literal"),
        pytest.param(b"From: c@bad_\xff.test", 0, id="no domain"),
        pytest.param(b"From: a@a.test \x00 b@b.test", 1, id="up to what is no token"),
        pytest.param(b"From: ann", 0, id="no address"),
        pytest.param(b"From: " + b"a@a.test," * 500, 20, id="a great many"),
        pytest.param(b"From: " + b"a" * 9000 + b"@a.test", 0, id="too long"),
        pytest.param(b"Message-ID: <a@a.test> <b@b.test>", 1, id="two message IDs"),
        pytest.param(b"Message-ID: no-such-thing", 0, id="a message ID that is none"),
        pytest.param(b"Subject: ann@a.test", 0, id="a field that is not kept"),
    ],
)
def test_ruf_10_of_address_fields_only_addresses_are_left(field: bytes, expected: int) -> None:
    left = redacted(field + b"\r\n\r\n")

    assert re.sub(r"redacted-[0-9a-f]{24}@[a-z]\.test|From: |Message-ID: |[<>,\s]", "", left) == ""
    assert left.count("@") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(b"v=1; d=A.TEST; s=k; b=AA==", "v=1; d=a.test; s=k; b=AA==", id="plain"),
        pytest.param(b"v=1; d=a.test; z=Subject:x; q=dns/txt; ann=ann", "v=1; d=a.test", id="other tags"),
        pytest.param(b"a=ann; c=ann; t=ann; bh=ann@a; h=ann@a; cv=ann; d=-", "", id="other values"),
        pytest.param(b"i=@a.test; h=from : to", "i=@a.test; h=from:to", id="no local part"),
        pytest.param(b"i=1; cv=pass; d=a.test", "i=1; cv=pass; d=a.test", id="of ARC"),
        pytest.param(b"b=" + b"A" * 3000, "", id="endless"),
        pytest.param(b"\xff\xfe", "", id="no text"),
    ],
)
def test_ruf_10_of_a_signature_only_known_tags_are_left(value: bytes, expected: str) -> None:
    left = "".join(pruned_header([HeaderField(b"DKIM-Signature", b" " + value)]))

    assert re.sub(r"\r\n", "", left) == (f"DKIM-Signature: {expected}" if expected else "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Mon, 30 Mar 2026 10:20:00 +0000 (ann)", "Mon, 30 Mar 2026 10:20:00 +0000"),
        (b"3 Mar 2026 10:20 GMT", "3 Mar 2026 10:20 GMT"),
        (b"Monday for ann", ""),
        (b"30 Mar 2026 10:20:00 +0000ann", ""),
    ],
)
def test_ruf_10_of_a_date_only_the_date_is_left(value: bytes, expected: str) -> None:
    left = "".join(pruned_header([HeaderField(b"Date", b" " + value)]))

    assert left == (f"Date: {expected}" if expected else "")


def test_without_redaction_the_header_is_there_but_for_hidden_recipients() -> None:
    fields, _ = split_message(b"Bcc: b@b.test\r\nSubject: Gr\xc3\xbc\xc3\x9fe\r\n there\r\nX-Y: \x07\r\n\r\n")

    assert plain_header(fields) == ("Subject: Gr??e there", "X-Y: ?")


NAMES = (b"From", b"To", b"Date", b"Message-ID", b"DKIM-Signature", b"ARC-Seal", b"Subject", b"X y", b"")
FIELDS = st.lists(st.builds(HeaderField, st.sampled_from(NAMES) | st.binary(max_size=8), st.binary()))
ADDRESSES = st.from_regex(rb'[a-z"@<>(),;:=? \\\r\n\x00-\xff]{0,60}', fullmatch=True)
STRUCTURED = st.lists(st.builds(HeaderField, st.sampled_from(NAMES), ADDRESSES))


@given(FIELDS | STRUCTURED)
def test_t22_whatever_the_header_holds_the_fields_that_are_left_are_well_formed(
    fields: list[HeaderField],
) -> None:
    for lines in (pruned_header(fields), plain_header(fields)):
        text = REDACTOR.redact("".join(f"{line}\r\n" for line in lines))

        assert re.fullmatch(r"(?:[!-9;-~]+:(?:[ -~]*\r\n[ \t]+(?=[!-~]))*[ -~]*\r\n)*", text)
        assert len(split_message(text.encode())[0]) == len(lines)
        assert len(text) <= 2 * MAX_HEADER_OCTETS


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=5000))
def test_no_line_is_longer_than_mail_allows(text: str) -> None:
    lines = folded("X: " + text).split("\r\n")

    assert max(map(len, lines)) <= 998
    assert all(line.startswith(" ") and line.strip() for line in lines[1:])
