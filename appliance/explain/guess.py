"""Envelope values from the message itself, for somebody who has a file and nothing else. Only as good as the file."""

from dataclasses import dataclass

from appliance.mail.message import HeaderField, IPAddress
from appliance.mail.origin import client_in_received


@dataclass(frozen=True, slots=True)
class Guess:
    """``None`` where nothing can be guessed."""

    client_ip: IPAddress | None = None
    helo: str | None = None
    mail_from: str | None = None


def guess_envelope(fields: tuple[HeaderField, ...]) -> Guess:
    """From the topmost Received and Return-Path fields, which the last server writes."""
    received = next((field.value for field in fields if field.is_named(b"received")), b"")
    hop = client_in_received(received)
    path = next((field.value for field in fields if field.is_named(b"return-path")), None)
    return Guess(
        hop.ip if hop else None, hop.helo if hop else None, _address(path) if path is not None else None
    )


def _address(value: bytes) -> str | None:
    text = value.strip().decode("utf-8", "surrogateescape")
    return text[1:-1] if text.startswith("<") and text.endswith(">") else None
