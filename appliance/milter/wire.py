"""The milter protocol on the wire: frames, codes and payloads, as Sendmail's libmilter and Postfix speak it."""

import struct
from enum import IntEnum
from typing import NamedTuple

from appliance.mail.address import parse_ip
from appliance.mail.message import IPAddress, is_field_name

MAX_FRAME_OCTETS = 1 << 20
"""Body chunks are at most 65535 octets; a header field may be as long as Postfix's header_size_limit (102400)."""

MAX_MACRO_OCTETS = 1 << 16
"""Postfix sends a handful of macros at a time; more would be a peer that wants our memory."""

MAX_COMMAND_OCTETS = 1 << 16
"""Of a name, or an address with its parameters; Postfix's line_length_limit is 2048."""

_FRAME = struct.Struct("!IB")  # length of command and payload, command
_INTEGER = struct.Struct("!I")
_OFFER = struct.Struct("!III")
_PORT = struct.Struct("!H")


class ProtocolError(Exception):
    """The MTA sent what the milter protocol does not allow; nothing can be made of this connection any more."""


class Command(IntEnum):
    """What the MTA sends."""

    ABORT = ord("A")
    BODY = ord("B")
    CONNECT = ord("C")
    MACROS = ord("D")
    END_OF_MESSAGE = ord("E")
    HELO = ord("H")
    QUIT_NEW_CONNECTION = ord("K")
    HEADER = ord("L")
    MAIL = ord("M")
    END_OF_HEADERS = ord("N")
    NEGOTIATE = ord("O")
    QUIT = ord("Q")
    RCPT = ord("R")
    DATA = ord("T")
    UNKNOWN = ord("U")


class Response(IntEnum):
    """What the filter answers."""

    CONTINUE = ord("c")
    DISCARD = ord("d")
    INSERT_HEADER = ord("i")
    CHANGE_HEADER = ord("m")
    NEGOTIATE = ord("O")
    REPLY_CODE = ord("y")


class Actions(IntEnum):
    """What a filter may do to a message; the MTA offers, the filter asks."""

    ADD_HEADERS = 0x01
    CHANGE_HEADERS = 0x10
    SET_MACRO_LIST = 0x100


class Protocol(IntEnum):
    """Variations of the protocol; the MTA offers, the filter asks."""

    NO_REPLY_HEADER = 0x80
    NO_REPLY_CONNECT = 0x1000
    NO_REPLY_HELO = 0x2000
    NO_REPLY_MAIL = 0x4000
    NO_REPLY_RCPT = 0x8000
    NO_REPLY_DATA = 0x10000
    NO_REPLY_UNKNOWN = 0x20000
    NO_REPLY_END_OF_HEADERS = 0x40000
    NO_REPLY_BODY = 0x80000
    LEADING_SPACE = 0x100000
    """Header values keep the space after the colon, both ways; without it the MTA takes and adds one."""


class MacroStage(IntEnum):
    """Names the stage in a list of wanted macros; other numbers than the stage's command."""

    MAIL = 2
    DATA = 4
    END_OF_MESSAGE = 5


class Offer(NamedTuple):
    """An option negotiation, as offered or as asked for."""

    version: int
    actions: int
    protocol: int


class Client(NamedTuple):
    """Who is connected. *ip* is ``None`` where the MTA knows none, *port* where it knows none."""

    name: str
    ip: IPAddress | None
    port: int | None


class FrameDecoder:
    """Cuts octets into frames, however they were chunked."""

    __slots__ = ("_rest", "_wanted_octets")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._wanted_octets = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that are complete with *data*: (command, payload)."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted_octets:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        frames = []
        start = 0
        end = len(data)
        self._wanted_octets = _FRAME.size
        while end - start >= _FRAME.size:
            length, command = _FRAME.unpack_from(data, start)
            if not 1 <= length <= MAX_FRAME_OCTETS:
                raise ProtocolError(f"a frame of {length} octets")
            stop = start + 4 + length
            if stop > end:
                self._wanted_octets = 4 + length
                break
            frames.append((command, data[start + 5 : stop]))
            start = stop
        if start < end:
            self._rest += data[start:]
        return frames


def encode_frame(code: int, payload: bytes = b"") -> bytes:
    return _FRAME.pack(len(payload) + 1, code) + payload


def encode_offer(offer: Offer, macro_lists: dict[MacroStage, bytes]) -> bytes:
    """The negotiation frame; *macro_lists* names the macros wanted at each stage, separated by spaces."""
    lists = b"".join(_INTEGER.pack(stage) + names + b"\0" for stage, names in macro_lists.items())
    return encode_frame(Response.NEGOTIATE, _OFFER.pack(*offer) + lists)


def parse_offer(payload: bytes) -> Offer:
    if len(payload) < _OFFER.size:
        raise ProtocolError("a negotiation that is too short")
    return Offer._make(_OFFER.unpack_from(payload))


def parse_macros(payload: bytes) -> dict[bytes, bytes]:
    """The macros in a payload, whose first octet tells the command that they belong to; names as sent."""
    if len(payload) > MAX_MACRO_OCTETS:
        raise ProtocolError(f"{len(payload)} octets of macros")
    strings = _strings(payload[1:]) if len(payload) > 1 else []
    if len(strings) % 2:
        raise ProtocolError("a macro without a value")
    return dict(zip(strings[::2], strings[1::2], strict=True))


def parse_connect(payload: bytes) -> Client:
    """The connected client; IPv4-mapped IPv6 addresses come out as IPv4 (SPF-13)."""
    _check_command(payload)
    name, terminator, address = payload.partition(b"\0")
    if not terminator or not address:
        raise ProtocolError("a connection without a host name or an address family")
    if address[:1] not in (b"4", b"6"):
        return Client(text(name), None, None)
    if len(address) < 1 + _PORT.size or address[-1] != 0:
        raise ProtocolError("a connection with half an address")
    (port,) = _PORT.unpack_from(address, 1)
    return Client(text(name), _parse_ip(address[1 + _PORT.size : -1]), port or None)


def parse_text(payload: bytes) -> str:
    """A payload of one string."""
    _check_command(payload)
    strings = _strings(payload)
    if len(strings) != 1:
        raise ProtocolError("more strings than one")
    return text(strings[0])


def parse_path(payload: bytes) -> tuple[str, tuple[str, ...]]:
    """The address of MAIL or RCPT without angle brackets, and its ESMTP parameters."""
    _check_command(payload)
    address, *parameters = map(text, _strings(payload))
    if address[:1] == "<" and address[-1:] == ">":
        address = address[1:-1]
    return address, tuple(parameters)


def parse_header(payload: bytes) -> tuple[bytes, bytes]:
    """Name and value; the value's folds as CR LF, which the protocol gives as LF."""
    strings = payload.split(b"\0")
    if len(strings) != 3 or strings[2] or not is_field_name(strings[0]):
        raise ProtocolError("a malformed header field")
    return strings[0], strings[1].replace(b"\n", b"\r\n")


def text(octets: bytes) -> str:
    """Octets of the envelope as text; any octets survive the round trip."""
    return octets.decode("utf-8", "surrogateescape")


def _check_command(payload: bytes) -> None:
    if len(payload) > MAX_COMMAND_OCTETS:
        raise ProtocolError(f"a command of {len(payload)} octets")


def _strings(payload: bytes) -> list[bytes]:
    """The NUL-terminated strings that fill *payload*, at least one."""
    strings = payload.split(b"\0")
    if strings.pop() or not strings:
        raise ProtocolError("a string without its end")
    return strings


def _parse_ip(octets: bytes) -> IPAddress:
    address = octets.decode("ascii", "replace")
    ip = parse_ip(address.partition("%")[0])
    if ip is None:
        raise ProtocolError(f"a client address that is none: {address[:64]!r}")
    return ip
