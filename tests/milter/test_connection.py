"""One milter connection, with the octets that Postfix sends."""

import struct
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address

import pytest

from appliance.mail.message import Envelope, HeaderField, Message, Recipient
from appliance.milter.connection import (
    MAX_MESSAGE_OCTETS,
    Closed,
    MessageReceived,
    MessageTooLarge,
    MilterConnection,
)
from appliance.milter.replies import Accept, Discard, Refuse
from appliance.milter.states import TRANSITIONS, State
from appliance.milter.wire import Command, ProtocolError
from tests.milter.frames import frame, offer

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

EVERYTHING_BUT_NO_REPLY = 0x100000
CONTINUE = b"\0\0\0\1c"


CONNECT = frame(b"D", b"Cj\0mx.example\0") + frame(b"C", b"mail.example.org\x004\x9c\x40192.0.2.1\0")
HELO = frame(b"D", b"H") + frame(b"H", b"mail.example.org\0")
MAIL = frame(b"D", b"M{auth_authen}\0joe\0") + frame(b"M", b"<a@example.org>\0SIZE=99\0BODY=8BITMIME\0")
RCPT = frame(b"D", b"R{rcpt_addr}\0b@dest.test\0") + frame(b"R", b"<b@dest.test>\0NOTIFY=NEVER\0")
DATA = frame(b"D", b"Ti\x004ZqK1\0") + frame(b"T")
HEADER = frame(b"D", b"Li\x004ZqK1\0") + frame(b"L", b"From\0 a@example.org\0") + frame(b"L", b"X\0y\n z\0")
END_OF_HEADERS = frame(b"D", b"Ni\x004ZqK1\0") + frame(b"N")
BODY = frame(b"D", b"Bi\x004ZqK1\0") + frame(b"B", b"one\r\n") + frame(b"B", b"two\r\n")
END = frame(b"D", b"Ei\x004ZqK1\0") + frame(b"E")
ABORT = frame(b"A")
QUIT = frame(b"Q")

SESSION = offer() + CONNECT + HELO
CONTENT = HEADER + END_OF_HEADERS + BODY + END
MESSAGE = MAIL + RCPT + DATA + CONTENT

RECEIVED = Message(
    Envelope(
        client_ip=IPv4Address("192.0.2.1"),
        client_name="mail.example.org",
        client_port=40000,
        helo="mail.example.org",
        mail_from="a@example.org",
        mail_parameters=("SIZE=99", "BODY=8BITMIME"),
        recipients=(Recipient("b@dest.test", ("NOTIFY=NEVER",)),),
        queue_id="4ZqK1",
        received_at=NOW,
        authenticated_as="joe",
    ),
    (HeaderField(b"From", b" a@example.org"), HeaderField(b"X", b"y\r\n z")),
    b"one\r\ntwo\r\n",
)


def ready() -> MilterConnection:
    """A connection with an SMTP session open, and nothing left to send."""
    connection = MilterConnection()
    connection.receive(SESSION, NOW)
    connection.data_to_send()
    return connection


def received(connection: MilterConnection, octets: bytes) -> Message:
    [event] = connection.receive(octets, NOW)
    assert isinstance(event, MessageReceived)
    return event.message


def test_a_message_is_received_as_it_was_sent() -> None:
    assert received(ready(), MESSAGE) == RECEIVED


def test_postfix_need_not_wait_before_end_of_message() -> None:
    connection = ready()

    connection.receive(MESSAGE, NOW)

    assert connection.data_to_send() == b""


@pytest.mark.parametrize(
    ("reply", "octets"),
    [
        pytest.param(Accept(), CONTINUE, id="accept"),
        pytest.param(Discard(), b"\0\0\0\1d", id="discard"),
        pytest.param(Refuse("550 5.7.26 No."), b"\0\0\0\x10y550 5.7.26 No.\0", id="refuse"),
        pytest.param(Accept(delete=(1,)), b"\0\0\0\x08m\0\0\0\1X\0\0" + CONTINUE, id="delete"),
    ],
)
def test_a_reply_is_sent(reply: Accept | Discard | Refuse, octets: bytes) -> None:
    connection = ready()
    connection.receive(MESSAGE, NOW)

    connection.reply(reply)

    assert connection.data_to_send() == octets
    assert connection.data_to_send() == b""


def test_everything_that_postfix_offers_and_we_use_is_asked_for() -> None:
    connection = MilterConnection()

    connection.receive(offer(), NOW)

    assert connection.data_to_send() == frame(
        b"O",
        struct.pack("!III", 6, 0x111, 0x1FF080)
        + b"\0\0\0\2{auth_authen}\0"
        + b"\0\0\0\4i\0"
        + b"\0\0\0\5i\0",
    )


@pytest.mark.parametrize(
    ("offered", "asked"),
    [
        pytest.param((2, 0x3F, 0x7F), (2, 0x11, 0), id="version 2"),
        pytest.param((4, 0x3F, 0x3FF), (4, 0x11, 0x80), id="version 4"),
        pytest.param((7, 0x3F, 0x1F0000), (6, 0x11, 0x1F0000), id="a version of the future"),
    ],
)
def test_nothing_is_asked_for_that_was_not_offered(
    offered: tuple[int, int, int], asked: tuple[int, int, int]
) -> None:
    connection = MilterConnection()

    connection.receive(offer(*offered), NOW)

    assert connection.data_to_send() == frame(b"O", struct.pack("!III", *asked))


@pytest.mark.parametrize(
    "offered",
    [
        pytest.param({"version": 1}, id="version 1"),
        pytest.param({"actions": 0x10}, id="no adding of fields"),
        pytest.param({"actions": 0x01}, id="no deleting of fields"),
    ],
)
def test_an_mta_that_offers_too_little_is_refused(offered: dict[str, int]) -> None:
    with pytest.raises(ProtocolError):
        MilterConnection().receive(offer(**offered), NOW)


def test_commands_are_answered_where_the_mta_insists() -> None:
    connection = MilterConnection()
    connection.receive(offer(protocol=EVERYTHING_BUT_NO_REPLY), NOW)
    connection.data_to_send()
    answers = []

    for octets in (
        CONNECT,
        HELO,
        MAIL,
        RCPT,
        frame(b"U", b"WHAT\0"),
        DATA,
        HEADER,
        END_OF_HEADERS,
        BODY,
        END,
    ):
        connection.receive(octets, NOW)
        answers.append(connection.data_to_send())

    two = CONTINUE * 2
    assert answers == [*[CONTINUE] * 6, two, CONTINUE, two, b""]


def test_only_the_commands_that_the_mta_insists_on_are_answered() -> None:
    connection = MilterConnection()
    connection.receive(offer(version=4, protocol=0x80), NOW)
    connection.data_to_send()

    connection.receive(CONNECT + HELO + MAIL + RCPT + DATA + HEADER, NOW)

    assert connection.data_to_send() == CONTINUE * 5


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        pytest.param(b"x", b" x", id="the space that the MTA took"),
        pytest.param(b" x", b" x", id="a second space"),
        pytest.param(b"\tx", b"\tx", id="tab"),
        pytest.param(b"\n x", b"\r\n x", id="fold"),
        pytest.param(b"", b"", id="empty"),
    ],
)
def test_without_leading_space_the_usual_one_is_assumed(sent: bytes, value: bytes) -> None:
    connection = MilterConnection()
    connection.receive(offer(protocol=0xFFFFF) + CONNECT + HELO + MAIL + RCPT + DATA, NOW)

    message = received(connection, frame(b"L", b"X\0" + sent + b"\0") + END_OF_HEADERS + END)

    assert message.fields == (HeaderField(b"X", value),)


def test_without_leading_space_an_inserted_value_goes_without_its_own() -> None:
    connection = MilterConnection()
    connection.receive(offer(protocol=0xFFFFF) + CONNECT + MESSAGE, NOW)
    connection.data_to_send()

    connection.reply(Accept(insert=(HeaderField(b"X", b" y"),)))

    assert connection.data_to_send() == frame(b"i", b"\0\0\0\0X\0y\0") + CONTINUE


def test_several_messages_share_a_connection_and_nothing_else() -> None:
    connection = ready()
    connection.receive(MESSAGE, NOW)
    connection.reply(Accept())

    second = received(
        connection,
        ABORT
        + ABORT
        + frame(b"M", b"<>\0")
        + frame(b"R", b"<c@dest.test>\0")
        + frame(b"T")
        + END_OF_HEADERS
        + frame(b"E"),
    )

    expected = replace(
        RECEIVED.envelope,
        mail_from="",
        mail_parameters=(),
        recipients=(Recipient("c@dest.test"),),
        queue_id="",
        authenticated_as=None,
    )
    assert second == Message(expected, (), b"")


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(MAIL, id="MAIL"),
        pytest.param(MAIL + RCPT, id="RCPT"),
        pytest.param(MAIL + RCPT + DATA, id="DATA"),
        pytest.param(MAIL + RCPT + DATA + HEADER, id="header"),
        pytest.param(MAIL + RCPT + DATA + HEADER + END_OF_HEADERS + BODY, id="body"),
    ],
)
def test_an_aborted_message_leaves_nothing_but_the_session(beginning: bytes) -> None:
    connection = ready()
    connection.receive(beginning + ABORT, NOW)

    assert received(connection, MESSAGE) == RECEIVED


def test_a_refused_mail_leaves_no_login_for_the_next() -> None:
    connection = ready()
    connection.receive(frame(b"D", b"M{auth_authen}\0eve\0") + frame(b"M", b"<x@y>\0") + ABORT, NOW)

    message = received(connection, frame(b"D", b"M") + frame(b"M", b"<x@y>\0") + RCPT + DATA + CONTENT)

    assert message.envelope.authenticated_as is None


def test_a_helo_within_a_message_comes_before_its_abort() -> None:
    connection = ready()
    connection.receive(MAIL + RCPT + frame(b"H", b"again.example\0") + ABORT, NOW)

    assert received(connection, MESSAGE).envelope.helo == "again.example"


def test_data_that_another_filter_refused_may_be_followed_by_more_recipients() -> None:
    connection = ready()

    message = received(connection, MAIL + RCPT + DATA + frame(b"R", b"<c@dest.test>\0") + DATA + CONTENT)

    assert [recipient.address for recipient in message.envelope.recipients] == ["b@dest.test", "c@dest.test"]


def test_end_of_message_may_carry_the_last_of_the_body() -> None:
    message = received(ready(), MAIL + RCPT + DATA + END_OF_HEADERS + BODY + frame(b"E", b"three\r\n"))

    assert message.body == b"one\r\ntwo\r\nthree\r\n"


def test_an_old_mta_that_knows_no_data_names_the_queue_id_at_the_end() -> None:
    connection = MilterConnection()
    connection.receive(offer(version=2, actions=0x3F, protocol=0x7F) + CONNECT + HELO, NOW)

    message = received(
        connection, MAIL + RCPT + HEADER + END_OF_HEADERS + frame(b"D", b"E{i}\0Q1\0") + frame(b"E")
    )

    assert message.envelope.queue_id == "Q1"


def test_the_end_of_message_dates_the_message() -> None:
    connection = ready()
    connection.receive(MESSAGE[:-5], datetime(2020, 1, 1, tzinfo=UTC))

    assert received(connection, MESSAGE[-5:]).envelope.received_at == NOW


def test_a_new_negotiation_begins_a_new_session() -> None:
    """After XCLIENT the client is another."""
    connection = ready()
    connection.receive(MAIL, NOW)

    message = received(connection, offer() + frame(b"C", b"x\x006\0\0" + b"2001:db8::9\0") + MESSAGE)

    assert str(message.envelope.client_ip) == "2001:db8::9"
    assert message.envelope.helo == ""


def test_a_connection_may_be_used_for_another_client() -> None:
    connection = ready()

    message = received(connection, frame(b"K") + frame(b"C", b"x\0U") + MESSAGE)

    assert (message.envelope.client_ip, message.envelope.client_name) == (None, "x")
    assert message.envelope.helo == ""


@pytest.mark.parametrize("before", [b"", SESSION, SESSION + MAIL, SESSION + MAIL + RCPT + DATA + HEADER])
def test_quit_closes_wherever_it_comes(before: bytes) -> None:
    assert MilterConnection().receive(before + QUIT, NOW) == [Closed()]


def test_quit_instead_of_waiting_closes() -> None:
    connection = ready()
    connection.receive(MESSAGE, NOW)

    assert connection.receive(QUIT, NOW) == [Closed()]


def test_a_reply_that_comes_too_late_is_never_sent() -> None:
    """The MTA would take it for the reply to its next message."""
    connection = ready()
    connection.receive(MESSAGE, NOW)
    with pytest.raises(ProtocolError):
        connection.receive(ABORT, NOW)

    connection.reply(Accept())

    assert connection.data_to_send() == b""


def test_a_reply_to_an_mta_that_has_gone_is_dropped() -> None:
    connection = ready()
    connection.receive(MESSAGE + QUIT, NOW)

    connection.reply(Accept())

    assert connection.data_to_send() == b""


def test_a_message_gets_one_reply() -> None:
    connection = ready()
    connection.receive(MESSAGE, NOW)
    connection.reply(Accept())

    with pytest.raises(RuntimeError):
        connection.reply(Accept())


def test_after_a_protocol_error_nothing_is_taken_any_more() -> None:
    connection = ready()
    with pytest.raises(ProtocolError):
        connection.receive(RCPT, NOW)

    with pytest.raises(ProtocolError):
        connection.receive(MESSAGE, NOW)


TO_BODY = MAIL + RCPT + DATA + END_OF_HEADERS


@pytest.mark.parametrize(
    ("before", "piece", "after"),
    [
        pytest.param(TO_BODY, frame(b"B", bytes(65535)), b"", id="body"),
        pytest.param(MAIL + RCPT + DATA, frame(b"L", b"A\0" + bytes(65535).replace(b"\0", b"x") + b"\0"),
                     END_OF_HEADERS, id="header"),
        pytest.param(MAIL, frame(b"R", b"\0"), DATA + END_OF_HEADERS, id="recipients"),
        pytest.param(MAIL, frame(b"R", b"\0" * 100), DATA + END_OF_HEADERS, id="parameters"),
        pytest.param(MAIL + RCPT + DATA, frame(b"L", b"a\0\0"), END_OF_HEADERS, id="small fields"),
        pytest.param(TO_BODY, frame(b"B", b"x"), b"", id="small chunks"),
    ],
)  # fmt: skip
def test_f16_t42_of_a_message_beyond_the_limit_nothing_is_kept_and_it_can_be_refused(
    before: bytes, piece: bytes, after: bytes
) -> None:
    connection = MilterConnection(max_message_octets=100_000)

    events = connection.receive(SESSION + before + piece * 400 + after + END, NOW)

    assert events == [MessageTooLarge("4ZqK1")]
    assert connection.content_octets == 0
    connection.reply(Refuse("552 5.3.4 Too large"))
    assert b"552" in connection.data_to_send()
    assert received(connection, TO_BODY + END).body == b""


def test_f16_what_is_held_counts_from_the_first_field_to_the_reply() -> None:
    connection = MilterConnection()
    held = []

    for octets in (SESSION + MAIL + RCPT + DATA, HEADER, END_OF_HEADERS + frame(b"B", bytes(1000)), END):
        connection.receive(octets, NOW)
        held.append(connection.content_octets)
    connection.reply(Accept())

    assert held[0] == 0
    assert 0 < held[1] < 1000 < held[2] == held[3] < 2000
    assert connection.content_octets == 0


def test_a_message_that_is_aborted_is_not_held() -> None:
    connection = MilterConnection()

    connection.receive(SESSION + TO_BODY + frame(b"B", bytes(1000)) + frame(b"A"), NOW)

    assert connection.content_octets == 0


def test_the_limit_is_per_message() -> None:
    connection = MilterConnection(max_message_octets=100_000)
    large = MAIL + RCPT + DATA + END_OF_HEADERS + frame(b"B", bytes(65535)) + END
    connection.receive(SESSION + large, NOW)
    connection.reply(Accept())

    assert len(received(connection, large).body) == 65535


def test_the_default_limit_lets_any_usual_message_size_limit_pass() -> None:
    assert MAX_MESSAGE_OCTETS >= 100 * 1024 * 1024


LEGAL = {
    State.START: "OQ",
    State.NEGOTIATED: "ACDKOQ",
    State.BETWEEN_MESSAGES: "ADHKMOQU",
    State.SENDER: "ADHKOQRU",
    State.RECIPIENTS: "ADHKLNOQRTU",
    State.DATA: "ADHKLNOQRTU",
    State.HEADERS: "ADKLNOQ",
    State.BODY: "ABDEKOQ",
    State.REPLY_DUE: "Q",
    State.CLOSED: "",
}

REACH = {
    State.START: b"",
    State.NEGOTIATED: offer(),
    State.BETWEEN_MESSAGES: SESSION,
    State.SENDER: SESSION + MAIL,
    State.RECIPIENTS: SESSION + MAIL + RCPT,
    State.DATA: SESSION + MAIL + RCPT + DATA,
    State.HEADERS: SESSION + MAIL + RCPT + DATA + HEADER,
    State.BODY: SESSION + MAIL + RCPT + DATA + HEADER + END_OF_HEADERS,
    State.REPLY_DUE: SESSION + MESSAGE,
    State.CLOSED: QUIT,
}

VALID = {
    "O": offer(),
    "C": frame(b"C", b"x\0U"),
    "H": frame(b"H", b"x\0"),
    "M": frame(b"M", b"<>\0"),
    "R": frame(b"R", b"<b@dest.test>\0"),
    "L": frame(b"L", b"X\0 y\0"),
    "U": frame(b"U", b"WHAT\0"),
    "D": frame(b"D", b"Ti\0Q1\0"),
}


def test_every_state_has_its_row() -> None:
    assert set(TRANSITIONS) == set(LEGAL) == set(REACH) == set(State)


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
@pytest.mark.parametrize("command", [chr(command) for command in Command] + ["?"])
def test_a_command_is_legal_where_the_protocol_has_it(state: State, command: str) -> None:
    connection = MilterConnection()
    connection.receive(REACH[state], NOW)
    octets = VALID.get(command, frame(command.encode()))

    if command in LEGAL[state]:
        connection.receive(octets, NOW)
    else:
        with pytest.raises(ProtocolError, match=state.name):
            connection.receive(octets, NOW)
