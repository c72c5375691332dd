"""The tokens of a structured header field (RFC 5322 section 3.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.tokens import MAX_COMMENT_DEPTH, Kind, NotStructured, Token, tokens

ATOM, QUOTED, LITERAL, SPECIAL, COMMENT = Kind.ATOM, Kind.QUOTED, Kind.LITERAL, Kind.SPECIAL, Kind.COMMENT


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(b"", [], id="empty"),
        pytest.param(b" \t \r\n ", [], id="white space"),
        pytest.param(b" a.b=c/d?e", [(ATOM, "a.b=c/d?e")], id="atom with dots"),
        pytest.param(b'"a \\"b\\\\"', [(QUOTED, 'a "b\\')], id="quoted pairs"),
        pytest.param(b'"a\r\n b"', [(QUOTED, "a b")], id="folded quoted string"),
        pytest.param(b"(a (b) \\) c)d", [(COMMENT, "a (b) \\) c"), (ATOM, "d")], id="comment"),
        pytest.param(b'(")")', None, id="quotation marks mean nothing in a comment"),
        pytest.param(b"[192.0.2.1]:25", [(LITERAL, "192.0.2.1"), (SPECIAL, ":"), (ATOM, "25")], id="literal"),
        pytest.param(
            b"a@b;<,>",
            [(ATOM, "a"), *((SPECIAL, s) for s in "@"), (ATOM, "b"), *((SPECIAL, s) for s in ";<,>")],
            id="specials",
        ),
        pytest.param("ü\u00a0".encode(), [(ATOM, "ü\u00a0")], id="beyond ASCII"),
        pytest.param(b"\xff", [(ATOM, "\udcff")], id="not UTF-8"),
        pytest.param(
            b"(" * MAX_COMMENT_DEPTH + b")" * MAX_COMMENT_DEPTH,
            [(COMMENT, "(" * (MAX_COMMENT_DEPTH - 1) + ")" * (MAX_COMMENT_DEPTH - 1))],
            id="deepest comment",
        ),
        pytest.param(b"(" * (MAX_COMMENT_DEPTH + 1) + b")" * (MAX_COMMENT_DEPTH + 1), None, id="too deep"),
        pytest.param(b")", None, id="stray parenthesis"),
        pytest.param(b"a\\b", None, id="stray backslash"),
        pytest.param(b"]", None, id="stray bracket"),
        pytest.param(b"[a[b]", None, id="bracket in a literal"),
        pytest.param(b'"a', None, id="open quoted string"),
        pytest.param(b'"a\\', None, id="open quoted pair"),
        pytest.param(b'"a\\"', None, id="escaped end"),
        pytest.param(b"(a", None, id="open comment"),
        pytest.param(b'"a\0"', None, id="control in a quoted string"),
        pytest.param(b"(a\x0b)", None, id="control in a comment"),
        pytest.param(b'"\\\0"', None, id="escaped control"),
        pytest.param(b"a\rb", None, id="bare CR"),
        pytest.param(b"a\nb", None, id="bare LF"),
        pytest.param(b"a\r\nb", None, id="line end without white space"),
        pytest.param(b"a\r\n \r\n b", None, id="blank line"),
    ],
)
def test_a_field_is_cut_into_tokens_or_refused(value: bytes, expected: list[tuple[Kind, str]] | None) -> None:
    if expected is None:
        with pytest.raises(NotStructured):
            list(tokens(value))
    else:
        assert list(tokens(value)) == [Token(*each) for each in expected]


def test_what_stands_before_the_bad_place_is_still_told() -> None:
    assert next(tokens(b'example.org; "open')).text == "example.org"


@given(value=st.binary(max_size=100))
def test_any_octets_are_tokens_or_not_structured(value: bytes) -> None:
    try:
        found = list(tokens(value))
    except NotStructured:
        return

    assert all("\r" not in token.text and "\0" not in token.text for token in found)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "scrap", [b"(", b"(\\", b'"', b'"\\', b'""', b"()", b"[", b" ", b"\r\n ", b"a;", b"a"]
)
def test_t43_a_megabyte_of_anything_ends(scrap: bytes) -> None:
    value = scrap * (1_000_000 // len(scrap))

    try:
        last = list(tokens(value))[-1:]
    except NotStructured:
        last = []

    assert len(last) <= 1
