"""Make the copy of a report for one address: in the form that it gets, signed, with a return path of its own."""

from dataclasses import dataclass
from email import message_from_bytes
from email.policy import SMTP

from appliance.mail.domain import domain_of
from appliance.settings import ReportForm, Reports
from appliance.store import keys, reports
from appliance.store.engine import Store
from appliance.store.report_copies import Copy
from appliance.store.reports import ReportJob
from reporting.compose import addressed
from reporting.legacy import form_for
from reporting.mailto import MailAddress
from reporting.return_path import ReturnPaths
from reporting.signing import signed


@dataclass(frozen=True, slots=True)
class Messages:
    """A report as it was built, without what differs between its copies."""

    rfc9990: bytes
    legacy: bytes | None

    def octets_of(self, copy: Copy) -> bytes:
        """*copy* as it is handed over."""
        return copy.head + self._of(ReportForm(copy.form))

    def _of(self, form: ReportForm) -> bytes:
        """In *form*, or in ours when nobody wanted that one as the report was built."""
        return self.legacy if form is ReportForm.LEGACY and self.legacy is not None else self.rfc9990


def messages_of(store: Store, job: ReportJob) -> Messages:
    with store.read() as connection:
        message = reports.message(connection, job.id)
        assert message is not None, "a report is kept before it is sent"
        return Messages(message, reports.legacy_message(connection, job.id))


def make_copy(
    store: Store,
    job: ReportJob,
    messages: Messages,
    address: MailAddress,
    settings: Reports,
    return_paths: ReturnPaths,
) -> Copy:
    """The copy for *address* by today's settings and keys; it is for the caller to freeze."""
    form = form_for(address.domain, settings).value
    message = messages.octets_of(Copy(str(address), form, "", b""))
    author = author_of(message)
    with store.read() as connection:
        signers = keys.signing_keys(connection, domain_of(author))
    octets = signed(addressed(message, address), signers, job.created_at)
    assert octets.endswith(message), "only fields are put above a message"
    mail_from = return_paths.of(author, job.report_id, str(address))
    return Copy(str(address), form, mail_from, octets.removesuffix(message))


def author_of(message: bytes) -> str:
    """The address that *message* is from, whatever the settings say by now."""
    head = message_from_bytes(message.partition(b"\r\n\r\n")[0], policy=SMTP)
    address: str = head["From"].addresses[0].addr_spec
    return address
