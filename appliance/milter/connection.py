"""One milter connection: octets from the MTA in, messages out, replies back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from appliance.mail.message import NULL_PATH, Envelope, HeaderField, Message, Recipient
from appliance.milter.replies import Reply, encode_reply
from appliance.milter.states import TRANSITIONS, State
from appliance.milter.wire import (
    Actions,
    Client,
    Command,
    FrameDecoder,
    MacroStage,
    Offer,
    Protocol,
    ProtocolError,
    Response,
    encode_frame,
    encode_offer,
    parse_connect,
    parse_header,
    parse_macros,
    parse_offer,
    parse_path,
    parse_text,
    text,
)

OLDEST_VERSION = 2
NEWEST_VERSION = 6

MAX_MESSAGE_OCTETS = 112 << 20
"""Well above Postfix's message_size_limit as we set it; a message of that size is judged within a worker's memory."""

PART_OCTETS = 256
"""What a recipient, parameter, field or chunk counts beside its own octets: about what Python takes to hold one."""

_WANTED_ACTIONS = Actions.ADD_HEADERS | Actions.CHANGE_HEADERS

_NO_REPLY = {
    Command.CONNECT: Protocol.NO_REPLY_CONNECT,
    Command.HELO: Protocol.NO_REPLY_HELO,
    Command.MAIL: Protocol.NO_REPLY_MAIL,
    Command.RCPT: Protocol.NO_REPLY_RCPT,
    Command.DATA: Protocol.NO_REPLY_DATA,
    Command.UNKNOWN: Protocol.NO_REPLY_UNKNOWN,
    Command.HEADER: Protocol.NO_REPLY_HEADER,
    Command.END_OF_HEADERS: Protocol.NO_REPLY_END_OF_HEADERS,
    Command.BODY: Protocol.NO_REPLY_BODY,
}

_WANTED_PROTOCOL = sum(_NO_REPLY.values()) | Protocol.LEADING_SPACE

_MACRO_LISTS = {
    MacroStage.MAIL: b"{auth_authen}",
    MacroStage.DATA: b"i",
    MacroStage.END_OF_MESSAGE: b"i",
}
"""The macros we read, asked for by name so that no milter_…_macros setting of the MTA can keep them from us."""

_READ_AT = frozenset((Command.MAIL, Command.DATA, Command.END_OF_MESSAGE))
"""Postfix sends macros before every header field and body chunk too; those say nothing new."""

_END_OF_MESSAGE = int(Command.END_OF_MESSAGE)  # members of an enum are slow to look up, once a frame
_QUIT = int(Command.QUIT)

_CONTINUE = encode_frame(Response.CONTINUE)


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A whole message; the MTA waits for ``MilterConnection.reply``."""

    message: Message


@dataclass(frozen=True, slots=True)
class MessageTooLarge:
    """A message larger than allowed has come to its end, nothing of it was kept; it waits for a reply as well."""

    queue_id: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The MTA is done with this connection."""


Event = MessageReceived | MessageTooLarge | Closed


@dataclass(slots=True)
class _Transaction:
    """A message as far as it has come."""

    mail_from: str = NULL_PATH
    mail_parameters: tuple[str, ...] = ()
    recipients: list[Recipient] = field(default_factory=list)
    fields: list[HeaderField] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    octets: int = 0
    content_octets: int = 0
    """Of *octets*, those of header and body."""
    too_large: bool = False


class MilterConnection:
    """The filter's end of one milter connection, without I/O.

    Feed what was read to ``receive``, answer each ``MessageReceived`` or ``MessageTooLarge`` with ``reply``, and after
    either send what ``data_to_send`` returns. After ``Closed`` or a ``ProtocolError`` the only thing left is to close the socket.
    """

    def __init__(self, *, max_message_octets: int = MAX_MESSAGE_OCTETS) -> None:
        self._max_message_octets = max_message_octets
        self._decoder = FrameDecoder()
        self._state = State.START
        self._output: list[bytes] = []
        self._answered: frozenset[int] = frozenset()
        self._leading_space = False
        self._client = Client("", None, None)
        self._helo = ""
        self._queue_id = ""
        self._authenticated_as: str | None = None
        self._transaction = _Transaction()

    def receive(self, data: bytes, now: datetime) -> list[Event]:
        """What *data*, read from the MTA, brings about; *now* (aware, UTC) dates a message that ends in it.

        Raises ``ProtocolError``, and nothing else, for what the protocol does not allow.
        """
        events: list[Event] = []
        try:
            for command, payload in self._decoder.feed(data):
                self._handle(command, payload)
                if command == _END_OF_MESSAGE:
                    events.append(self._whole_message(now))
                elif command == _QUIT:
                    events.append(Closed())
        except ProtocolError:
            self._state = State.CLOSED
            raise
        return events

    @property
    def content_octets(self) -> int:
        """What is held of a message's header and body, from its first field to the reply; with what Python adds."""
        return self._transaction.content_octets

    @property
    def reply_is_due(self) -> bool:
        return self._state is State.REPLY_DUE

    def reply(self, reply: Reply) -> None:
        """Answer the message received last.

        Dropped when the MTA has gone meanwhile; a second reply, or one to no message, is a programming error.
        """
        if self._state is State.CLOSED:
            return
        if self._state is not State.REPLY_DUE:
            raise RuntimeError("no message waits for a reply")
        self._output.append(encode_reply(reply, self._transaction.fields, leading_space=self._leading_space))
        self._state = State.BETWEEN_MESSAGES
        self._forget_message()

    def data_to_send(self) -> bytes:
        """What is to be sent to the MTA now; often nothing."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    def _handle(self, command: int, payload: bytes) -> None:
        state = TRANSITIONS[self._state].get(command)
        if state is None:
            raise ProtocolError(f"command {chr(command)!r} in state {self._state.name}")
        self._state = state
        handler = self._HANDLERS.get(command)
        if handler is not None:
            handler(self, payload)
        if command in self._answered:
            self._output.append(_CONTINUE)

    def _negotiate(self, payload: bytes) -> None:
        offer = parse_offer(payload)
        if offer.version < OLDEST_VERSION:
            raise ProtocolError(f"protocol version {offer.version}; Postfix: set milter_protocol = 6")
        if _WANTED_ACTIONS & ~offer.actions:
            raise ProtocolError("the MTA does not let filters change header fields")
        asked = Offer(
            min(offer.version, NEWEST_VERSION),
            offer.actions & (_WANTED_ACTIONS | Actions.SET_MACRO_LIST),
            offer.protocol & _WANTED_PROTOCOL,
        )
        lists = _MACRO_LISTS if asked.actions & Actions.SET_MACRO_LIST else {}
        self._output.append(encode_offer(asked, lists))
        self._answered = frozenset(c for c, no_reply in _NO_REPLY.items() if not asked.protocol & no_reply)
        self._leading_space = bool(asked.protocol & Protocol.LEADING_SPACE)
        self._forget_message()

    def _connect(self, payload: bytes) -> None:
        self._client = parse_connect(payload)
        self._helo = ""

    def _greet(self, payload: bytes) -> None:
        self._helo = parse_text(payload)

    def _read_macros(self, payload: bytes) -> None:
        if not payload or payload[0] not in _READ_AT:
            return
        if payload[0] == Command.MAIL:  # macros come before their command, so here a new message begins
            self._forget_message()
        macros = parse_macros(payload)
        queue_id = macros.get(b"i") or macros.get(b"{i}")
        if queue_id:
            self._queue_id = text(queue_id)
        login = macros.get(b"{auth_authen}")
        if login:
            self._authenticated_as = text(login)

    def _begin(self, payload: bytes) -> None:
        mail_from, parameters = parse_path(payload)
        self._transaction = _Transaction(mail_from, parameters)
        self._count(payload, parts=1 + len(parameters))

    def _add_recipient(self, payload: bytes) -> None:
        address, parameters = parse_path(payload)
        if self._count(payload, parts=1 + len(parameters)):
            self._transaction.recipients.append(Recipient(address, parameters))

    def _add_field(self, payload: bytes) -> None:
        name, value = parse_header(payload)
        if not self._leading_space and value and value[0] not in b" \t\r":
            value = b" " + value
        if self._count_content(payload):
            self._transaction.fields.append(HeaderField(name, value))

    def _add_chunk(self, payload: bytes) -> None:
        if payload and self._count_content(payload):  # end-of-message may carry the last chunk
            self._transaction.chunks.append(payload)

    def _forget_message(self, _payload: bytes = b"") -> None:
        self._transaction = _Transaction()
        self._queue_id = ""
        self._authenticated_as = None

    def _count(self, payload: bytes, *, parts: int = 1) -> bool:
        """Whether the message is still within its limit; beyond it nothing of it is kept."""
        transaction = self._transaction
        transaction.octets += len(payload) + parts * PART_OCTETS
        if transaction.octets > self._max_message_octets:
            self._transaction = _Transaction(octets=transaction.octets, too_large=True)
        return not self._transaction.too_large

    def _count_content(self, payload: bytes) -> bool:
        kept = self._count(payload)
        if kept:
            self._transaction.content_octets += len(payload) + PART_OCTETS
        return kept

    def _whole_message(self, now: datetime) -> MessageReceived | MessageTooLarge:
        if self._transaction.too_large:
            return MessageTooLarge(self._queue_id)
        return MessageReceived(self._message(now))

    def _message(self, received_at: datetime) -> Message:
        transaction = self._transaction
        body = b"".join(transaction.chunks)
        transaction.chunks.clear()  # the body is held once, while it is judged
        envelope = Envelope(
            client_ip=self._client.ip,
            client_name=self._client.name,
            client_port=self._client.port,
            helo=self._helo,
            mail_from=transaction.mail_from,
            mail_parameters=transaction.mail_parameters,
            recipients=tuple(transaction.recipients),
            queue_id=self._queue_id,
            received_at=received_at,
            authenticated_as=self._authenticated_as,
        )
        return Message(envelope, tuple(transaction.fields), body)

    _HANDLERS: ClassVar[dict[int, Callable[["MilterConnection", bytes], None]]] = {
        Command.NEGOTIATE: _negotiate,
        Command.CONNECT: _connect,
        Command.HELO: _greet,
        Command.MACROS: _read_macros,
        Command.MAIL: _begin,
        Command.RCPT: _add_recipient,
        Command.HEADER: _add_field,
        Command.BODY: _add_chunk,
        Command.END_OF_MESSAGE: _add_chunk,
        Command.ABORT: _forget_message,
        Command.QUIT_NEW_CONNECTION: _forget_message,
    }
