"""DKIM signatures for mail of our own (RFC 6376, RFC 8463).

``signed`` is the last step of making a mail: it is called with the To line in place, because that is signed as well,
so once for each destination. It reads no clock and draws no random number: the same mail, keys and time give the same
octets. Whoever hands mail over still keeps what it gave, or at least what it put before the mail, for the repetition
after a key was exchanged.
"""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dkim
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from appliance.store.keys import Algorithm, SigningKey

_SIGNED_FIELDS = (
    b"from",
    b"sender",
    b"reply-to",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"message-id",
    b"auto-submitted",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
)
"""Those of them that are there (RFC 6376 section 5.4)."""
_OVERSIGNED = b"from"  # named once more than it is there: another one spoils the signature


def signed(message: bytes, keys: Sequence[SigningKey], now: datetime) -> bytes:
    """*message*, CR LF line ends, 7-bit, with a signature of each of *keys* above it, the first on top.

    Without keys it comes back as it is.
    """
    fields = (_signature(message, k.domain, k.selector, k.algorithm, _library_form(k), now) for k in keys)
    return b"".join(fields) + message


def sign(message: bytes, *, domain: str, selector: str, private_key: bytes) -> bytes:
    """The DKIM-Signature field, with its CR LF, to stand above *message*; *private_key* is an RSA key in PEM form."""
    return _signature(message, domain, selector, Algorithm.RSA, private_key, datetime.now(UTC))


class _Signer(dkim.DKIM):  # type: ignore[misc]  # the library has no types
    """Writes ``t=`` as told instead of by the clock, and no ``i=``: its default says the same."""

    def __init__(self, message: bytes, algorithm: Algorithm, made_at: datetime) -> None:
        super().__init__(message, signature_algorithm=f"{algorithm}-sha256".encode())
        self._made_at = str(int(made_at.timestamp())).encode()

    def gen_header(self, fields: list[tuple[bytes, bytes]], *rest: Any, **more: Any) -> Any:
        told = {b"t": self._made_at}
        ours = [(name, told.get(name, value)) for name, value in fields if name != b"i"]
        return super().gen_header(ours, *rest, **more)


def _signature(
    message: bytes, domain: str, selector: str, algorithm: Algorithm, private_key: bytes, now: datetime
) -> bytes:
    present = [name for name in _SIGNED_FIELDS if _has(message, name)]
    field: bytes = _Signer(message, algorithm, now).sign(
        selector.encode("ascii"),
        domain.encode("ascii"),
        private_key,
        canonicalize=(b"relaxed", b"relaxed"),
        include_headers=[*present, _OVERSIGNED],
    )
    return field


def _library_form(key: SigningKey) -> bytes:
    """The private key as dkimpy takes it: RSA as PEM, Ed25519 as the seed in base64."""
    pem = key.private_key.encode("ascii")
    if key.algorithm is Algorithm.RSA:
        return pem
    edwards = load_pem_private_key(pem, None)
    assert isinstance(edwards, Ed25519PrivateKey), "the store keeps a key as it was made"
    return base64.b64encode(edwards.private_bytes_raw())


def _has(message: bytes, name: bytes) -> bool:
    header = message.partition(b"\r\n\r\n")[0].lower()
    return header.startswith(name + b":") or b"\r\n" + name + b":" in header
