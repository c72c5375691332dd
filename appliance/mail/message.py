"""A received message: envelope, header fields and body, octets as received (RFC 5321, RFC 5322)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address

IPAddress = IPv4Address | IPv6Address

_FIELD_NAME = re.compile(rb"[!-9;-~]+")

NULL_PATH = ""
"""The reverse path of bounces: MAIL FROM:<>."""


@dataclass(frozen=True, slots=True)
class HeaderField:
    """One header field. *value* is everything after the colon: leading space and folds (CR LF) kept."""

    name: bytes
    value: bytes

    @property
    def octets(self) -> bytes:
        """The field as it stood in the message, without its closing CR LF."""
        return self.name + b":" + self.value

    def is_named(self, name: bytes) -> bool:
        """Whether this is a *name* field; *name* is lower-case, white space before the colon is ignored."""
        return self.name.rstrip(b" \t").lower() == name


@dataclass(frozen=True, slots=True)
class Recipient:
    """One RCPT TO: the address without angle brackets, and its ESMTP parameters as received."""

    address: str
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Envelope:
    """What SMTP said about a message (RFC 5321).

    Texts are decoded as UTF-8 with surrogate escapes, so that any octets survive a round trip.
    """

    client_ip: IPAddress | None
    """The connected client; ``None`` for local submission. IPv4-mapped IPv6 is given as IPv4."""
    client_name: str
    helo: str
    mail_from: str
    """Without angle brackets; ``""`` is the null reverse path."""
    recipients: tuple[Recipient, ...]
    queue_id: str
    received_at: datetime
    """Aware, UTC."""
    mail_parameters: tuple[str, ...] = ()
    """ESMTP parameters of MAIL FROM as received: ``SIZE=…``, ``BODY=8BITMIME``, ``SMTPUTF8``, ``RET=…``, ``ENVID=…``."""
    authenticated_as: str | None = None
    """SASL login name, when the client authenticated."""
    client_port: int | None = None


@dataclass(frozen=True)
class Message:
    """A message as received: *fields* in their order, *body* with CR LF line ends."""

    envelope: Envelope
    fields: tuple[HeaderField, ...]
    body: bytes = field(repr=False)

    @cached_property
    def _places(self) -> dict[bytes, list[int]]:
        places: dict[bytes, list[int]] = {}
        for place, header in enumerate(self.fields):
            places.setdefault(header.name.rstrip(b" \t").lower(), []).append(place)
        return places

    def places_named(self, name: bytes) -> Sequence[int]:
        """Where in *fields* the fields of *name* stand, top to bottom; *name* is lower-case."""
        return self._places.get(name, ())

    def fields_named(self, name: str) -> tuple[HeaderField, ...]:
        """All *name* fields (case does not matter), top to bottom."""
        return tuple(self.fields[place] for place in self.places_named(name.lower().encode("ascii")))

    def text(self, name: str) -> str:
        """The first *name* field's value, unfolded, for people to read; ``""`` without one. Not decoded further."""
        found = self.fields_named(name)
        return unfold(found[0].value) if found else ""

    @cached_property
    def header_octets(self) -> bytes:
        """The header block: every field with its CR LF."""
        return b"".join(f.octets + b"\r\n" for f in self.fields)

    @property
    def octets(self) -> bytes:
        """The whole message as received."""
        return self.header_octets + b"\r\n" + self.body

    @property
    def size_octets(self) -> int:
        return len(self.header_octets) + 2 + len(self.body)


def unfold(value: bytes) -> str:
    """A field value on one line, stripped; octets that are not UTF-8 become U+FFFD."""
    return value.replace(b"\r\n", b"").decode("utf-8", "replace").strip()


def split_message(octets: bytes) -> tuple[tuple[HeaderField, ...], bytes]:
    """Split *octets* (a whole message) into header fields and body.

    Line ends may be CR LF or LF alone and come out as CR LF. A line in the header block that is no field ends the
    header block, as Postfix has it: it and what follows are body.
    """
    lines = octets.replace(b"\r\n", b"\n").split(b"\n")
    fields: list[tuple[bytes, list[bytes]]] = []  # names, and the lines of their values
    at = 0
    while at < len(lines) and lines[at]:
        line = lines[at]
        if line[:1] in b" \t" and fields:
            fields[-1][1].append(line)
        else:
            name, colon, value = line.partition(b":")
            if not colon or not is_field_name(name.rstrip(b" \t")):
                break
            fields.append((name, [value]))
        at += 1
    if at < len(lines) and not lines[at]:
        at += 1
    header = tuple(HeaderField(name, b"\r\n".join(value)) for name, value in fields)
    return header, b"\r\n".join(lines[at:])


def is_field_name(name: bytes) -> bool:
    """RFC 5322 field-name: printable US-ASCII without colon."""
    return _FIELD_NAME.fullmatch(name) is not None
