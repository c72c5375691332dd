"""A gateway of its own for a test module: real Postfix, name server, store and filter."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.mailbox import DeliveredMessage
from appliance.lab.smtp import Reply, Stage, send_message
from appliance.store import events
from appliance.store.records import Event

INSIDE = "corp.example"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    with Gateway(folder, inside_domains=(INSIDE,), page=False) as running:
        yield running


@dataclass(frozen=True)
class Sent:
    """A message that was sent to the gateway, as its sender and the store see it."""

    gateway: Gateway
    recipient: str
    reply: Reply
    events: tuple[Event, ...]
    """One for each Author Domain, in their order; none when Postfix refused it before the filter judged."""

    @property
    def event(self) -> Event:
        [event] = self.events
        return event

    @property
    def fate(self) -> str:
        """``delivered``, ``quarantined``, ``rejected``, ``deferred``; with ``by Postfix`` when the filter never saw it."""
        code = self.reply.code
        if not self.events:
            return f"{code} by Postfix"
        outcome = self.events[0].outcome
        expected = {"deliver": 250, "quarantine": 250, "reject": 550, "defer": 451}[outcome]
        assert (self.reply.stage, code) == (Stage.MESSAGE, expected), self.reply
        return {
            "deliver": "delivered",
            "quarantine": "quarantined",
            "reject": "rejected",
            "defer": "deferred",
        }[outcome]

    def delivered(self) -> DeliveredMessage:
        """The message as it came into the mailbox."""
        [message] = self.gateway.inside.wait_until(
            lambda m: m.recipient == self.recipient, f"mail to {self.recipient}", seconds=30
        )
        return message

    def results(self) -> str:
        """Our results field, the topmost, on one line."""
        return self.delivered().texts("Authentication-Results")[0]


@dataclass
class Outsider:
    """Sends mail to the gateway from any address, each message to a recipient of its own."""

    gateway: Gateway
    client_ip: str = "198.51.100.66"
    helo: str = "client.example"
    _numbers: Iterator[int] = field(default_factory=count)

    def send(
        self,
        octets: bytes,
        *,
        mail_from: str,
        helo: str | None = None,
        client_ip: str | None = None,
        mail_parameters: Sequence[str] = (),
    ) -> Sent:
        recipient = f"r{next(self._numbers)}@{INSIDE}"
        reply = send_message(
            self.gateway.postfix.config.smtp_port,
            mail_from=mail_from,
            rcpt_to=[recipient],
            octets=octets,
            helo=helo or self.helo,
            client_ip=client_ip or self.client_ip,
            mail_parameters=mail_parameters,
        )
        with self.gateway.store.read() as connection:
            newest = events.recent(connection, 10)
        ours = [event for event in newest if event.envelope.recipients[0].address == recipient]
        return Sent(self.gateway, recipient, reply, tuple(reversed(ours)))


@pytest.fixture(scope="module")
def outsider(gateway: Gateway) -> Outsider:
    return Outsider(gateway)
