"""Compose the mail that carries a report (RFC 9990 section 3.5.2).

One mail for each destination: a dead address then bounces under its own return path and delays no other. The mails of
one report differ in their To line alone, which is put on top when the mail is handed over; what is stored has none.
"""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from appliance.mail.domain import domain_of
from appliance.settings import ReportForm
from reporting.aggregate_xml import Origin, Totals
from reporting.mailto import MailAddress
from reporting.period import Period
from reporting.texts import render

ENCODED_AT_ONCE = 57 * 1024  # octets: whole lines

# Longest line in the header: consumers stumble over a file name in several pieces (AGG-38).
_UNFOLDED = SMTP.clone(max_line_length=998)

# Servers that can't take other octets would convert them, and break the signature (RFC 6376 section 5.3).
SEVEN_BIT = SMTP.clone(cte_type="7bit")


@dataclass(frozen=True, slots=True)
class AggregateMail:
    """What the mail of one aggregate report says."""

    origin: Origin
    policy_domain: str
    period: Period
    totals: Totals
    xml_gz: bytes
    form: ReportForm = ReportForm.RFC9990
    not_listed: int = 0
    """Messages that were counted without a record."""

    @property
    def receiver(self) -> str:
        """Our domain, as file name and subject name it: that of the report address."""
        return domain_of(self.origin.address)

    @property
    def file_name(self) -> str:
        """The same for every attempt and destination: consumers recognise repeats by it."""
        parts = (
            self.receiver,
            self.policy_domain,
            str(self.period.begin),
            str(self.period.last_second),
            self.origin.report_id,
        )
        return "!".join(parts) + ".xml.gz"


def compose(mail: AggregateMail, now: datetime) -> bytes:
    """The message, CR LF line ends, without To."""
    origin = mail.origin
    message = EmailMessage(policy=SEVEN_BIT)
    message["From"] = Address(origin.organization, addr_spec=origin.address)
    message["Subject"] = (
        f"Report Domain: {mail.policy_domain} Submitter: {mail.receiver} Report-ID: <{origin.report_id}>"
    )
    message["Date"] = format_datetime(now.astimezone(UTC))
    message["Message-ID"] = f"<{origin.report_id}.1@{mail.receiver}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_note(mail))
    message.add_attachment(b"", maintype="application", subtype="gzip", filename=mail.file_name)
    return _filled(message, mail.xml_gz)


def addressed(message: bytes, recipient: MailAddress) -> bytes:
    """*message* as it goes to *recipient*."""
    return b"To: " + str(recipient).encode("ascii") + b"\r\n" + message


def _filled(message: EmailMessage, attachment: bytes) -> bytes:
    """*message* with *attachment* in its last part, which is empty: the library needs its size many times over."""
    octets = message.as_bytes(policy=_UNFOLDED)
    end = octets.rindex(f"--{message.get_boundary()}--".encode())
    lines = (
        base64.encodebytes(attachment[at : at + ENCODED_AT_ONCE]).replace(b"\n", b"\r\n")
        for at in range(0, len(attachment), ENCODED_AT_ONCE)
    )
    return b"".join((octets[:end].rstrip(), b"\r\n\r\n", *lines, octets[end:]))


def _note(mail: AggregateMail) -> str:
    return render(
        "aggregate.txt",
        policy_domain=mail.policy_domain,
        organization=mail.origin.organization,
        address=mail.origin.address,
        contact=mail.origin.contact,
        begin=_moment(mail.period.begin),
        end=_moment(mail.period.last_second),
        messages=mail.totals.messages,
        not_listed=mail.not_listed,
        is_whole_day=mail.period.is_whole_day,
        rfc="7489" if mail.form is ReportForm.LEGACY else "9990",
        report_id=mail.origin.report_id,
    )


def _moment(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
