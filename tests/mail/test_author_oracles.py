"""The From parser beside the standard library's two: where we name one domain, no other parser names another (T2)."""

from collections.abc import Iterable
from email.headerregistry import HeaderRegistry
from email.utils import getaddresses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.mail.author import Author, author_of
from appliance.mail.domain import InvalidDomain, to_a_label
from tests.mail.from_fields import FromFields

EXAMPLES = settings(max_examples=400)

DOMAINS = st.sampled_from(["legit.test", "LEGIT.test", "other.test", "legit.test.", "xn--bcher-kva.example"])
SPACE = st.sampled_from(["", "", "", "", " ", "(c)", " (u@other.test) ", "\r\n ", "(a(b)c)", "(\\))"])
WORDS = st.sampled_from(
    ["a", "Name", "J.", "é", "'", '"q"', '"u@other.test"', '"<u@other.test>"', '"a, b"', r'"\""']
    + [f"=?utf-8?q?{text}?=" for text in ("a=40other=2Etest", "=22", "=2C", "=3Ca=40other=2Etest=3E")]
    + ["=?utf-8?b?PGFAb3RoZXIudGVzdD4=?="]
)
LOCAL_PARTS = st.sampled_from(
    ["u", "u.v", "é", "u+x=y", "'u", '""', '"a b"', '"a@other.test"', '"<"', '","', r'"\""', "=?utf-8?q?a?="]
)
ROUTES = st.sampled_from(["", "", "", "@x.test:", "@x.test,@other.test:", "@[192.0.2.1]:"])
SPECIALS = st.sampled_from('@<>,;:"()\\. aé')
SCRAPS = st.sampled_from(
    [
        "legit.test",
        "u@legit.test",
        "<u@other.test>",
        "[192.0.2.1]",
        "g:",
        '"q"',
        "(c)",
        "\r\n ",
        "=?x?q?a=40b=2Etest?=",
    ]
)
PIECES = SPECIALS | SCRAPS

ADDRESSES = st.tuples(SPACE, LOCAL_PARTS, SPACE, st.just("@"), SPACE, DOMAINS, SPACE).map("".join)
NAMED = st.tuples(
    st.lists(WORDS, max_size=3).map(" ".join), SPACE, st.just("<"), ROUTES, ADDRESSES, st.just(">"), SPACE
).map("".join)
MAILBOXES = ADDRESSES | NAMED
GROUPS = st.tuples(WORDS, st.just(":"), st.lists(MAILBOXES, max_size=2).map(",".join), st.just(";")).map(
    "".join
)
FIELDS = st.lists(MAILBOXES | NAMED | GROUPS, min_size=1, max_size=2).map(",".join)


def legacy_domains(value: str) -> set[str]:
    """What ``email.utils`` finds. It makes addresses without a local part out of a route (standards: A16)."""
    return domains(address for _, address in getaddresses([value]) if not address.startswith("@"))


def modern_domains(value: str) -> set[str]:
    """What the ``email`` package's policies find; nothing when it raises one of its many errors.

    What it can't parse it takes for a local part without a domain, at signs and angle brackets included; such an
    address names no domain.
    """
    try:
        header: Any = HeaderRegistry()("From", value)
    except (AttributeError, IndexError, TypeError, ValueError):
        return set()
    return domains(address.addr_spec for address in header.addresses if address.domain)


def domains(addresses: Iterable[str]) -> set[str]:
    found = set()
    for address in addresses:
        if "@" in address:
            name = address.rpartition("@")[2].strip()
            try:
                found.add(to_a_label(name))
            except InvalidDomain:
                found.add(f"invalid {name}")
    return found


def agree(value: str, author: Author) -> bool:
    unfolded = value.replace("\r\n", "")
    found = [legacy_domains(unfolded)]
    if not author.trailing_dot:  # the modern API takes the display name for the address then
        found.append(modern_domains(unfolded))
    return all(not each or each == set(author.domains) for each in found)


@EXAMPLES
@given(value=FIELDS)
def test_t2_no_parser_finds_another_domain_in_a_proper_field(value: str) -> None:
    author = author_of(value.encode())

    assert len(author.domains) != 1 or agree(value, author), author


@EXAMPLES
@given(value=FIELDS, at=st.integers(0, 200), piece=PIECES)
def test_t2_no_parser_finds_another_domain_in_a_damaged_field(value: str, at: int, piece: str) -> None:
    damaged = value[:at] + piece + value[at:]

    author = author_of(damaged.encode())

    assert len(author.domains) != 1 or agree(damaged, author), author


@EXAMPLES
@given(value=st.lists(PIECES, max_size=9).map("".join))
def test_t2_no_parser_finds_another_domain_in_scraps(value: str) -> None:
    author = author_of(value.encode())

    assert len(author.domains) != 1 or agree(value, author), author


@pytest.mark.parametrize("seed", range(20))
def test_t2_no_parser_finds_another_domain_in_any_of_200000_fields(seed: int, long_run: bool) -> None:
    """Without ``--long`` in 5,000 of them."""
    made = FromFields(seed)
    fields = [made.field() for _ in range(10_000 if long_run else 250)]

    named = [(field, author) for field in fields if len((author := author_of(field.encode())).domains) == 1]

    assert [field for field, author in named if not agree(field, author)] == []
    assert len(named) > len(fields) // 10, "too few of the fields are usable to tell anything"


@given(value=st.binary(max_size=200) | st.lists(PIECES).map(lambda pieces: "".join(pieces).encode()))
def test_any_octets_give_domains_or_a_reason(value: bytes) -> None:
    author = author_of(value)

    assert bool(author.domains) is not bool(author.unusable)
    assert author.unusable.isascii()
    assert all(to_a_label(domain) == domain for domain in author.domains)
