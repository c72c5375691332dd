"""Hostile text is shown, never obeyed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.explain.visible import MAX_CHARACTERS, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("Grüße, bank.example", "Grüße, bank.example", id="letters stay"),
        pytest.param("\x1b[2Jgone", "\\x1b[2Jgone", id="terminal sequence"),
        pytest.param("a\r\nb\tc", "a\\x0d\\x0ab\\x09c", id="line ends"),
        pytest.param("\u202eelpmaxe.knab", "\\u202eelpmaxe.knab", id="bidi override"),
        pytest.param("\u200bx\ufeff", "\\u200bx\\ufeff", id="invisible"),
        pytest.param("\U000e0041", "\\U000e0041", id="tag character"),
        pytest.param("caf\udce9", "caf\\xe9", id="octet of an envelope"),
        pytest.param(b"caf\xe9", "caf\\xe9", id="octets that are no UTF-8"),
        pytest.param(b"caf\xc3\xa9", "café", id="UTF-8 octets"),
    ],
)
def test_what_steers_is_shown_as_an_escape(text: str | bytes, shown: str) -> None:
    assert visible(text) == shown


def test_a_long_text_is_cut_and_says_so() -> None:
    shown = visible("x" * 1_000_000)

    assert shown == "x" * MAX_CHARACTERS + " … (1,000,000 characters)"


@given(st.one_of(st.text(), st.binary()))
def test_every_text_comes_out_printable_and_bounded(text: str | bytes) -> None:
    shown = visible(text, 20)

    assert shown.isprintable()
    assert len(shown) <= 20 * 10 + 30
