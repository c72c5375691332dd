"""Compose the mail that carries a report (RFC 9990 section 3.5.2).

One mail for each destination: a dead address then bounces under its own return path and delays no other. The mails of
one report differ in their To line alone, which is put on top when the mail is handed over; what is stored has none.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from appliance.mail.domain import domain_of
from reporting.aggregate_xml import Origin, Totals
from reporting.mailto import MailAddress
from reporting.period import Period

# Longest line in the header: consumers stumble over a file name in several pieces (AGG-38).
_UNFOLDED = SMTP.clone(max_line_length=998)

# Plain text: nothing to escape. Whatever comes from outside is a domain name.
_TEXTS = Environment(  # noqa: S701
    loader=PackageLoader("reporting"), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
)


@dataclass(frozen=True, slots=True)
class AggregateMail:
    """What the mail of one aggregate report says."""

    origin: Origin
    policy_domain: str
    period: Period
    totals: Totals
    xml_gz: bytes

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
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(origin.organization, addr_spec=origin.address)
    message["Subject"] = (
        f"Report Domain: {mail.policy_domain} Submitter: {mail.receiver} Report-ID: <{origin.report_id}>"
    )
    message["Date"] = format_datetime(now.astimezone(UTC))
    message["Message-ID"] = f"<{origin.report_id}.1@{mail.receiver}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_note(mail))
    message.add_attachment(mail.xml_gz, maintype="application", subtype="gzip", filename=mail.file_name)
    return message.as_bytes(policy=_UNFOLDED)


def addressed(message: bytes, recipient: MailAddress) -> bytes:
    """*message* as it goes to *recipient*."""
    return b"To: " + str(recipient).encode("ascii") + b"\r\n" + message


def return_path(address: str, report_id: str, recipient: MailAddress) -> str:
    """Where bounces of this report from *recipient* go: the domain of the report *address*, so that SPF is aligned."""
    destination = hashlib.sha256(str(recipient).encode("ascii")).hexdigest()[:8]
    return f"bounces+{report_id}.{destination}@{domain_of(address)}"


def _note(mail: AggregateMail) -> str:
    return _TEXTS.get_template("aggregate.txt").render(
        policy_domain=mail.policy_domain,
        organization=mail.origin.organization,
        address=mail.origin.address,
        contact=mail.origin.contact,
        begin=datetime.fromtimestamp(mail.period.begin, UTC),
        end=datetime.fromtimestamp(mail.period.last_second, UTC),
        messages=mail.totals.messages,
        report_id=mail.origin.report_id,
    )
