"""Author Domains: FROM-01 to FROM-14, the From rows of the espoofer set (A8 to A19), T1 to T3, pain 12."""

from collections.abc import Callable

import pytest

from appliance.mail.author import (
    MAX_ADDRESSES,
    MAX_DOMAINS,
    MAX_FROM_OCTETS,
    MAX_TOKENS,
    Author,
    author_of,
    find_author,
)
from appliance.mail.message import Message, split_message

MessageOf = Callable[..., Message]

NO_DOMAIN = "From has no domain"
BROKEN = "From cannot be parsed"

ONE_DOMAIN = [
    pytest.param("u@legit.test", id="bare address"),
    pytest.param("<u@legit.test>", id="angle address"),
    pytest.param("A Name <u@legit.test>", id="display name"),
    pytest.param("A Name<u@legit.test>", id="no space before the angle"),
    pytest.param('"Medtronic, Inc." <u@legit.test>', id="quoted comma (OpenDMARC #345)"),
    pytest.param(r'"\"Medtronic, Inc.\"" <u@legit.test>', id="quoted pairs (OpenDMARC #72)"),
    pytest.param('"u@other.test" <u@legit.test>', id="quoted address as display name"),
    pytest.param('"<u@other.test>" <u@legit.test>', id="quoted angle address as display name"),
    pytest.param("(u@other.test) u@legit.test", id="comment before"),
    pytest.param("u@(c)legit.test (x@y)", id="comments around the domain"),
    pytest.param("u(a)@(b)legit.test(c)", id="FROM-09 comments everywhere"),
    pytest.param(r"u@legit.test (a (nested \) <x@other.test>) comment)", id="nested comment"),
    pytest.param('"a@x"@legit.test', id="quoted local part with an at sign"),
    pytest.param('"a b"@legit.test', id="quoted local part with a space"),
    pytest.param('""@legit.test', id="empty quoted local part"),
    pytest.param("<@x,@any:admin@legit.test>", id="A16 source route"),
    pytest.param("<@[192.0.2.1]:admin@legit.test>", id="route over an address"),
    pytest.param("N <@x.test:admin@legit.test>", id="route with one host"),
    pytest.param("g: a@legit.test;", id="FROM-07 group"),
    pytest.param("g: A <a@legit.test>, b@legit.test; (c)", id="FROM-07 group of two"),
    pytest.param("g:;, a@legit.test", id="empty group beside an address"),
    pytest.param("a@legit.test, B <b@LEGIT.test>", id="FROM-04 one domain twice"),
    pytest.param("u@LEGIT.Test", id="FROM-11 case"),
    pytest.param("u@legit.test.", id="FROM-10 trailing dot"),
    pytest.param("\r\n A Name\r\n\t<u@legit.test>", id="folded"),
    pytest.param("u@legit.test\r\n ", id="blank last line"),
    pytest.param("John Q. Public <u@legit.test>", id="dot in the display name"),
    pytest.param("Legit.test <u@legit.test>", id="domain as display name"),
    pytest.param("=?utf-8?q?J=C3=BCrgen?= <u@legit.test>", id="encoded display name"),
    pytest.param(
        "=?utf-8?q?=3Ca=40other=2Etest=3E=2C?= <u@legit.test>", id="FROM-08 encoded address in the name"
    ),
    pytest.param("Jürgen <u@legit.test>", id="raw UTF-8 display name"),
    pytest.param("jürgen@legit.test", id="raw UTF-8 local part"),
    pytest.param("!#$%&'*+-/=?^_`{|}~@legit.test", id="every atom character"),
    pytest.param("bounce+a=b.c@legit.test", id="VERP"),
]


@pytest.mark.parametrize("value", ONE_DOMAIN)
def test_the_author_domain_is_that_of_the_address(value: str) -> None:
    """FROM-01: never the display name, a comment or a route."""
    author = author_of(value.encode())

    assert (author.domains, author.unusable) == (("legit.test",), "")


UNUSABLE = [
    pytest.param("", "From is empty", id="FROM-06 empty"),
    pytest.param(" \t", "From is empty", id="white space"),
    pytest.param("(only a comment)", "From is empty", id="only a comment"),
    pytest.param("postmaster", NO_DOMAIN, id="FROM-06 no at sign"),
    pytest.param("<postmaster>", NO_DOMAIN, id="no at sign in angles"),
    pytest.param("a@legit.test, postmaster", NO_DOMAIN, id="CVE-2021-34555 one address lacks a domain"),
    pytest.param("undisclosed:;", NO_DOMAIN, id="FROM-06 empty group"),
    pytest.param("=?utf-8?q?admin=40legit=2Etest?=", NO_DOMAIN, id="A15 encoded-word as address"),
    pytest.param("u@[192.0.2.1]", "From has an address in place of a domain", id="FROM-06 IPv4 literal"),
    pytest.param(
        "u@[IPv6:2001:db8::1]", "From has an address in place of a domain", id="FROM-06 IPv6 literal"
    ),
    pytest.param(
        "a@legit.test, u@[192.0.2.1]", "From has an address in place of a domain", id="literal beside"
    ),
    pytest.param("=?utf-8?b?PGFkbWluQGxlZ2l0LnRlc3Q+?=,<b@other.test>", NO_DOMAIN, id="A15 with a second"),
    pytest.param("=?utf-8?q?x?=@legit.test", BROKEN, id="FROM-08 encoded-word as local part"),
    pytest.param('"=?utf-8?q?x?="@legit.test', BROKEN, id="FROM-08 encoded-word in a quoted local part"),
    pytest.param("u@=?utf-8?q?legit=2Etest?=", "From has an invalid domain", id="FROM-08 as domain"),
    pytest.param(r"<admin@legit.test>\,<b@other.test>", BROKEN, id="A17 quoted pair outside quotes"),
    pytest.param("<any@other.test>admin@legit.test", BROKEN, id="A19 text after the angle"),
    pytest.param("<any@other.test> Name", BROKEN, id="words after the angle"),
    pytest.param("a@other.test <u@legit.test>", BROKEN, id="address as bare display name"),
    pytest.param("user@legit.test>", BROKEN, id="FROM-10 unbalanced > (OpenDMARC #113)"),
    pytest.param("<user@legit.test", BROKEN, id="FROM-10 unbalanced <"),
    pytest.param("<<user@legit.test>>", BROKEN, id="doubled angles"),
    pytest.param("<>", BROKEN, id="empty angles"),
    pytest.param("Name <>", BROKEN, id="name and empty angles"),
    pytest.param("@legit.test", BROKEN, id="no local part"),
    pytest.param("u@", BROKEN, id="nothing after the at sign"),
    pytest.param("u@x@legit.test", BROKEN, id="two at signs"),
    pytest.param(".u@legit.test", BROKEN, id="local part begins with a dot"),
    pytest.param("u..v@legit.test", BROKEN, id="two dots in the local part"),
    pytest.param('a"b"@legit.test', BROKEN, id="atom and quoted string"),
    pytest.param("u v@legit.test", BROKEN, id="space in the local part"),
    pytest.param("u@legit .test", BROKEN, id="space in the domain"),
    pytest.param("u@legit(c).test", BROKEN, id="comment in the domain"),
    pytest.param("a@legit.test b@other.test", BROKEN, id="no comma"),
    pytest.param("a@legit.test;b@other.test", BROKEN, id="semicolon as separator"),
    pytest.param("a@legit.test,", BROKEN, id="trailing comma"),
    pytest.param(",a@legit.test", BROKEN, id="leading comma"),
    pytest.param("Inc., Legit <a@legit.test>", NO_DOMAIN, id="comma in a bare display name"),
    pytest.param("g: a@legit.test", BROKEN, id="group without its end"),
    pytest.param("g: h: a@legit.test;;", BROKEN, id="group in a group"),
    pytest.param(": a@legit.test;", BROKEN, id="group without a name"),
    pytest.param("<@x.test,,@y.test:a@legit.test>", BROKEN, id="route with an empty part"),
    pytest.param("<@.test:a@legit.test>", BROKEN, id="route over an empty label"),
    pytest.param("<@[19 2.0.2.1]:a@legit.test>", BROKEN, id="route over an address with a space"),
    pytest.param("<@x.test a@legit.test>", BROKEN, id="route without a colon"),
    pytest.param("<x.test:a@legit.test>", BROKEN, id="route without an at sign"),
    pytest.param("(open u@legit.test", BROKEN, id="comment without its end"),
    pytest.param("u@legit.test)", BROKEN, id="parenthesis without its beginning"),
    pytest.param('"open <u@legit.test>', BROKEN, id="quoted string without its end"),
    pytest.param("u@[192.0.2.1", BROKEN, id="literal without its end"),
    pytest.param("[List] Name <u@legit.test>", BROKEN, id="brackets in a bare display name"),
    pytest.param("a\x0bb <u@legit.test>", BROKEN, id="control character"),
    pytest.param("N <u@legit.test\x7f>", BROKEN, id="DEL in the domain"),
    pytest.param("N\r\n \r\n <u@legit.test>", BROKEN, id="blank line in the field"),
    pytest.param("(" * 5000 + "u@legit.test", BROKEN, id="comments nested thousands deep"),
    pytest.param("u@.legit.test", "From has an invalid domain", id="domain begins with a dot"),
    pytest.param("u@legit..test", "From has an invalid domain", id="two dots in the domain"),
    pytest.param("u@legit.test..", "From has an invalid domain", id="two trailing dots"),
    pytest.param("u@-legit.test", "From has an invalid domain", id="hyphen first"),
    pytest.param("u@legit'.test", "From has an invalid domain", id="quote in the domain"),
    pytest.param("u@leg!it.test", "From has an invalid domain", id="atom character in the domain"),
    pytest.param("u@" + "a" * 64 + ".test", "From has an invalid domain", id="T18 label too long"),
    pytest.param("u@" + ".".join(["a" * 49] * 6), "From has an invalid domain", id="T18 name too long"),
    pytest.param("u@bü\u200dcher.example", "From has an invalid domain", id="FROM-11 not allowed by IDNA"),
]


@pytest.mark.parametrize(("value", "reason"), UNUSABLE)
def test_what_could_be_read_in_two_ways_is_unusable(value: str, reason: str) -> None:
    """T2: whatever is outside the grammar is unusable, never "no record"."""
    author = author_of(value.encode())

    assert author == Author(unusable=reason)


@pytest.mark.parametrize(
    ("value", "domains"),
    [
        pytest.param("<a@x.test>, <b@y.test>", ("x.test", "y.test"), id="A14 two mailboxes"),
        pytest.param("a@x.test, <b@y.test>", ("x.test", "y.test"), id="A18 bare and angle"),
        pytest.param("g: a@y.test, b@x.test;, c@y.test", ("y.test", "x.test"), id="group and address"),
    ],
)
def test_from_05_several_domains_are_kept_in_order(value: str, domains: tuple[str, ...]) -> None:
    assert author_of(value.encode()) == Author(domains)


def test_from_05_more_domains_than_the_cap_are_incomplete() -> None:
    value = ", ".join(f"u@d{number}.test" for number in range(MAX_DOMAINS + 1))

    author = author_of(value.encode())

    assert author == Author(tuple(f"d{number}.test" for number in range(MAX_DOMAINS)), incomplete=True)


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        pytest.param("u@bücher.example".encode(), "xn--bcher-kva.example", id="UTF-8 U-label"),
        pytest.param("u@BÜCHER.example".encode(), "xn--bcher-kva.example", id="upper case"),
        pytest.param(b"u@XN--bcher-KVA.example", "xn--bcher-kva.example", id="A-label"),
        pytest.param("u@bücher。example".encode(), "xn--bcher-kva.example", id="ideographic full stop"),
        pytest.param("u@faß.example".encode(), "xn--fa-hia.example", id="non-transitional"),
        pytest.param(b"\xff\xfe <u@legit.test>", "legit.test", id="FROM-14 invalid UTF-8 in the name"),
        pytest.param(b"\xff@legit.test", "legit.test", id="FROM-14 invalid UTF-8 in the local part"),
    ],
)
def test_from_11_domains_are_compared_as_a_labels(value: bytes, domain: str) -> None:
    assert author_of(value).domains == (domain,)


def test_from_11_invalid_utf_8_in_the_domain_is_unusable() -> None:
    assert author_of(b"u@leg\xfcit.test").unusable == "From has an invalid domain"


def test_from_10_a_trailing_dot_is_noted() -> None:
    assert author_of(b"u@legit.test.").trailing_dot
    assert not author_of(b"u@legit.test").trailing_dot


def test_from_12_too_many_addresses_are_not_cut_short() -> None:
    enough = ",".join(["u@legit.test"] * MAX_ADDRESSES).encode()

    assert author_of(enough).domains == ("legit.test",)
    assert author_of(enough + b",u@legit.test").unusable == "From has too many addresses"


def test_t43_a_field_of_too_many_parts_is_not_cut_short() -> None:
    enough = b"()" * (MAX_TOKENS - 3) + b"u@legit.test"

    assert author_of(enough).domains == ("legit.test",)
    assert author_of(b"()" + enough).unusable == "From has too many parts"


def test_from_12_a_long_field_is_not_cut_short() -> None:
    value = b"u@legit.test" + b" " * (MAX_FROM_OCTETS - 12)

    assert author_of(value).domains == ("legit.test",)
    assert author_of(value + b" ").unusable == "From is too long"


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"(", id="parentheses"),
        pytest.param(b"()", id="comments"),
        pytest.param(b"<", id="angles"),
        pytest.param(b",", id="commas"),
        pytest.param(b'"', id="quotation marks"),
        pytest.param(b'""', id="quoted strings"),
        pytest.param(b'"\\', id="quoted pairs"),
        pytest.param(b"a ", id="words"),
        pytest.param(b"a@", id="at signs"),
        pytest.param(b"a.", id="dots"),
        pytest.param(b"a@b,", id="addresses"),
        pytest.param(b"g:;,", id="groups"),
        pytest.param(b"=?x?q?=40?=", id="encoded-words"),
        pytest.param(b"\r\n ", id="folds"),
        pytest.param(b" ", id="spaces"),
        pytest.param(b"[", id="brackets"),
    ],
)
@pytest.mark.timeout(60)
def test_t43_hostile_megabytes_end(octets: bytes, message_of: MessageOf) -> None:
    """The standard library needs 37 s for 100 kB of commas."""
    largest = octets * (MAX_FROM_OCTETS // len(octets))
    megabyte = octets * (1_000_000 // len(octets))

    author_of(largest)
    author_of(b'"' + largest[: MAX_FROM_OCTETS - 2])
    author_of(b"(" + largest[: MAX_FROM_OCTETS - 2])

    assert find_author(message_of((b"From", megabyte))).unusable


def test_from_03_two_from_fields_are_unusable(message_of: MessageOf) -> None:
    """A8, CVE-2019-16378."""
    message = message_of((b"From", b" a@legit.test"), (b"From", b" a@legit.test"))

    assert find_author(message) == Author(unusable="several From fields")


def test_from_13_white_space_before_the_colon_is_from_all_the_same(message_of: MessageOf) -> None:
    """A10; the standard library loses the second field."""
    message = message_of((b"From ", b" a@legit.test"), (b"from", b" b@other.test"))

    assert find_author(message).unusable == "several From fields"
    assert find_author(message_of((b"FROM\t", b" a@legit.test"))).domains == ("legit.test",)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([(b"Sender", b" a@legit.test")], id="A12 Sender"),
        pytest.param([(b"Resent-From", b" a@legit.test")], id="A13 Resent-From"),
        pytest.param([(b"Reply-To", b" a@legit.test"), (b"X-From", b" a@legit.test")], id="others"),
        pytest.param([], id="no field at all"),
    ],
)
def test_s4_nothing_but_from_names_the_author(
    fields: list[tuple[bytes, bytes]], message_of: MessageOf
) -> None:
    assert find_author(message_of(*fields)) == Author(unusable="no From field")


def test_s4_a_broken_from_is_not_replaced_by_sender(message_of: MessageOf) -> None:
    message = message_of((b"From", b" postmaster"), (b"Sender", b" a@legit.test"))

    assert find_author(message).unusable == NO_DOMAIN


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b" From: a@legit.test\r\nFrom: b@other.test\r\n\r\n", id="A9 leading space"),
        pytest.param(b"From\r\n : a@legit.test\r\nFrom: b@other.test\r\n\r\n", id="A11 folded name"),
    ],
)
def test_from_13_a_header_that_begins_with_no_field_has_no_from(octets: bytes, message_of: MessageOf) -> None:
    """As Postfix has it: what follows is body."""
    fields, _ = split_message(octets)
    message = message_of(*((field.name, field.value) for field in fields))

    assert find_author(message) == Author(unusable="no From field")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(b"Subject", b" a\rb", id="bare CR"),
        pytest.param(b"Subject", b" a\nb", id="bare LF"),
        pytest.param(b"Subject", b" a\n b", id="bare LF before white space"),
        pytest.param(b"Subject", b" a\r\nFrom: b@other.test", id="line end without white space"),
        pytest.param(b"Subject", b" a\r\n", id="line end at the end"),
        pytest.param(b"Subject", b" a\r\r\n b", id="CR before a fold"),
        pytest.param(b"Subject", b" a\0b", id="NUL"),
        pytest.param(b"Sub\0ject", b" a", id="NUL in a name"),
        pytest.param(b"Sub ject", b" a", id="space in a name"),
        pytest.param(b"Subject\r\n ", b" a", id="folded name"),
        pytest.param(b"", b" a", id="no name"),
        pytest.param(b"Subject", b"a" * (256 * 1024), id="FROM-14 more than 256 kB"),
    ],
)
def test_from_13_a_malformed_header_is_unusable(name: bytes, value: bytes, message_of: MessageOf) -> None:
    message = message_of((b"From", b" a@legit.test"), (name, value))

    assert find_author(message) == Author(unusable="malformed header")


def test_folds_are_no_malformation(message_of: MessageOf) -> None:
    message = message_of((b"Subject", b" a\r\n b\r\n\tc"), (b"From", b"\r\n a@legit.test"))

    assert find_author(message).domains == ("legit.test",)
