import pytest

from appliance.checks.tags import InvalidTags, parse_tags, without_value


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        pytest.param(b"v=1; a=b", {b"v": b"1", b"a": b"b"}, id="plain"),
        pytest.param(b" v = 1 ;\r\n\ta\t=\tb ; ", {b"v": b"1", b"a": b"b"}, id="white space"),
        pytest.param(b"a=b=c", {b"a": b"b=c"}, id="equals sign in a value"),
        pytest.param(b"p=;", {b"p": b""}, id="empty value"),
        pytest.param(b"b=ab\r\n cd", {b"b": b"ab cd"}, id="fold in a value"),
        pytest.param(b"A=1; a=2", {b"A": b"1", b"a": b"2"}, id="case tells tags apart"),
        pytest.param("d=b\u00fccher.example".encode(), {b"d": "b\u00fccher.example".encode()}, id="RFC 8616"),
        pytest.param(b"", {}, id="nothing"),
    ],
)
def test_tag_lists(text: bytes, tags: dict[bytes, bytes]) -> None:
    assert parse_tags(text) == tags


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"a=1; a=1", id="twice DKIM-05"),
        pytest.param(b"a=1;; b=2", id="empty tag"),
        pytest.param(b"a", id="no value"),
        pytest.param(b"=1", id="no name"),
        pytest.param(b"1a=1", id="name starting with a digit"),
        pytest.param(b"a b=1", id="space in a name"),
        pytest.param(b"a=1\x00", id="NUL DKIM-18"),
        pytest.param(b"a=1\n b=2", id="bare LF"),
    ],
)
def test_texts_that_are_no_tag_list(text: bytes) -> None:
    with pytest.raises(InvalidTags):
        parse_tags(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(b" a=1; b=x y\r\n z ; bh=q", b" a=1; b=; bh=q", id="between"),
        pytest.param(b" a=1; b = xyz\r\n", b" a=1; b =", id="last"),
        pytest.param(b" bh=b=; b=x", b" bh=b=; b=", id="not the one in bh"),
        pytest.param(b"b=x;a=1", b"b=;a=1", id="first"),
        pytest.param(b" a=1", b" a=1", id="absent"),
    ],
)
def test_cutting_out_the_signature(text: bytes, expected: bytes) -> None:
    """RFC 6376 section 3.7: with all surrounding white space."""
    assert without_value(text, b"b") == expected
