"""Canonical forms of header fields and bodies, and their hashes (RFC 6376 section 3.4), each computed once a message."""

import hashlib
import re
from collections.abc import Iterable
from enum import StrEnum

from appliance.mail.message import HeaderField, Message

_ODD_WHITE_SPACE = re.compile(
    rb"[\r\n\x0b\x0c]"
)  # bytes.split() takes these for white space, the RFC does not
_RUN = re.compile(rb"[ \t]+")


MAX_GAPS = 65_536  # of a body that is taken apart at them; its parts take 100 octets each beside their text


class Canonicalization(StrEnum):
    SIMPLE = "simple"
    RELAXED = "relaxed"


def relaxed_field(name: bytes, value: bytes) -> bytes:
    """A field without its closing CR LF in relaxed form (section 3.4.2)."""
    unfolded = value.replace(b"\r\n", b"")
    if _ODD_WHITE_SPACE.search(unfolded):
        compressed = _RUN.sub(b" ", unfolded).strip(b" ")
    else:
        compressed = b" ".join(unfolded.split())
    return name.rstrip(b" \t").lower() + b":" + compressed


def canonical_field(form: Canonicalization, name: bytes, value: bytes) -> bytes:
    """A field without its closing CR LF in the given form."""
    return relaxed_field(name, value) if form is Canonicalization.RELAXED else name + b":" + value


def simple_body(body: bytes) -> bytes:
    """Section 3.4.3: empty lines at the end go, one line end stays, or comes."""
    return body if _ends_in_one_line_end(body) else _without_empty_lines(body) + b"\r\n"


def relaxed_body(body: bytes) -> bytes:
    """Section 3.4.4. Searches through the whole body: many times faster than a match for each gap."""
    if b"\t" in body:
        body = body.replace(b"\t", b" ")
    body = _one_space_for_many(body).replace(b" \r\n", b"\r\n")
    if _ends_in_one_line_end(body):
        return body
    stripped = _without_empty_lines(body.removesuffix(b" "))
    return stripped + b"\r\n" if stripped else b""


def _one_space_for_many(body: bytes) -> bytes:
    first, *parts = body.split(b"  ", MAX_GAPS)
    if not parts:
        return body
    if len(parts) < MAX_GAPS:
        last = parts.pop().lstrip(b" ")
        return b" ".join([first, *filter(None, (part.lstrip(b" ") for part in parts)), last])
    while b"  " in body:  # halves the longest run each time
        body = body.replace(b"  ", b" ")
    return body


def _ends_in_one_line_end(body: bytes) -> bool:
    """Whether a character other than CR and LF stands before the CR LF at the end: most bodies need no other end."""
    return body.endswith(b"\r\n") and body[-3:-2] not in (b"", b"\r", b"\n")


def _without_empty_lines(body: bytes) -> bytes:
    """*body* without the CR LFs at its end; a CR or LF that is no part of one stays."""
    stripped = body.rstrip(b"\r\n")
    tail = body[len(stripped) :]
    if tail == b"\r\n":
        return stripped
    if not tail.endswith(b"\r\n"):
        return body
    # The closing run of CR LFs starts after the last pair of equal octets, or at the tail's start.
    start = max(tail.rfind(b"\r\r"), tail.rfind(b"\n\n")) + 1
    if tail[start : start + 1] == b"\n":
        start += 1
    return body[: len(stripped) + start]


class CanonicalMessage:
    """A message's fields and body as signatures see them."""

    def __init__(self, message: Message) -> None:
        self._body = message.body
        self._fields = message.fields
        self.places = message.places_named
        """Where the fields of a lower-case name stand, top to bottom."""
        self._relaxed: dict[int, bytes] = {}
        self._bodies: dict[Canonicalization, bytes] = {}
        self._hashes: dict[tuple[Canonicalization, int | None], bytes] = {}

    def field(self, place: int) -> HeaderField:
        return self._fields[place]

    def relaxed(self, place: int) -> bytes:
        """The field at *place* in relaxed form, without its closing CR LF."""
        known = self._relaxed.get(place)
        if known is None:
            field = self._fields[place]
            known = self._relaxed[place] = relaxed_field(field.name, field.value)
        return known

    def signed_fields(self, form: Canonicalization, names: Iterable[bytes], own_place: int) -> bytes:
        """The fields that *names* select, bottom-up and each once, every one with its CR LF (section 5.4.2).

        The signature at *own_place* is never among them: it is hashed last, without its value (section 3.7).
        """
        left = {}
        chosen = []
        for name in names:
            if name not in left:
                left[name] = [place for place in self.places(name) if place != own_place]
            if left[name]:
                chosen.append(left[name].pop())
        if form is Canonicalization.RELAXED:
            lines = [self.relaxed(place) for place in chosen]
        else:
            lines = [self._fields[place].octets for place in chosen]
        return b"".join(line + b"\r\n" for line in lines)

    def body_octets(self, form: Canonicalization) -> int:
        """How long the body is in the given form."""
        return len(self._canonical_body(form))

    def body_hash(self, form: Canonicalization, length: int | None) -> bytes:
        """SHA-256 of the body's first *length* octets in the given form; of all with ``None``."""
        known = self._hashes.get((form, length))
        if known is None:
            body = memoryview(self._canonical_body(form))
            known = hashlib.sha256(body if length is None else body[:length]).digest()
            self._hashes[form, length] = known
        return known

    def _canonical_body(self, form: Canonicalization) -> bytes:
        known = self._bodies.get(form)
        if known is None:
            known = relaxed_body(self._body) if form is Canonicalization.RELAXED else simple_body(self._body)
            self._bodies[form] = known
        return known
