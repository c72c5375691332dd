"""standards.md 13.2: which addresses the URIs of a record name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.dmarc.record import parse_record
from reporting.mailto import MAX_DESTINATIONS, InvalidUri, MailAddress, parse_mailto, parse_mailtos


def rua(tag: bytes) -> list[str]:
    """The addresses of a record with this rua tag."""
    record = parse_record(b"v=DMARC1; p=none; rua=" + tag)
    assert record
    return [str(address) for address in parse_mailtos(record.rua)[0]]


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        pytest.param(
            b"mailto:a@x.test,mailto:b@x.test!10m , https://h.test/r",
            ["a@x.test", "b@x.test"],
            id="size limit and https",
        ),
        pytest.param(b"a@x.test", [], id="no scheme"),
        pytest.param(b"MAILTO:Reports@X.Test", ["Reports@x.test"], id="case of the local part is kept"),
        pytest.param(b"mailto:a@x.test?subject=x%0d%0abcc:z@z.test", ["a@x.test"], id="header part dropped"),
        pytest.param(b"mailto:a%2Cb@x.test", ['"a,b"@x.test'], id="quoted on output"),
        pytest.param(b"mailto:%22a b%22@x.test", [], id="a bare space is no URI"),
        pytest.param(b"mailto:%22a%20b%22@x.test", ['"a b"@x.test'], id="quoted as published"),
        pytest.param(b"mailto:a%22%5C@x.test", ['"a\\"\\\\"@x.test'], id="quotation mark and backslash"),
        pytest.param(b"mailto:a@x.test,mailto:a@X.test,mailto:%61@x.test", ["a@x.test"], id="each once"),
        pytest.param(b"mailto:d@xn--mnchen-3ya.test", ["d@xn--mnchen-3ya.test"], id="A-label"),
        pytest.param(b"mailto:d@m%C3%BCnchen.test", ["d@xn--mnchen-3ya.test"], id="U-label becomes A-label"),
    ],
)
def test_rua_names_these_addresses_agg_41_agg_42(tag: bytes, expected: list[str]) -> None:
    assert rua(tag) == expected


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("https://x.test/r", id="another scheme"),
        pytest.param("mailto:", id="nothing"),
        pytest.param("mailto:a", id="no domain"),
        pytest.param("mailto:@x.test", id="no local part"),
        pytest.param("mailto:%22%22@x.test", id="an empty quoted local part"),
        pytest.param("mailto:a%0d%0abcc:z@x.test", id="CR LF"),
        pytest.param("mailto:a%00@x.test", id="NUL"),
        pytest.param("mailto:a%7f@x.test", id="DEL"),
        pytest.param("mailto:a@x.test%0aRCPT", id="LF in the domain"),
        pytest.param("mailto:a%zz@x.test", id="bad escape"),
        pytest.param("mailto:%ff@x.test", id="not UTF-8"),
        pytest.param("mailto:\ud800@x.test", id="no character"),
        pytest.param("mailto:j%C3%BCrgen@x.test", id="local part not ASCII"),
        pytest.param("mailto:" + "a" * 65 + "@x.test", id="local part too long"),
        pytest.param("mailto:a@" + "x" * 64 + ".test", id="label too long"),
        pytest.param('mailto:a@b\u00fccher"x.test', id="U-label with a quotation mark"),
        pytest.param("mailto:a@under_score.test", id="underscore"),
        pytest.param("mailto:a@-x.test", id="hyphen in front"),
        pytest.param("mailto:root@localhost", id="one label"),
        pytest.param("mailto:a@127.0.0.1", id="IPv4 address"),
        pytest.param("mailto:a@[127.0.0.1]", id="address literal"),
        pytest.param("mailto:a@x.test,b@y.test", id="two addresses"),
        pytest.param("mailto:a#b@x.test", id="fragment"),
    ],
)
def test_these_uris_get_no_report_t21_t22(uri: str) -> None:
    with pytest.raises(InvalidUri) as caught:
        parse_mailto(uri)

    assert str(caught.value).isascii()


def test_a_thousand_addresses_are_cut_to_ten_t21() -> None:
    addresses, problems = parse_mailtos(f"mailto:a{number}@x.test" for number in range(1000))

    assert [str(a) for a in addresses] == [f"a{number}@x.test" for number in range(MAX_DESTINATIONS)]
    assert problems == ("more than 10 addresses",)


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=120))
def test_any_uri_gives_an_address_fit_for_smtp_or_is_refused_t22(rest: str) -> None:
    try:
        address = parse_mailto("mailto:" + rest)
    except InvalidUri:
        return

    text = str(address)
    assert text.isascii()
    assert text.isprintable()
    assert "." in address.domain
    assert len(text) <= 254


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64))
def test_a_local_part_survives_quoting(local_part: str) -> None:
    address = MailAddress(local_part, "x.test")

    encoded = "".join(f"%{ord(char):02X}" for char in str(address).rpartition("@")[0])

    assert parse_mailto(f"mailto:{encoded}@x.test") == address
