"""A message to look at safely: header and plain text as text, the other parts by name, type and size (RFC 2045, 2046).

Nothing is rendered, fetched or unpacked. However the message is built, its size bounds the work and a limit each the
depth, the parts and the text that are shown.
"""

import binascii
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message as Fields

from appliance.mail.message import HeaderField, split_message, unfold
from appliance.quarantine.text import decoded, readable, safe

MAX_DEPTH = 8
MAX_PARTS = 100
MAX_FIELDS = 200
MAX_FIELD_CHARACTERS = 2_000
MAX_TEXT_CHARACTERS = 100_000
"""Of all plain text together."""

_MAX_HEADER_OCTETS = 256_000
_MAX_PART_HEADER_OCTETS = 16_000
_MAX_BOUNDARY = 200
_MAX_LINES_LIKE_A_BOUNDARY = 1_000


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is no multipart. *size_octets* is as it stands in the message, encoded."""

    type: str
    name: str
    size_octets: int
    depth: int
    shown: bool
    """As one of the texts."""


@dataclass(frozen=True, slots=True)
class MessageView:
    """All strings are safe to print, and fit for a page once that escapes them."""

    subject: str
    author: str
    fields: tuple[tuple[str, str], ...]
    """Names and unfolded values, not decoded."""
    texts: tuple[str, ...]
    parts: tuple[Part, ...]
    notes: tuple[str, ...]
    """What was left out, in words."""

    @property
    def attachments(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if not part.shown)


def view(octets: bytes) -> MessageView:
    """What there is to see in the message *octets*. Never raises."""
    fields, body_at = _header(octets, 0, len(octets), _MAX_HEADER_OCTETS)
    reader = _Reader(octets)
    reader.read(fields, body_at, len(octets), depth=0)
    notes = reader.notes
    if len(fields) > MAX_FIELDS:
        notes = (f"{len(fields) - MAX_FIELDS} more header fields are not shown", *notes)
    return MessageView(
        subject=readable(_first(fields, b"subject")),
        author=readable(_first(fields, b"from")),
        fields=tuple(
            (safe(f.name.decode("ascii", "replace"))[:100], safe(unfold(f.value)[:MAX_FIELD_CHARACTERS]))
            for f in fields[:MAX_FIELDS]
        ),
        texts=tuple(reader.texts),
        parts=tuple(reader.parts),
        notes=notes,
    )


@dataclass(slots=True)
class _Reader:
    """Walks through the parts of a message."""

    octets: bytes
    texts: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    _left: int = MAX_TEXT_CHARACTERS
    _looks: int = _MAX_LINES_LIKE_A_BOUNDARY
    _too_many: bool = False
    _too_deep: bool = False
    _too_long: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        said = (
            (self._too_many, f"only the first {MAX_PARTS} parts are shown"),
            (self._too_deep, f"parts more than {MAX_DEPTH} levels deep are not shown"),
            (self._too_long, f"the text is cut after {MAX_TEXT_CHARACTERS:,} characters"),
            (not self.texts, "the message has no plain text"),
        )
        return tuple(text for holds, text in said if holds)

    def read(self, fields: tuple[HeaderField, ...], start: int, end: int, *, depth: int) -> None:
        """A part or the whole message, whose body is *octets* from *start* to *end*."""
        content = _content(fields)
        boundary = _boundary(content)
        if boundary and depth < MAX_DEPTH:
            for part_start, part_end in self._between(boundary, start, end):
                inner, body_at = _header(self.octets, part_start, part_end, _MAX_PART_HEADER_OCTETS)
                self.read(inner, body_at, part_end, depth=depth + 1)
            return
        self._too_deep |= bool(boundary)
        if len(self.parts) >= MAX_PARTS:
            self._too_many = True
            return
        shown = _is_text(content) and self._show(content, start, end)
        size = max(end - start, 0)
        self.parts.append(Part(safe(content.get_content_type())[:100], _name(content), size, depth, shown))

    def _show(self, content: Fields, start: int, end: int) -> bool:
        """Add the text, as far as there is room; whether it was added."""
        if not self._left:
            self._too_long = True
            return False
        text = decoded(
            _unpacked(content, self.octets[start : min(end, start + 8 * self._left)]), _charset(content)
        )
        text = text.replace("\r\n", "\n")
        self._too_long |= len(text) > self._left or end - start > 8 * self._left
        self.texts.append(safe(text[: self._left], lines=True))
        self._left -= len(self.texts[-1])
        return True

    def _between(self, boundary: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Where the parts between the lines of *boundary* begin and end (RFC 2046 section 5.1.1)."""
        begun: int | None = None
        for line_start, line_end, closing in self._boundaries(boundary, start, end):
            if begun is not None:
                yield begun, max(begun, line_start - 2)
                if len(self.parts) >= MAX_PARTS:
                    self._too_many = True
                    return
            if closing:
                return
            begun = line_end
        if begun is not None:
            yield begun, end  # never closed

    def _boundaries(self, boundary: bytes, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """The lines of *boundary*: where they begin, where the next line does, and whether it is the closing one."""
        dashed = b"--" + boundary
        at = start if self.octets.startswith(dashed, start, end) else self._next(dashed, start, end)
        while at >= 0 and self._looks > 0:
            self._looks -= 1
            after = at + len(dashed)
            line_end = self.octets.find(b"\n", after, end)
            line_end = end if line_end < 0 else line_end + 1
            rest = self.octets[after : min(line_end, after + 100)].strip()
            if rest in {b"", b"--"}:
                yield at, line_end, rest == b"--"
            at = self._next(dashed, after, end)
        self._too_many |= self._looks <= 0

    def _next(self, dashed: bytes, start: int, end: int) -> int:
        found = self.octets.find(b"\n" + dashed, max(start - 1, 0), end)
        return found + 1 if found >= 0 else -1


def _header(octets: bytes, start: int, end: int, most: int) -> tuple[tuple[HeaderField, ...], int]:
    """The header fields from *start* on, and where the body begins."""
    if octets.startswith(b"\r\n", start, end):
        return (), start + 2
    found = octets.find(b"\r\n\r\n", start, min(end, start + most))
    if found < 0:
        fields, _ = split_message(octets[start : min(end, start + most)])
        return fields, end if end - start <= most else start + most
    fields, rest = split_message(octets[start : found + 2])
    return fields, found + 2 - len(rest) if rest else found + 4


def _first(fields: tuple[HeaderField, ...], name: bytes) -> str:
    return next((unfold(f.value) for f in fields if f.is_named(name)), "")


def _content(fields: tuple[HeaderField, ...]) -> Fields:
    """The Content fields for the standard library to read, short enough for its quadratic moments."""
    content = Fields()
    for name in ("Content-Type", "Content-Transfer-Encoding", "Content-Disposition"):
        if value := _first(fields, name.lower().encode("ascii"))[:1000]:
            content[name] = value
    return content


def _is_text(content: Fields) -> bool:
    return content.get_content_type() == "text/plain" and content.get_content_disposition() != "attachment"


def _boundary(content: Fields) -> bytes:
    """``b""`` when it is no multipart, or none that can be read."""
    if content.get_content_maintype() != "multipart":
        return b""
    try:
        boundary = content.get_boundary() or ""
        return boundary.encode("utf-8", "surrogateescape") if len(boundary) <= _MAX_BOUNDARY else b""
    except ValueError:  # parameters that contradict each other (RFC 2231)
        return b""


def _name(content: Fields) -> str:
    try:
        name = content.get_filename() or ""
    except ValueError:
        return ""
    return readable(name)[:200]


def _charset(content: Fields) -> str | None:
    try:
        return content.get_content_charset()
    except ValueError:
        return None


def _unpacked(content: Fields, octets: bytes) -> bytes:
    """*octets*, which may be cut off, without their transfer encoding; as they stand when that isn't followed."""
    match str(content.get("Content-Transfer-Encoding", "")).strip().lower():
        case "base64":
            compact = octets.translate(None, b"\r\n \t")
            try:
                return binascii.a2b_base64(compact[: len(compact) // 4 * 4])
            except binascii.Error:
                return octets
        case "quoted-printable":
            return binascii.a2b_qp(octets)
        case _:
            return octets
