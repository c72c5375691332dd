"""Whatever comes from the MTA, in whatever pieces: it parses, or it is a protocol error."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.message import HeaderField
from appliance.milter.connection import Event, MessageReceived, MilterConnection
from appliance.milter.replies import Accept
from appliance.milter.wire import Command, ProtocolError
from tests.milter.frames import frame, offer

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


MESSAGE = [
    frame(b"D", b"M{auth_authen}\0joe\0"),
    frame(b"M", b"<a@example.org>\0SIZE=99\0"),
    frame(b"D", b"R{rcpt_addr}\0b@dest.test\0"),
    frame(b"R", b"<b@dest.test>\0NOTIFY=NEVER\0"),
    frame(b"D", b"Ti\x004ZqK1\0"),
    frame(b"T"),
    frame(b"D", b"Li\x004ZqK1\0"),
    frame(b"L", b"From\0 a@example.org\0"),
    frame(b"L", b"Subject\0 x\n\ty\0"),
    frame(b"N"),
    frame(b"B", b"one\r\n" * 20),
    frame(b"B", b"two\r\n"),
    frame(b"D", b"Ei\x004ZqK1\0"),
    frame(b"E"),
]

SESSION = [
    offer(protocol=0x100080),
    frame(b"D", b"Cj\0mx.example\0"),
    frame(b"C", b"mail.example.org\x006\x9c\x40IPv6:2001:db8::1\0"),
    frame(b"H", b"mail.example.org\0"),
    *MESSAGE,
    frame(b"A"),
    frame(b"U", b"WHAT\0"),
    *MESSAGE,
    frame(b"A"),
    frame(b"Q"),
]

REPLY = Accept(insert=(HeaderField(b"Authentication-Results", b" mx.example; none"),))


def converse(pieces: Sequence[bytes]) -> tuple[list[Event], bytes]:
    """What comes of *pieces*: all events, and all octets sent, with every message accepted at once."""
    connection = MilterConnection(max_message_octets=1 << 20)
    events = []
    output = b""
    for piece in pieces:
        happened = connection.receive(piece, NOW)
        events += happened
        for event in happened:
            if isinstance(event, MessageReceived):
                connection.reply(REPLY)
        output += connection.data_to_send()
    return events, output


# An MTA waits for the reply after end-of-message, so a piece ends there at the latest.
TURNS = [
    b"".join(SESSION[: 4 + len(MESSAGE)]),
    b"".join(SESSION[4 + len(MESSAGE) : 6 + 2 * len(MESSAGE)]),
    b"".join(SESSION[6 + 2 * len(MESSAGE) :]),
]
WHOLE = converse(TURNS)


def cut(octets: bytes, places: Sequence[int]) -> list[bytes]:
    return [octets[start:stop] for start, stop in pairwise([0, *sorted(places), len(octets)])]


@given(st.tuples(*[st.lists(st.integers(0, len(turn)), max_size=30) for turn in TURNS]))
def test_a_session_means_the_same_however_it_is_chunked(places: tuple[list[int], ...]) -> None:
    pieces = [piece for turn, at in zip(TURNS, places, strict=True) for piece in cut(turn, at)]

    assert converse(pieces) == WHOLE


def test_a_session_means_the_same_in_single_octets() -> None:
    pieces = [bytes((octet,)) for turn in TURNS for octet in turn]

    assert converse(pieces) == WHOLE


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_any_octets_parse_or_are_a_protocol_error(pieces: list[bytes]) -> None:
    parses_or_is_a_protocol_error(pieces)


frames = st.builds(
    frame,
    st.sampled_from([bytes((command,)) for command in Command]),
    st.one_of(
        st.binary(max_size=60),
        st.lists(st.binary(max_size=12), max_size=5).map(lambda strings: b"\0".join([*strings, b""])),
    ),
)


@given(st.lists(frames, max_size=40))
def test_any_frames_parse_or_are_a_protocol_error(pieces: list[bytes]) -> None:
    parses_or_is_a_protocol_error([SESSION[0], SESSION[2], *pieces])


@given(st.data())
def test_a_damaged_session_parses_or_is_a_protocol_error(data: st.DataObject) -> None:
    pieces = list(SESSION)
    for _ in range(data.draw(st.integers(1, 4), label="damages")):
        at = data.draw(st.integers(0, len(pieces) - 1), label="frame")
        match data.draw(
            st.sampled_from(["drop", "repeat", "move", "flip", "cut", "payload"]), label="damage"
        ):
            case "drop" if len(pieces) > 1:
                del pieces[at]
            case "repeat":
                pieces.insert(at, pieces[at])
            case "move":
                pieces.insert(data.draw(st.integers(0, len(pieces) - 1), label="to"), pieces.pop(at))
            case "flip" if pieces[at]:
                octets = bytearray(pieces[at])
                octets[data.draw(st.integers(0, len(octets) - 1), label="octet")] ^= data.draw(
                    st.integers(1, 255)
                )
                pieces[at] = bytes(octets)
            case "cut":
                pieces[at] = pieces[at][: data.draw(st.integers(0, len(pieces[at])), label="length")]
            case "payload":
                pieces[at] = frame(pieces[at][4:5] or b"A", data.draw(st.binary(max_size=60)))

    parses_or_is_a_protocol_error(pieces)


def parses_or_is_a_protocol_error(pieces: Sequence[bytes]) -> None:
    try:
        events, _ = converse(pieces)
    except ProtocolError:
        return
    for event in events:
        if isinstance(event, MessageReceived):
            event.message.envelope.mail_from.encode("utf-8", "surrogateescape")
            assert event.message.octets
