"""DKIM signatures for mail of our own (RFC 6376)."""

import dkim

_SIGNED_FIELDS = (b"from", b"to", b"subject", b"date", b"message-id", b"mime-version", b"content-type")


def sign(message: bytes, *, domain: str, selector: str, private_key: bytes) -> bytes:
    """The DKIM-Signature field, with its CR LF, to stand above *message*; *private_key* is an RSA key in PEM form."""
    field: bytes = dkim.sign(
        message,
        selector.encode("ascii"),
        domain.encode("ascii"),
        private_key,
        canonicalize=(b"relaxed", b"relaxed"),
        include_headers=[name for name in _SIGNED_FIELDS if _has(message, name)],
    )
    return field


def _has(message: bytes, name: bytes) -> bool:
    header = message.partition(b"\r\n\r\n")[0].lower()
    return header.startswith(name + b":") or b"\r\n" + name + b":" in header
