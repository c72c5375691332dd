"""A message as received: header fields, body, octets."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.message import HeaderField, Message, split_message, unfold

MessageOf = Callable[..., Message]


@pytest.mark.parametrize(
    ("octets", "fields", "body"),
    [
        pytest.param(b"A: b\r\nC:d\r\n\r\nbody\r\n", [(b"A", b" b"), (b"C", b"d")], b"body\r\n", id="plain"),
        pytest.param(b"A: b\nC: d\n\nbody\n", [(b"A", b" b"), (b"C", b" d")], b"body\r\n", id="LF alone"),
        pytest.param(b"A: b\r\n c\r\n\td\r\n\r\n", [(b"A", b" b\r\n c\r\n\td")], b"", id="folds"),
        pytest.param(b"A : b\r\n\r\n", [(b"A ", b" b")], b"", id="white space before the colon"),
        pytest.param(b"A: b\r\n", [(b"A", b" b")], b"", id="no body"),
        pytest.param(b"\r\nbody", [], b"body", id="no header"),
        pytest.param(b"A: b\r\njunk\r\nC: d", [(b"A", b" b")], b"junk\r\nC: d", id="a line that is no field"),
        pytest.param(b" A: b\r\nC: d\r\n", [], b" A: b\r\nC: d\r\n", id="A9 leading space"),
        pytest.param(b"", [], b"", id="nothing"),
    ],
)
def test_a_message_is_split_as_postfix_splits_it(
    octets: bytes, fields: list[tuple[bytes, bytes]], body: bytes
) -> None:
    assert split_message(octets) == (tuple(HeaderField(*field) for field in fields), body)


@given(
    fields=st.lists(st.sampled_from([(b"A", b" b"), (b"B ", b"\r\n c"), (b"C", b"")]), max_size=5),
    body=st.binary(max_size=50).map(lambda octets: octets.replace(b"\r", b"").replace(b"\n", b"\r\n")),
)
def test_what_is_put_together_comes_apart_again(fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    made = tuple(HeaderField(*field) for field in fields)
    octets = b"".join(field.octets + b"\r\n" for field in made) + b"\r\n" + body

    assert split_message(octets) == (made, body)


def test_fields_are_found_by_name_in_any_case(message_of: MessageOf) -> None:
    message = message_of((b"subject", b" one"), (b"X", b""), (b"SUBJECT\t", b" two"))

    assert [field.value for field in message.fields_named("Subject")] == [b" one", b" two"]
    assert message.text("Subject") == "one"
    assert message.text("From") == ""


def test_the_octets_of_a_message_are_those_received(message_of: MessageOf) -> None:
    message = message_of((b"A", b" b\r\n c"))

    assert message.octets == b"A: b\r\n c\r\n\r\ntext\r\n"
    assert message.size_octets == len(message.octets)


def test_a_value_is_unfolded_for_people() -> None:
    assert unfold(b" a\r\n b\xff ") == "a b\ufffd"
