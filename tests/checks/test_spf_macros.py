"""Macros of SPF (RFC 7208 section 7)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.checks.spf_macros import expand, expand_name, is_domain_spec, is_explanation, is_macro_string

VALUES = {
    "s": "strong-bad@email.example.com",
    "l": "strong-bad",
    "o": "email.example.com",
    "d": "email.example.com",
    "i": "192.0.2.3",
    "p": "unknown",
    "v": "in-addr",
    "h": "mx.example.net",
}
IPV6_NIBBLES = "2.0.0.1.0.d.b.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.c.b.0.1"


def split(letter: str, delimiters: str) -> list[str]:
    return re.split(f"[{re.escape(delimiters)}]", VALUES[letter])


def split_ipv6(letter: str, delimiters: str) -> list[str]:
    return (
        IPV6_NIBBLES.split(".") if letter == "i" else ["ip6"] if letter == "v" else split(letter, delimiters)
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        ("%{d999999999999999999999}", "email.example.com"),
        ("%{d02}", "example.com"),
        ("%{D2R}", "example.email"),
        ("%{S}.%{h}", "strong-bad%40email.example.com.mx.example.net"),
        ("%%.%_.%-.%{d1}", "%. .%20.com"),
    ],
)
def test_spf_08_expansions(spec: str, expected: str) -> None:
    """The examples of section 7.4, and more."""
    assert is_domain_spec(spec)
    assert expand_name(spec, split) == expected


def test_spf_08_the_ipv6_example_of_section_7_4() -> None:
    assert expand_name("%{ir}.%{v}._spf.%{d2}", split_ipv6) == (
        "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
    )


@pytest.mark.parametrize(
    "spec",
    [
        "%{d0}",
        "%{d00}",
        "%{z}",
        "%{dx}",
        "%{d!}",
        "%{}",
        "%{d",
        "%",
        "%x",
        "100%",
        "%{c}",
        "%{r}",
        "%{t}",
        "%(ir)",
    ],
)
def test_spf_08_a_mistake_in_a_macro_is_one_wherever_it_stands(spec: str) -> None:
    """pyspf lets the first four through, or some of them (standards.md section 14)."""
    assert not is_macro_string(spec)
    assert not is_domain_spec(f"{spec}.example.com")


def test_spf_08_three_macros_are_for_explanations_only() -> None:
    assert is_explanation("%{c} %{R} %{t}")
    assert not is_domain_spec("%{c}.example.com")


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "com",
        "com.",
        ".",
        "a.1",
        "a.-b",
        "a.b-",
        "a.b.c_d",
        "%{d}x",
        "a..",
        "a b.example",
        "a.\u00e9",
        "a." + "x" * 64,
    ],
)
def test_a_domain_ends_in_a_top_level_label_or_in_a_macro(spec: str) -> None:
    assert not is_domain_spec(spec)


@pytest.mark.parametrize(
    "spec", ["a.b", "a.b.", ".b", "a..b", "a.1a", "a.1-1", "%{d}", "a.%%", "a/b:c.d", "x." + "x" * 63]
)
def test_domains_that_the_grammar_allows(spec: str) -> None:
    """Section 7.1; whether they can be in the DNS is another question."""
    assert is_domain_spec(spec)


@pytest.mark.parametrize(
    ("first", "kept"), [(1, 253), (2, 251), (9, 251)], ids=["exactly 253", "one too many", "some too many"]
)
def test_spf_08_a_long_name_loses_its_left_labels(first: int, kept: int) -> None:
    """Section 7.3."""
    name = "x" * first + ".abc" * 63

    assert len(name) == 252 + first
    assert expand_name(name, split) == name[-kept:]


def test_spf_08_a_long_name_loses_as_many_labels_as_it_takes() -> None:
    """pyspf drops only one."""
    name = expand_name("%{d}." * 30 + "example", split)

    assert name == "example.com." + "email.example.com." * 13 + "example"
    assert len(name) == 253


pieces = st.lists(
    st.sampled_from(["%{s}", "%{d}", "%{l-}", "%{ir}", "%{d1}", "%%", "a", "bc.", ".", "x" * 60, "y" * 300]),
    max_size=40,
)


@given(pieces)
def test_going_from_right_to_left_makes_no_difference(pieces: list[str]) -> None:
    whole = expand("".join(pieces), split).removesuffix(".")
    while len(whole) > 253 and "." in whole:
        whole = whole.partition(".")[2]

    assert expand_name("".join(pieces), split) == (whole if len(whole) <= 253 else "")


@pytest.mark.timeout(20)
def test_t15_a_record_of_nothing_but_macros_costs_little() -> None:
    asked = 0

    def long_value(letter: str, delimiters: str) -> list[str]:
        nonlocal asked
        asked += 1
        return ["x" * 50] * 40

    for _ in range(1000):
        expand_name("%{s}" * 2000, long_value)

    assert asked == 1000
