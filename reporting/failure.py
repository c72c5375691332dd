"""Compose the mail that carries a failure report (RFC 9991, RFC 6591, RFC 5965): header fields only, never a body."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from appliance.dmarc.failure import FailureKind
from appliance.mail.domain import domain_of
from appliance.mail.redaction import folded, plain
from appliance.settings import Reports
from appliance.store.failure_samples import FailureSample
from reporting.aggregate_xml import generator
from reporting.compose import SEVEN_BIT
from reporting.texts import render

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+")  # RFC 2045 section 5.1
_NOT_FOR_COMMENTS = re.compile(r"[^A-Za-z0-9 _.,:/+-]")


@dataclass(frozen=True, slots=True)
class FailureMail:
    """What the mail of one failure report says."""

    sample: FailureSample
    incidents: int
    report_id: str
    organization: str
    address: str
    contact: str

    @classmethod
    def of(cls, sample: FailureSample, incidents: int, report_id: str, settings: Reports) -> "FailureMail":
        return cls(sample, incidents, report_id, settings.organization, settings.address, settings.contact)


def compose_failure(mail: FailureMail, now: datetime) -> bytes:
    """The message, CR LF line ends, without To; codes in place of local parts are the same for all receivers yet."""
    message = EmailMessage(policy=SEVEN_BIT)
    message["From"] = Address(mail.organization, addr_spec=mail.address)
    message["Subject"] = _subject(mail.sample)
    message["Date"] = format_datetime(now.astimezone(UTC))
    message["Message-ID"] = f"<{mail.report_id}.1@{domain_of(mail.address)}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_note(mail))
    message.make_mixed(boundary=f"{mail.report_id}=_report")
    message.set_type("multipart/report")
    message.set_param("report-type", "feedback-report")
    message.attach(_part("message/feedback-report", _fields(mail)))
    header = mail.sample.header or (f"From: redacted@{mail.sample.author_domain}",)  # readers want something
    message.attach(_part("text/rfc822-headers", iter(header)))
    return message.as_bytes()


def _part(content_type: str, lines: Iterator[str]) -> EmailMessage:
    part = EmailMessage(policy=SEVEN_BIT)
    part["Content-Type"] = content_type
    part["Content-Transfer-Encoding"] = "7bit"
    part.set_payload("".join(f"{line}\r\n" for line in lines))
    return part


def _fields(mail: FailureMail) -> Iterator[str]:
    """Of the part for programs, unfolded where they are not very long: common readers read lines (RFC 6591)."""
    sample = mail.sample
    values: list[tuple[str, str]] = [
        ("Feedback-Type", "auth-failure"),
        ("User-Agent", _user_agent()),
        ("Version", "1"),
        ("Auth-Failure", sample.kind.value),
        ("Authentication-Results", _results(sample)),
        ("Identity-Alignment", ",".join(sample.unaligned) or "none"),
        ("Reported-Domain", sample.author_domain),
        ("Source-IP", sample.source_ip),
        ("Source-Port", "" if sample.source_port is None else str(sample.source_port)),
        ("Original-Envelope-Id", sample.queue_id),
        ("Original-Mail-From", f"<{sample.mail_from}>" if sample.mail_from else ""),
        ("Arrival-Date", format_datetime(sample.received_at.astimezone(UTC))),
        ("Reporting-MTA", f"dns; {plain(sample.node)}"),
        ("Delivery-Result", sample.delivery),
        *_signature(sample),
        *(("SPF-DNS", f"txt : {domain} : {_quoted(text)}") for domain, text in sample.spf_records),
        ("Incidents", str(mail.incidents) if mail.incidents > 1 else ""),
    ]
    return (folded(f"{name}: {value}") for name, value in values if value)


def _signature(sample: FailureSample) -> list[tuple[str, str]]:
    signature = sample.signature
    if signature is None:
        return []
    return [
        ("DKIM-Domain", signature.domain),
        ("DKIM-Identity", signature.identity),
        ("DKIM-Selector", signature.selector),
    ]


def _results(sample: FailureSample) -> str:
    """One method with its one result (RFC 6591 section 3.1)."""
    match sample.kind:
        case FailureKind.DMARC:
            policy = f" (p={sample.policy})" if sample.policy else ""
            result = f"dmarc={sample.result}{policy} header.from={sample.author_domain}"
        case FailureKind.SPF:
            domain = f" smtp.mailfrom={sample.mail_from_domain}" if sample.mail_from_domain else ""
            result = f"spf={sample.result}{domain}"
        case _:
            result = f"dkim={sample.result}{_signed_by(sample)}"
    name = sample.authserv_id
    return f"{name if _TOKEN.fullmatch(name) else _quoted(plain(name))}; {result}"


def _signed_by(sample: FailureSample) -> str:
    signature = sample.signature
    if signature is None:
        return ""
    reason = _NOT_FOR_COMMENTS.sub(" ", signature.reason)
    said = f" ({reason})" if reason.strip() else ""
    selector = f" header.s={signature.selector}" if signature.selector else ""
    return f"{said} header.d={signature.domain}{selector}"


def _subject(sample: FailureSample) -> str:
    """The original one, where it may be told; decoded nowhere, so that nothing comes out of it (RUF-11, T22)."""
    if sample.redacted:
        return f"DMARC failure report about mail of {sample.author_domain}"
    return "FW: " + plain(sample.subject).replace("=?", "= ?")


def _note(mail: FailureMail) -> str:
    sample = mail.sample
    return render(
        "failure.txt",
        author_domain=sample.author_domain,
        policy_domain=sample.policy_domain,
        organization=mail.organization,
        address=mail.address,
        contact=mail.contact,
        source_ip=sample.source_ip,
        received_at=f"{sample.received_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        failed=_results(sample).partition("; ")[2],
        report_id=mail.report_id,
        incidents=mail.incidents,
        redacted=sample.redacted,
    )


def _user_agent() -> str:
    name, _, version = generator().rpartition(" ")
    return f"{name.replace(' ', '-')}/{version}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
