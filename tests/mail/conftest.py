"""A message around the header fields that a test is about."""

from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from appliance.mail.message import Envelope, HeaderField, Message


@pytest.fixture(scope="session")
def message_of() -> Callable[..., Message]:
    """Makes a message of (name, value) pairs; *client* and *helo* are the envelope's."""

    def make(
        *fields: tuple[bytes, bytes], client: str | None = "192.0.2.1", helo: str = "mx.example"
    ) -> Message:
        envelope = Envelope(
            client_ip=ip_address(client) if client else None,
            client_name="",
            helo=helo,
            mail_from="sender@example.net",
            recipients=(),
            queue_id="4ZqK1",
            received_at=datetime(2026, 11, 23, tzinfo=UTC),
        )
        return Message(envelope, tuple(HeaderField(name, value) for name, value in fields), b"text\r\n")

    return make
