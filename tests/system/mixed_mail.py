"""Mail of every verdict, for tests under load and under faults: domains, messages, and a client that comes again."""

import re
import smtplib
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select

from appliance.lab.gateway import AUTHSERV_ID, Gateway
from appliance.lab.nameserver import Behaviour, Zone
from appliance.lab.smtp import Reply, send_message
from appliance.store.schema import event
from appliance.store.values import from_micros
from tests.system.conftest import INSIDE

GOOD = "192.0.2.1"
STRANGER = "198.51.100.66"
EXEMPT = "192.0.2.99"

_EVENT_ID = re.compile(r"\(id ([0-9a-f]{12})\)")
_PATIENCE_SECONDS = 90.0
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of message, and the row of the action table that each of its author domains meets."""

    name: str
    author: str
    rows: tuple[str, ...]
    client_ip: str = STRANGER


PASS = Kind("pass", "a@pass.test", ("pass",), GOOD)
NONE = Kind("none", "a@none.test", ("none",))
QUARANTINE = Kind("quarantine", "a@quarantine.test", ("quarantine",))
REJECT = Kind("reject", "a@reject.test", ("reject",))
NO_RECORD = Kind("no record", "a@plain.test", ("no_record",))
TEMPORARY = Kind("temporary error", "a@outage.test", ("temporary_error",))
UNUSABLE = Kind("unusable From", "nobody", ("unusable_from",))
SEVERAL = Kind("several author domains", "a@none.test, b@quarantine.test", ("none", "quarantine"))
SKIPPED = Kind("exception", "a@reject.test", ("unverified",), EXEMPT)
KINDS = (PASS, NONE, QUARANTINE, REJECT, NO_RECORD, UNUSABLE, SEVERAL, SKIPPED, PASS, TEMPORARY, NONE)
"""In this order again and again; temporary errors stay far below what counts as trouble of the DNS."""


def lay_out(zone: Zone) -> None:
    """The domains of all kinds."""
    for policy in ("none", "quarantine", "reject"):
        zone.txt(f"_dmarc.{policy}.test", f"v=DMARC1; p={policy}; rua=mailto:r@{policy}.test")
    zone.txt("_dmarc.pass.test", "v=DMARC1; p=reject")
    zone.txt("pass.test", f"v=spf1 ip4:{GOOD} -all")
    zone.txt("stranger.test", "v=spf1 -all")
    zone.a("plain.test", GOOD)
    zone.misbehave("_dmarc.outage.test", Behaviour.SERVFAIL)


@dataclass(slots=True)
class Mail:
    """One message on its way, and all replies to it. The first field lines are forged to look like ours."""

    number: int
    kind: Kind
    replies: list[Reply] = field(default_factory=list)

    @property
    def message_id(self) -> str:
        return f"<{self.number}@mixed.test>"

    @property
    def octets(self) -> bytes:
        return (
            f"Authentication-Results: {AUTHSERV_ID}; dmarc=pass header.from=forged.test\r\n"
            "X-Judged-A: forged\r\nX-Judged-B: forged\r\n"
            f"From: {self.kind.author}\r\nTo: u@{INSIDE}\r\nSubject: {self.kind.name}\r\n"
            f"Message-ID: {self.message_id}\r\n\r\nNumber {self.number}\r\n"
        ).encode()

    @property
    def final(self) -> Reply:
        return self.replies[-1]

    @property
    def judged(self) -> list[str]:
        """The event IDs that refusals of the filter named."""
        return [found[1] for reply in self.replies if (found := _EVENT_ID.search(reply.text))]

    @property
    def interrupted(self) -> int:
        """How often Postfix put the message off because it lost the filter."""
        return sum(400 <= reply.code < 500 and not _EVENT_ID.search(reply.text) for reply in self.replies)

    def send(self, gateway: Gateway) -> Reply:
        """Once."""
        domain = self.kind.author.rpartition("@")[2]
        mail_from = f"bounce@{domain}" if self.kind is PASS else "bounce@stranger.test"
        reply = send_message(
            gateway.postfix.config.smtp_port,
            mail_from=mail_from,
            rcpt_to=[f"u{self.number}@{INSIDE}"],
            octets=self.octets,
            client_ip=self.kind.client_ip,
        )
        self.replies.append(reply)
        return reply

    def send_until_answered(self, gateway: Gateway) -> Reply:
        """As a real client does: a temporary refusal means to come again."""
        give_up_at = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                reply = self.send(gateway)
            except (OSError, smtplib.SMTPException):
                assert time.monotonic() < give_up_at, f"Postfix is gone: {self}"
            else:
                if not 400 <= reply.code < 500:
                    return reply
                assert time.monotonic() < give_up_at, f"put off for {_PATIENCE_SECONDS} s: {reply}"
            time.sleep(_PAUSE_SECONDS)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What matters here of an event."""

    event_id: str
    queue_id: str
    message_id: str
    received_at: datetime
    revision: int
    author_domain: str
    row: str
    outcome: str


def recorded(gateway: Gateway, *mails: Mail) -> list[Recorded]:
    """The events of *mails*, or all that there are."""
    columns = [event.c[name] for name in Recorded.__dataclass_fields__]
    wanted = select(*columns).order_by(event.c.id)
    if mails:
        wanted = wanted.where(event.c.message_id.in_([mail.message_id for mail in mails]))
    with gateway.store.read() as connection:
        found = connection.execute(wanted).mappings().all()
    return [Recorded(**{**row, "received_at": from_micros(row["received_at"])}) for row in found]


def judgements(gateway: Gateway, *mails: Mail) -> int:
    """How often these messages were judged, as far as it is recorded."""
    return len({one.event_id for one in recorded(gateway, *mails)})


class Pace:
    """Lets callers through at most *per_second* times a second, so that a run lasts long enough to be disturbed."""

    def __init__(self, per_second: float) -> None:
        self._apart = 1 / per_second
        self._lock = threading.Lock()
        self._next = time.monotonic()

    def wait(self) -> None:
        with self._lock:
            now = time.monotonic()
            self._next = max(self._next, now - self._apart) + self._apart
            wait = self._next - now
        if wait > 0:
            time.sleep(wait)
