"""Letters to the gateway, and what became of each as its sender, its recipients and the administrator see it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

from appliance.lab.gateway import Gateway
from appliance.lab.mailbox import DeliveredMessage
from appliance.lab.nameserver import Zone
from appliance.lab.samples import Fate
from appliance.lab.services import wait_for
from appliance.lab.smtp import Reply, Stage, send_message
from appliance.store import events, quarantine
from appliance.store.facts import ReportRow
from appliance.store.quarantine import QuarantineRow
from appliance.store.records import Event
from tests.checks.mails import SigningKey, new_rsa_key, signed
from tests.system.behaviour.observing import STRANGER, fresh, report_rows
from tests.system.conftest import INSIDE

OWN = "192.0.2.1"
"""The client that every domain of an ``Owner`` names in its SPF record."""
SELECTOR = "s"

_SENDERS = 8
_OUTCOMES = {
    Fate.DELIVERED: "deliver",
    Fate.QUARANTINED: "quarantine",
    Fate.REFUSED: "reject",
    Fate.DEFERRED: "defer",
}
_numbers = count(1)


# ---- who writes -----------------------------------------------------------------


@dataclass(frozen=True)
class Owner:
    """Publishes domains, each new to every cache, and signs in their names."""

    zone: Zone
    key: SigningKey

    @classmethod
    def of(cls, zone: Zone) -> "Owner":
        return cls(zone, new_rsa_key())

    def domain(self, tags: str | None = "p=reject; rua=mailto:r@owner.test", *, label: str = "d") -> str:
        """A domain with SPF, a key, and a policy record of *tags* unless that is ``None``."""
        name = fresh(label)
        self.authenticate(name)
        if tags is not None:
            self.zone.txt(f"_dmarc.{name}", f"v=DMARC1; {tags}")
        return name

    def authenticate(self, *names: str) -> None:
        """Give *names* an SPF record that names ``OWN``, and a key."""
        for name in names:
            self.zone.txt(name, f"v=spf1 ip4:{OWN} -all")
            self.zone.txt(f"{SELECTOR}._domainkey.{name}", self.key.record)

    def signed(self, octets: bytes, domain: str, *, selector: str = SELECTOR) -> bytes:
        return signed(self.key, octets, domain=domain, selector=selector)


def mail(author: str, *above: str, body: str = "Hello\r\n") -> bytes:
    """A message whose From field is *author*, with the fields *above* on top of it."""
    fields = (
        *above,
        f"From: {author}",
        f"To: u@{INSIDE}",
        "Subject: x",
        "Date: Mon, 23 Nov 2026 14:00:00 +0000",
        f"Message-ID: <{next(_numbers)}@client.example>",
    )
    return "".join(f"{one}\r\n" for one in (*fields, "")).encode() + body.encode()


@dataclass(frozen=True)
class Letter:
    """A message and how it is sent: by a stranger, unless said otherwise."""

    octets: bytes
    mail_from: str = "someone@stranger.test"
    client_ip: str = STRANGER
    helo: str = "client.example"
    recipients: int = 1
    login: str = ""
    """The name under which the client has signed in."""
    parameters: tuple[str, ...] = ()
    """Of MAIL FROM."""


def spoof(domain: str, *above: str) -> Letter:
    """A stranger claims to be *domain*."""
    return Letter(mail(f"admin@{domain}", *above))


def genuine(domain: str, *above: str) -> Letter:
    """The owner of *domain* writes; SPF passes."""
    return Letter(mail(f"admin@{domain}", *above), mail_from=f"admin@{domain}", client_ip=OWN)


# ---- what becomes of it ---------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What became of a letter."""

    gateway: Gateway
    recipients: tuple[str, ...]
    reply: Reply
    events: tuple[Event, ...]
    """One for each Author Domain, in their order; none while DMARC is off."""
    copies: tuple[DeliveredMessage, ...]
    """In the recipients' mailboxes."""
    held: QuarantineRow | None
    kept: bytes
    """The quarantine's file."""

    @property
    def event(self) -> Event:
        [event] = self.events
        return event

    @property
    def fate(self) -> Fate:
        """What reply, mailboxes, quarantine and record say alike."""
        signs = self.reply.stage, self.reply.code, len(self.copies), (self.held is not None, bool(self.kept))
        fates = {
            (Stage.MESSAGE, 250, len(self.recipients), (False, False)): Fate.DELIVERED,
            (Stage.MESSAGE, 250, 0, (True, True)): Fate.QUARANTINED,
            (Stage.MESSAGE, 550, 0, (False, False)): Fate.REFUSED,
            (Stage.MESSAGE, 451, 0, (False, False)): Fate.DEFERRED,
        }
        assert signs in fates, f"reply, copies, quarantine's row and file: {signs}; {self.reply}"
        fate = fates[signs]
        assert {event.outcome for event in self.events} <= {_OUTCOMES[fate]}
        return fate

    @property
    def copy(self) -> DeliveredMessage:
        [copy] = self.copies
        return copy

    @property
    def results(self) -> str:
        """Our results field in the delivered copy."""
        return self.copy.texts("Authentication-Results")[0]

    @property
    def report_row(self) -> ReportRow:
        """What the report to the policy domain's owner will say of this letter, the only one about that domain."""
        [(row, counted)] = report_rows(self.gateway, self.event.policy_domain)
        assert counted == 1
        return row

    @property
    def reported(self) -> tuple[str, tuple[str, ...]]:
        """Disposition and reasons of the report's row (RFC 9990 section 3.1.6); the record has the same."""
        row = self.report_row
        reasons = tuple(reason for reason, _comment in row.reasons)
        assert row.disposition == self.event.disposition
        assert reasons == tuple(override.type.value for override in self.event.overrides)
        return row.disposition, reasons


@dataclass(frozen=True)
class Post:
    """Sends letters to the gateway, each to recipients of its own."""

    gateway: Gateway

    def one(self, letter: Letter) -> Seen:
        [seen] = self.send(letter)
        return seen

    def send(self, *letters: Letter) -> list[Seen]:
        """Send them, several at a time; returns when all that is to be delivered has been."""
        addressed = [
            (letter, tuple(f"b{next(_numbers)}@{INSIDE}" for _ in range(letter.recipients)))
            for letter in letters
        ]
        with ThreadPoolExecutor(_SENDERS) as pool:
            replies = list(pool.map(lambda one: self.hand_in(*one), addressed))
        return self.look(
            [(recipients, reply) for (_, recipients), reply in zip(addressed, replies, strict=True)]
        )

    def hand_in(self, letter: Letter, recipients: tuple[str, ...]) -> Reply:
        return send_message(
            self.gateway.postfix.config.smtp_port,
            mail_from=letter.mail_from,
            rcpt_to=recipients,
            octets=letter.octets,
            helo=letter.helo,
            client_ip=letter.client_ip,
            login=letter.login,
            mail_parameters=letter.parameters,
        )

    def look(self, answered: list[tuple[tuple[str, ...], Reply]]) -> list[Seen]:
        """What became of messages to these recipients, each set of them one message's, once the queue is empty."""
        wait_for("an empty queue", lambda: self.gateway.postfix.queue_length() == 0, seconds=60)
        mailbox = self.gateway.inside.messages()
        with self.gateway.store.read() as connection:
            newest = reversed(events.recent(connection, 2000))
            held = quarantine.list_held(connection, 2000)
        recorded: dict[str, list[Event]] = {}
        for event in newest:
            recorded.setdefault(event.envelope.recipients[0].address, []).append(event)
        rows = {row.envelope.recipients[0].address: row for row in held}
        return [
            Seen(
                self.gateway,
                recipients,
                reply,
                tuple(recorded.get(recipients[0], ())),
                tuple(copy for copy in mailbox if copy.recipient in recipients),
                rows.get(recipients[0]),
                self._file(rows.get(recipients[0])),
            )
            for recipients, reply in answered
        ]

    def _file(self, row: QuarantineRow | None) -> bytes:
        if row is None:
            return b""
        found = list((self.gateway.directory / "quarantine").rglob(f"{row.event_id}.*"))
        return found[0].read_bytes() if found else b""
