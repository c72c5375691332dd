"""Replies at end-of-message, as they go over the wire."""

import pytest

from appliance.mail.message import HeaderField
from appliance.milter.replies import Accept, Discard, Refuse, Reply, encode_reply
from appliance.milter.wire import FrameDecoder


def frames(reply: Reply, *names: bytes, leading_space: bool = True) -> list[tuple[str, bytes]]:
    fields = [HeaderField(name, b" x") for name in names]
    decoded = FrameDecoder().feed(encode_reply(reply, fields, leading_space=leading_space))
    return [(chr(code), payload) for code, payload in decoded]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(Accept(), ("c", b""), id="accept"),
        pytest.param(Discard(), ("d", b""), id="discard"),
        pytest.param(Refuse("550 5.7.26 No."), ("y", b"550 5.7.26 No.\0"), id="reject"),
        pytest.param(Refuse("451 4.7.1 Later."), ("y", b"451 4.7.1 Later.\0"), id="temporary failure"),
        pytest.param(Refuse("550 5.7.1 100% no"), ("y", b"550 5.7.1 100%% no\0"), id="percent sign"),
    ],
)
def test_a_verdict_is_one_frame(reply: Reply, expected: tuple[str, bytes]) -> None:
    assert frames(reply) == [expected]


def test_fields_are_deleted_from_the_bottom_up_by_name_and_occurrence() -> None:
    """T7: a deletion shifts the fields below it."""
    names = (b"A", b"From", b"a", b"B", b"A", b"b")

    sent = frames(Accept(delete=(0, 2, 4, 5)), *names)

    assert sent == [
        ("m", b"\0\0\0\2b\0\0"),
        ("m", b"\0\0\0\3A\0\0"),
        ("m", b"\0\0\0\2a\0\0"),
        ("m", b"\0\0\0\1A\0\0"),
        ("c", b""),
    ]


def test_fields_are_inserted_at_the_top_in_the_order_given() -> None:
    first, second = HeaderField(b"X-First", b" 1\r\n\tmore"), HeaderField(b"X-Second", b"2")

    sent = frames(Accept(insert=(first, second)))

    assert sent == [
        ("i", b"\0\0\0\0X-Second\x002\0"),
        ("i", b"\0\0\0\0X-First\0 1\n\tmore\0"),
        ("c", b""),
    ]


def test_deletions_go_before_insertions() -> None:
    """T7: an inserted field would count among those of its name."""
    sent = frames(Accept(delete=(0,), insert=(HeaderField(b"A", b" new"),)), b"A")

    assert [code for code, _ in sent] == ["m", "i", "c"]


def test_an_mta_that_adds_the_space_itself_gets_the_value_without_it() -> None:
    sent = frames(Accept(insert=(HeaderField(b"A", b"  x"),)), leading_space=False)

    assert sent[0] == ("i", b"\0\0\0\0A\0 x\0")


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("", id="empty"),
        pytest.param("250 2.0.0 Ok", id="success"),
        pytest.param("550 No.", id="no enhanced status code"),
        pytest.param("550 4.7.1 No.", id="codes disagree"),
        pytest.param("550-5.7.1 No.", id="to be continued"),
        pytest.param("550 5.7.1 No.\r\n250 2.0.0 Ok", id="two lines"),
        pytest.param("550 5.7.1 Näh.", id="not ASCII"),
        pytest.param("550 5.7.1 No.\0", id="NUL"),
        pytest.param("550 5.7.1 " + "x" * 501, id="too long"),
        pytest.param("٥50 5.7.1 No.", id="digits of other scripts"),
    ],
)
def test_an_smtp_reply_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="SMTP reply"):
        frames(Refuse(line))


@pytest.mark.parametrize(
    "field",
    [
        pytest.param(HeaderField(b"", b" x"), id="no name"),
        pytest.param(HeaderField(b"A b", b" x"), id="space in the name"),
        pytest.param(HeaderField(b"A", b" x\r\nBcc: y"), id="a second field"),
        pytest.param(HeaderField(b"A", b" x\r\n"), id="a fold without a line"),
        pytest.param(HeaderField(b"A", b" x\n y"), id="bare LF"),
        pytest.param(HeaderField(b"A", b" x\r y"), id="bare CR"),
        pytest.param(HeaderField(b"A", b" x\0y"), id="NUL"),
    ],
)
def test_a_field_that_would_break_the_header_is_refused(field: HeaderField) -> None:
    """T22."""
    with pytest.raises(ValueError, match="header field"):
        frames(Accept(insert=(field,)))


@pytest.mark.parametrize("position", [-1, 2])
def test_a_field_that_the_message_does_not_have_cannot_be_deleted(position: int) -> None:
    with pytest.raises(IndexError):
        frames(Accept(delete=(position,)), b"A", b"B")
