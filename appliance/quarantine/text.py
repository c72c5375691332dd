"""Text of messages made fit for people: words decoded (RFC 2047), nothing left that steers a terminal or a page."""

import codecs
from email.errors import MessageError
from email.header import decode_header

_NO_CHARSETS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
"""Codecs that Python knows but mail doesn't; some take time that grows with the square of the text."""
_LONGEST = 2_000  # characters that are decoded: all that any list or page shows


def safe(text: str, *, lines: bool = False) -> str:
    """*text* with U+FFFD for control, format (bidi) and other characters without a shape; *lines* keeps LF and tab."""
    kept = "\n\t" if lines else ""
    return "".join(char if char.isprintable() or char in kept else "\ufffd" for char in text)


def readable(value: str) -> str:
    """A field's value with its encoded words decoded, on one safe line; as it stands where that can't be done."""
    value = value[:_LONGEST]
    if "=?" not in value:
        return safe(value)
    try:
        pieces = decode_header(value)
    except (MessageError, ValueError):
        return safe(value)
    return safe("".join(decoded(piece, charset) for piece, charset in pieces))


def decoded(octets: bytes | str, charset: str | None) -> str:
    """*octets* as text, whatever they are and whatever *charset* claims."""
    if isinstance(octets, str):
        return octets
    return octets.decode(_known(charset or "utf-8"), "replace")


def _known(charset: str) -> str:
    try:
        name = codecs.lookup(charset).name
        b"a".decode(name, "replace")  # refused by a codec that is no charset, such as zlib
    except (LookupError, ValueError):
        return "utf-8"
    return "utf-8" if name in _NO_CHARSETS else name
