"""Sample messages, signed by dkimpy: another's signer, so that the verifier can't share its mistakes."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from appliance.mail.message import Envelope, Message, split_message
from appliance.resolver import Answer, Question, RecordType, Status

NOW = datetime.now(UTC)  # dkimpy writes the time of signing itself

SIGNED_FIELDS = ("from", "to", "subject", "date", "message-id")
PLAIN = (
    b"From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\n and  a\tfold\r\n"
    b"Date: Mon, 23 Nov 2026 14:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
    b"\r\nHello  Bob,\t \r\n\r\n two  spaces \r\n\r\n\r\n"
)


@dataclass(frozen=True)
class SigningKey:
    """A private key in the form dkimpy takes, and the record that publishes its other half."""

    private: bytes
    record: bytes


def new_rsa_key(bits: int = 2048) -> SigningKey:
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return SigningKey(pem, b"v=DKIM1; k=rsa; p=" + base64.b64encode(der))


def received(octets: bytes, *, mail_from: str = "ann@example.org") -> Message:
    fields, body = split_message(octets)
    envelope = Envelope(
        client_ip=IPv4Address("192.0.2.1"),
        client_name="",
        helo="mx.example.org",
        mail_from=mail_from,
        recipients=(),
        queue_id="4ZqK1",
        received_at=NOW,
    )
    return Message(envelope, fields, body)


def signed(
    key: SigningKey,
    octets: bytes = PLAIN,
    *,
    domain: str = "example.org",
    selector: str = "s1",
    forms: tuple[str, str] = ("relaxed", "relaxed"),
    names: Sequence[str] = SIGNED_FIELDS,
    algorithm: str = "rsa-sha256",
    length: bool = False,
    identity: str | None = None,
) -> bytes:
    """*octets* with a DKIM-Signature on top."""
    signer = dkim.DKIM(octets, signature_algorithm=algorithm.encode())
    signature: bytes = signer.sign(
        selector.encode(),
        domain.encode(),
        key.private,
        canonicalize=(forms[0].encode(), forms[1].encode()),
        include_headers=[name.encode() for name in names],
        length=length,
        identity=identity.encode() if identity else None,
    )
    return signature + octets


def sealed(key: SigningKey, octets: bytes, *, chain: str, domain: str = "list.example") -> bytes:
    """*octets* with another ARC set on top, by a sealer that found the chain to be *chain*."""
    results = (
        f"Authentication-Results: {domain}; arc={chain}; dmarc=pass header.from=example.org\r\n".encode()
    )
    names = [name.encode() for name in SIGNED_FIELDS]
    arc_set: list[bytes] = dkim.arc_sign(
        results + octets, b"arc", domain.encode(), key.private, domain.encode(), include_headers=names
    )
    assert len(arc_set) == 3
    return b"".join(arc_set) + results + octets


def answered(
    texts: Mapping[str, bytes | Sequence[bytes] | Status], rdtype: RecordType = RecordType.TXT
) -> dict[Question, Answer]:
    """Answers by name: one record, several, or what there is instead of records."""
    found = {}
    for name, text in texts.items():
        if isinstance(text, Status):
            answer = Answer(text, reason="timeout" if text is Status.TEMPORARY else "")
        else:
            answer = Answer(Status.RECORDS, (text,) if isinstance(text, bytes) else tuple(text), 60)
        found[Question(name, rdtype)] = answer
    return found
