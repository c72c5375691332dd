"""Text from mail and the DNS made fit to be looked at: bounded, and with nothing in it that steers a terminal or page."""

MAX_CHARACTERS = 300


def visible(text: str | bytes, limit: int = MAX_CHARACTERS) -> str:
    r"""*text* on one line: control, format (bidi) and other characters without a shape as escapes, the rest cut off.

    >>> visible(b"bank\x1b[2J.example")
    'bank\\x1b[2J.example'
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    shown = "".join(char if char.isprintable() else _escape(ord(char)) for char in text[:limit])
    return shown if len(text) <= limit else f"{shown} … ({len(text):,} characters)"


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # an octet that is no UTF-8, see ``Envelope``
        code -= 0xDC00
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
