"""Send the samples through a gateway, with DMARC off and on, release and report, and say what became of each."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from appliance.lab.gateway import AUTHSERV_ID, Gateway
from appliance.lab.mailbox import DeliveredMessage, NotDelivered
from appliance.lab.nameserver import Behaviour
from appliance.lab.samples import (
    EXCEPTION_CLIENT,
    OUTAGE_DOMAIN,
    RECIPIENT,
    SAMPLES,
    Fate,
    Sample,
    SigningKey,
    compose,
    sample_zone,
)
from appliance.lab.smtp import Reply, send_message
from appliance.node import read_node
from appliance.quarantine import Desk, release
from appliance.store import events, quarantine
from appliance.store.events import Event
from appliance.store.search import EventQuery, search

_ARRIVAL_SECONDS = 15.0
SETTINGS_ON = {
    "verification__enabled": True,
    "verification__x_header": True,
    "verification__exceptions": [f"{EXCEPTION_CLIENT} # the scanner"],
    "identity__authserv_id": AUTHSERV_ID,
    "reports__enabled": True,
    "reports__readiness_override": "lab",
    "reports__organization": "DMARC Gate lab",
    "reports__address": "dmarc-reports@corp.example",
    "reports__gate": "all",
}


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one message or report. *ok*: it is what was expected."""

    part: str
    """``off``, ``on``, ``release`` or ``report``."""
    name: str
    author: str
    client_ip: str
    expected: str
    outcome: str
    dmarc: str
    """The result in our Authentication-Results field, or ``""`` where there is no such field."""
    reply: str
    id: str
    """Looks the message up in the log, on the page and with ``dmarcgate quarantine``."""
    why: str
    ok: bool


class Demonstration:
    """One run of all samples through *gateway*."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._key = SigningKey()
        for (name, record_type), records in sample_zone(self._key).items():
            if record_type == "TXT":
                gateway.zone.txt(name, *records)
            else:
                gateway.zone.set(name, record_type, *records)
        for name in (OUTAGE_DOMAIN, f"_dmarc.{OUTAGE_DOMAIN}"):
            gateway.zone.misbehave(name, Behaviour.SERVFAIL)

    def run(self) -> Iterator[Line]:
        """Each line as soon as it is known: DMARC off first, then on, then the release."""
        for sample in SAMPLES:
            yield self._send(sample, "off")
        self._gateway.save(**SETTINGS_ON)
        for sample in SAMPLES:
            yield self._send(sample, "on")
        yield self._release()

    def _send(self, sample: Sample, part: str) -> Line:
        message_id = f"{secrets.token_hex(8)}@{sample.author.rpartition('@')[2]}"
        reply = send_message(
            self._gateway.postfix.config.smtp_port,
            mail_from=sample.mail_from,
            rcpt_to=[RECIPIENT],
            octets=compose(sample, self._key, message_id=message_id, now=datetime.now(UTC)),
            client_ip=sample.client_ip,
            helo=sample.mail_from.rpartition("@")[2],
        )
        event = self._event(message_id)
        delivered = None
        if reply.accepted and (event is None or event.outcome != "quarantine"):
            delivered = self._arrival(message_id)
        fate = _fate(reply, event, delivered)
        verified = part == "on" and sample.dmarc is not None
        expected = sample.fate if part == "on" else Fate.DELIVERED
        return Line(
            part=part,
            name=sample.name,
            author=sample.author,
            client_ip=sample.client_ip,
            expected=f"{expected}, {sample.dmarc}" if verified else f"{expected}, unmarked",
            outcome=fate,
            dmarc=_dmarc_result(delivered) or (event.result if event and not event.skip else ""),
            reply=f"{reply.code} {reply.text}",
            id=event.event_id if event else "",
            why=_why(event),
            ok=fate == expected
            and _marked_as_expected(sample, delivered, verified=verified)
            and _says_why(reply, event),
        )

    def _release(self) -> Line:
        """Release what was quarantined; it must arrive, and no new event may come of it."""
        gateway = self._gateway
        with gateway.store.read() as connection:
            held = quarantine.list_held(connection)
            before = events.count(connection)
        if len(held) != 1:
            return _failed_release(f"{len(held)} messages are held, not one")
        row = held[0]
        desk = Desk.of(read_node(gateway.node_file), gateway.store)
        queue_id = release(desk, row.event_id, actor="lab")
        delivered = self._arrival(row.message_id)
        with gateway.store.read() as connection:
            verified_again = events.count(connection) != before
        return Line(
            part="release",
            name="release from quarantine",
            author=row.header_from,
            client_ip=str(row.envelope.client_ip),
            expected="delivered, not verified again",
            outcome=Fate.DELIVERED if delivered else "missing",
            dmarc=_dmarc_result(delivered),
            reply=f"250 queued as {queue_id}",
            id=row.event_id,
            why="verified again" if verified_again else "taken by the release listener, which asks no filter",
            ok=delivered is not None and not verified_again,
        )

    def _event(self, message_id: str) -> Event | None:
        with self._gateway.store.read() as connection:
            found = search(connection, EventQuery(message_id=message_id), limit=1).events
        return found[0] if found else None

    def _arrival(self, message_id: str) -> DeliveredMessage | None:
        try:
            return self._gateway.inside.wait_for(message_id=message_id, seconds=_ARRIVAL_SECONDS)
        except NotDelivered:
            return None


def _fate(reply: Reply, event: Event | None, delivered: DeliveredMessage | None) -> str:
    if not reply.accepted:
        return Fate.REFUSED if reply.code >= 500 else Fate.DEFERRED
    if delivered is not None:
        return Fate.DELIVERED
    return Fate.QUARANTINED if event is not None and event.outcome == "quarantine" else "missing"


def _dmarc_result(delivered: DeliveredMessage | None) -> str:
    """The DMARC result that our own Authentication-Results field gives."""
    for value in delivered.texts("Authentication-Results") if delivered else ():
        if value.startswith(AUTHSERV_ID + ";") and "dmarc=" in value:
            return value.partition("dmarc=")[2].split()[0]
    return ""


def _marked_as_expected(sample: Sample, delivered: DeliveredMessage | None, *, verified: bool) -> bool:
    if delivered is None:
        return True
    marks = [*delivered.texts("Authentication-Results"), *delivered.texts("X-DMARC-Result")]
    if not verified:
        return not marks
    return (
        len(marks) == 2
        and _dmarc_result(delivered) == sample.dmarc
        and marks[1].startswith(str(sample.dmarc))
    )


def _says_why(reply: Reply, event: Event | None) -> bool:
    """Whether a refusal has the right code and the id to look it up."""
    if reply.accepted:
        return True
    return (
        reply.code == 550
        and reply.text.startswith("5.7.26 ")
        and event is not None
        and event.event_id in reply.text
    )


def _why(event: Event | None) -> str:
    if event is None:
        return "DMARC is off"
    if event.skip:
        return f"not verified: {event.skip} {event.note}".strip()
    authentication = event.authentication
    signatures = ",".join(s.result for s in authentication.dkim) if authentication else ""
    spf = authentication.spf.result if authentication else ""
    aligned = [
        name for name, is_aligned in (("SPF", event.spf_aligned), ("DKIM", event.dkim_aligned)) if is_aligned
    ]
    parts = [
        f"spf={spf}",
        f"dkim={signatures or 'none'}",
        f"aligned: {' and '.join(aligned) or 'nothing'}",
        f"p={event.policy}" if event.policy else "",
        event.reason,
    ]
    return ", ".join(filter(None, parts))


def _failed_release(why: str) -> Line:
    return Line("release", "release from quarantine", "", "", "delivered, not verified again", "missing", "", "", "", why, ok=False)  # fmt: skip
