"""What is kept of a message: the record that the filter hands over, and the event that is read back."""

from dataclasses import dataclass
from datetime import datetime

from appliance.mail.authentication import Authentication
from appliance.mail.message import Envelope, IPAddress
from appliance.policy import Override, Verdict
from appliance.store.failure_samples import FailureSample


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """What the filter hands over for one message."""

    event_id: str
    """12 lower-case hexadecimal digits; appears in replies, log and pages."""
    node: str
    revision: int
    """The settings revision that the message was judged under."""
    envelope: Envelope
    client_ip: IPAddress | None
    """The effective client."""
    message_id: str
    subject: str
    header_from: str
    size_octets: int
    authentication: Authentication | None
    """``None`` when the message was not verified."""
    verdict: Verdict
    answers: bytes = b""
    """The DNS answers used, serialised; kept compressed."""
    for_reports: bool = True
    """Whether it counts in aggregate reports: not while they are off (S31), nor for mail to our report addresses."""
    causes_report: bool = True
    """Whether a report may go out because of it. What is itself about mail counts only in one that goes out anyway."""
    recipient_domain: bool = True
    """Whether reports may name the domain that all recipients share."""
    exception: str = ""
    """The key of the exception list's entry that applied; ``""`` without one."""
    failures: tuple[FailureSample, ...] = ()
    """What failure reports are asked for; always empty while they are off."""
    failures_room: int = 0
    """How many different failures a UTC day may keep."""


@dataclass(frozen=True, slots=True)
class Event:
    """A message and one of its Author Domains, as it was judged."""

    id: int
    event_id: str
    node: str
    revision: int
    received_at: datetime
    queue_id: str
    author_domain: str
    """``""`` where there is none: not verified, or From unusable."""
    result: str
    """DMARC's, in the words of RFC 8601; ``""`` when the message was not verified."""
    policy: str
    """The published policy that applies, before ``t=y``; ``""`` without a record."""
    policy_domain: str
    disposition: str
    """As a report says it; ``""`` where there is no Author Domain."""
    outcome: str
    """What was done with the message."""
    row: str
    skip: str
    """Why it was not verified; ``""`` when it was."""
    note: str
    incomplete: bool
    """There were more Author Domains than were evaluated."""
    client_ip: str
    """The effective client's; ``""`` for local submission."""
    mail_from: str
    """For people to read; the octets are in *envelope*."""
    header_from: str
    message_id: str
    subject: str
    size_octets: int
    envelope: Envelope
    """With at most the first 100 recipients."""
    recipient_count: int
    authentication: Authentication | None
    published: str
    """The policy record's text."""
    organizational_domain: str
    spf_aligned: bool
    dkim_aligned: bool
    reason: str
    """Why the evaluation came out so, where it isn't plain."""
    overrides: tuple[Override, ...]
    answers: bytes
    """The serialised DNS answers; with several Author Domains, in the first event only."""
