"""Sample domains and one sample message for each outcome."""

import base64
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from enum import StrEnum

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from reporting.signing import sign

INSIDE_DOMAIN = "corp.example"
RECIPIENT = f"user@{INSIDE_DOMAIN}"
EXCEPTION_CLIENT = "203.0.113.25"
OUTAGE_DOMAIN = "outage.example"

_SELECTOR = "lab"
_NEWSLETTER_CLIENT = "192.0.2.10"
_STRANGER_CLIENT = "198.51.100.66"


class Fate(StrEnum):
    """What became of a message, as its sender and its recipient see it."""

    DELIVERED = "delivered"
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True)
class Sample:
    """A message to send, and what must become of it. *dmarc* is ``None`` where it is not verified."""

    name: str
    client_ip: str
    mail_from: str
    author: str
    fate: Fate
    dmarc: str | None
    signed: bool = False
    subject: str = "Sample message"


SAMPLES = (
    Sample("pass by SPF only", _NEWSLETTER_CLIENT, "news@newsletter.example", "news@newsletter.example",
           Fate.DELIVERED, "pass", subject="This week's letter"),
    Sample("pass by DKIM only", _STRANGER_CLIENT, "bounces@relay.example", "alerts@bank.example",
           Fate.DELIVERED, "pass", signed=True, subject="Your statement"),
    Sample("fail, p=none", _STRANGER_CLIENT, "someone@stranger.example", "anna@hobby.example",
           Fate.DELIVERED, "fail", subject="Photos"),
    Sample("fail, p=quarantine", _STRANGER_CLIENT, "someone@stranger.example", "orders@shop.example",
           Fate.QUARANTINED, "fail", subject="Your order 4711"),
    Sample("fail, p=reject", _STRANGER_CLIENT, "someone@stranger.example", "alerts@bank.example",
           Fate.REFUSED, "fail", subject="Your account is locked"),
    Sample("no DMARC record", _STRANGER_CLIENT, "bob@plain.example", "bob@plain.example",
           Fate.DELIVERED, "none", subject="Lunch"),
    Sample("temporary DNS error", _STRANGER_CLIENT, f"ops@{OUTAGE_DOMAIN}", f"ops@{OUTAGE_DOMAIN}",
           Fate.DELIVERED, "temperror", subject="Maintenance tonight"),
    Sample("client on the exception list", EXCEPTION_CLIENT, "scan@printer.example", "alerts@bank.example",
           Fate.DELIVERED, None, subject="Scan from the second floor"),
)  # fmt: skip


class SigningKey:
    """The key that the sample bank signs with."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.record = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode('ascii')}"


def sample_zone(key: SigningKey) -> dict[tuple[str, str], list[str]]:
    """The DNS of the sample domains: (name, type) to records. ``OUTAGE_DOMAIN`` is there, but must not answer."""
    records: dict[tuple[str, str], list[str]] = {}
    for domain, dmarc, spf in (
        ("newsletter.example", "p=quarantine", f"ip4:{_NEWSLETTER_CLIENT} -all"),
        ("bank.example", "p=reject", "-all"),
        ("hobby.example", "p=none", "-all"),
        ("shop.example", "p=quarantine", "-all"),
    ):
        records["_dmarc." + domain, "TXT"] = [f"v=DMARC1; {dmarc}; rua=mailto:dmarc@{domain}"]
        records[domain, "TXT"] = [f"v=spf1 {spf}"]
    records["_dmarc.bank.example", "TXT"] = [
        "v=DMARC1; p=reject; rua=mailto:dmarc@bank.example,mailto:bank@collector.example"
    ]
    records["bank.example._report._dmarc.collector.example", "TXT"] = ["v=DMARC1"]
    records[f"{_SELECTOR}._domainkey.bank.example", "TXT"] = [key.record]
    records["relay.example", "TXT"] = ["v=spf1 -all"]
    for domain in (
        "stranger.example",
        "plain.example",
        "printer.example",
        "collector.example",
        INSIDE_DOMAIN,
    ):
        records[domain, "A"] = ["192.0.2.80"]
    return records


def compose(sample: Sample, key: SigningKey, *, message_id: str, now: datetime) -> bytes:
    """The sample's message, ready for DATA."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sample.author
    message["To"] = RECIPIENT
    message["Subject"] = sample.subject
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{message_id}>"
    message.set_content(f"A sample message of the lab: {sample.name}.\n")
    octets = message.as_bytes()
    if not sample.signed:
        return octets
    domain = sample.author.rpartition("@")[2]
    return sign(octets, domain=domain, selector=_SELECTOR, private_key=key.pem) + octets
