"""Domain names as they are compared: A-labels, lower case, no trailing dot (FROM-10, FROM-11, T18)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.domain import InvalidDomain, domain_of, is_below, is_domain, to_a_label, to_u_label


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Example.COM", "example.com", id="case"),
        pytest.param("example.com.", "example.com", id="trailing dot"),
        pytest.param("_dmarc.example.com", "_dmarc.example.com", id="underscore"),
        pytest.param("a--b.example", "a--b.example", id="hyphens"),
        pytest.param("Bücher.example", "xn--bcher-kva.example", id="U-label"),
        pytest.param("faß.example", "xn--fa-hia.example", id="non-transitional"),
        pytest.param("XN--BCHER-KVA.example", "xn--bcher-kva.example", id="A-label"),
        pytest.param(
            ".".join(["a" * 61] * 4) + ".aaaaa", ".".join(["a" * 61] * 4) + ".aaaaa", id="253 octets"
        ),
    ],
)
def test_a_name_is_made_comparable(text: str, expected: str) -> None:
    assert to_a_label(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        ".a",
        "a..",
        "-a.b",
        "a-.b",
        "a b",
        "a\0b",
        "a\n",
        "a'b",
        'a"b',
        "a@b",
        "a/b",
        "*.a",
        "\udcff.example",
        "\u200d.example",
        "a" * 64,
        ".".join(["a" * 61] * 4) + ".aaaaaa",
        "é" * 100_000,
        "a" * 100_000,
    ],
    ids=repr,
)
def test_what_is_no_name_is_refused(text: str) -> None:
    assert not is_domain(text)
    with pytest.raises(InvalidDomain):
        to_a_label(text)


@given(text=st.text(max_size=40))
def test_a_comparable_name_stays_as_it_is(text: str) -> None:
    if is_domain(text):
        name = to_a_label(text)

        assert to_a_label(name) == name
        assert name.isascii()
        assert name == name.lower()


def test_u_labels_are_for_people() -> None:
    assert to_u_label("xn--bcher-kva.example") == "bücher.example"
    assert to_u_label("xn--a.example") == "xn--a.example"
    assert to_u_label("example.com") == "example.com"


def test_a_name_is_below_its_ancestors_only() -> None:
    assert is_below("a.example.com", "example.com")
    assert not is_below("example.com", "example.com")
    assert not is_below("badexample.com", "example.com")


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        pytest.param("u@example.com", "example.com", id="plain"),
        pytest.param('"a@b"@example.com', "example.com", id="quoted at sign"),
        pytest.param(r'"a\"@b"@example.com', "example.com", id="quoted pair"),
        pytest.param("@x,@y:u@example.com", "example.com", id="A7 source route"),
        pytest.param("any@legit.test'@any.att.test", "any.att.test", id="A6 two at signs"),
        pytest.param('"a@b', "", id="open quotation"),
        pytest.param("postmaster", "", id="no at sign"),
        pytest.param("", "", id="empty"),
    ],
)
def test_a_domain_stands_behind_the_last_at_sign_outside_quotes(address: str, domain: str) -> None:
    assert domain_of(address) == domain
