"""Octets from the MTA: they parse, or they are a protocol error."""

from appliance.mail.message import HeaderField
from appliance.milter.connection import MessageReceived, MilterConnection
from appliance.milter.replies import Accept, Discard, Refuse, Reply
from appliance.milter.wire import ProtocolError
from tests.fuzz.material import NOW

REPLIES: tuple[Reply, ...] = (
    Accept(insert=(HeaderField(b"Authentication-Results", b" mx.example; none"),)),
    Discard(),
    Refuse("550 5.7.26 no"),
)
MAX_MESSAGE_OCTETS = 1 << 20


def target(data: bytes) -> None:
    """The first octet says how many of the others are read at once."""
    piece_octets = (data[0] if data else 0) * 8 + 1
    connection = MilterConnection(max_message_octets=MAX_MESSAGE_OCTETS)
    replied = 0
    try:
        for at in range(1, len(data), piece_octets):
            for event in connection.receive(data[at : at + piece_octets], NOW):
                if isinstance(event, MessageReceived):
                    message = event.message
                    assert len(message.octets) == message.size_octets
                    message.envelope.mail_from.encode("utf-8", "surrogateescape")
                    deleted = tuple(range(0, len(message.fields), 3))
                    reply = REPLIES[replied % len(REPLIES)]
                    connection.reply(Accept(deleted) if replied % 2 else reply)
                    replied += 1
            connection.data_to_send()
    except ProtocolError:
        pass
