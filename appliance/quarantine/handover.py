"""Hand a released message to Postfix: one SMTP transaction, for all recipients or none (RFC 5321, RFC 3461)."""

import contextlib
import re
import smtplib
from collections.abc import Iterator
from time import monotonic

from appliance.mail.message import Envelope, Recipient
from appliance.store.quarantine import Notify

STEP_SECONDS = 60.0

_QUEUE_ID = re.compile(rb"queued as ([0-9A-Za-z]{1,64})")
_OF_MAIL_FROM = ("RET=", "ENVID=")
_OF_RCPT_TO = ("NOTIFY=", "ORCPT=")


class ReleaseRefused(Exception):
    """Nothing was handed over; the message is as it was before."""


class PostfixUnreachable(ReleaseRefused):
    """Nobody listens there now."""


class ReleaseUncertain(Exception):
    """The connection broke after the message was handed over: whether Postfix took it, only its log knows."""


class Outlet:
    """A greeted connection to Postfix that takes one message."""

    def __init__(self, client: smtplib.SMTP, seconds: float) -> None:
        self._client = client
        self._deadline = monotonic() + seconds

    def name(self, ident: str) -> bool:
        """Have Postfix write *ident* into its log, beside the queue ID that it gives the message; whether it does."""
        if "IDENT" not in self._client.esmtp_features.get("xforward", "").split():
            return False
        with _refusing():
            self._hurry()
            return self._client.docmd(f"XFORWARD IDENT={ident}")[0] == 250

    def check(self, envelope: Envelope, notify: Notify) -> None:
        """Raise ``ReleaseRefused`` for what Postfix surely can't do."""
        if _wants(envelope, "SMTPUTF8") and not self._client.has_extn("smtputf8"):
            raise ReleaseRefused("the message needs SMTPUTF8, which Postfix doesn't offer")
        if notify is Notify.NEVER and not self._client.has_extn("dsn"):
            raise ReleaseRefused(
                "Postfix doesn't offer DSN here, so the sender, who may be forged, could get a bounce: take dsn out of "
                "smtpd_discard_ehlo_keywords, or release with the original notification parameters"
            )

    def deliver(
        self, envelope: Envelope, recipients: tuple[Recipient, ...], notify: Notify, octets: bytes
    ) -> str:
        """Returns the queue ID, or ``""`` when Postfix named none.

        Raises ``ReleaseRefused`` while nothing can have been taken, then ``ReleaseUncertain``.
        """
        with _refusing():
            self._command(self._mail_command(envelope, notify, octets))
            for recipient in recipients:
                self._command(self._recipient_command(recipient))
            self._hurry()
        try:
            code, reply = self._client.data(octets)
        except smtplib.SMTPDataError as error:
            raise ReleaseRefused(f"Postfix doesn't take the message: {_shown(error.smtp_error)}") from None
        except (OSError, smtplib.SMTPException) as error:
            raise ReleaseUncertain(f"the connection broke when the message was on its way: {error}") from None
        if code // 100 != 2:
            raise ReleaseRefused(f"Postfix doesn't take the message: {code} {_shown(reply)}")
        found = _QUEUE_ID.search(reply)
        return found[1].decode("ascii") if found else ""

    def _mail_command(self, envelope: Envelope, notify: Notify, octets: bytes) -> str:
        words = [f"MAIL FROM:<{envelope.mail_from}>"]
        if _wants(envelope, "SMTPUTF8"):
            words.append("SMTPUTF8")
        if self._client.has_extn("8bitmime") and (_wants(envelope, "BODY=8BITMIME") or not octets.isascii()):
            words.append("BODY=8BITMIME")
        if notify is Notify.ORIGINAL and self._client.has_extn("dsn"):
            words += _chosen(envelope.mail_parameters, _OF_MAIL_FROM)
        return " ".join(words)

    def _recipient_command(self, recipient: Recipient) -> str:
        parameters = _chosen(recipient.parameters, _OF_RCPT_TO) if self._client.has_extn("dsn") else []
        return " ".join([f"RCPT TO:<{recipient.address}>", *parameters])

    def _command(self, command: str) -> None:
        octets = command.encode("utf-8", "surrogateescape")
        if any(octet in octets for octet in b"\r\n\0"):
            raise ReleaseRefused("an address of the message holds a line break")
        self._hurry()
        self._client.send(octets + b"\r\n")
        code, reply = self._client.getreply()
        if code // 100 != 2:
            raise ReleaseRefused(f"Postfix refuses {_shown(octets)}: {code} {_shown(reply)}")

    def _hurry(self) -> None:
        """Let the next step take no longer than all steps may."""
        left = self._deadline - monotonic()
        if left <= 0 or self._client.sock is None:
            raise ReleaseRefused("Postfix is too slow: the message would take too long")
        self._client.sock.settimeout(min(STEP_SECONDS, left))


@contextlib.contextmanager
def connected(listener: tuple[str, int], seconds: float) -> Iterator[Outlet]:
    """A connection for one message, which may take *seconds* in all. Raises ``ReleaseRefused``."""
    try:
        client = smtplib.SMTP(*listener, local_hostname="localhost", timeout=STEP_SECONDS)
    except (OSError, smtplib.SMTPException) as error:
        raise PostfixUnreachable(
            f"Postfix can't be reached on {listener[0]}:{listener[1]}: {error}"
        ) from None
    with contextlib.closing(client):
        with _refusing():
            client.ehlo_or_helo_if_needed()
        yield Outlet(client, seconds)
        with contextlib.suppress(OSError, smtplib.SMTPException):
            client.quit()


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except (OSError, smtplib.SMTPException) as error:
        raise ReleaseRefused(f"Postfix ended the connection: {error}") from None


def without_notice(recipient: Recipient) -> Recipient:
    """The same recipient, but nobody is told of the delivery."""
    original = _chosen(recipient.parameters, ("ORCPT=",))
    return Recipient(recipient.address, ("NOTIFY=NEVER", *original))


def _chosen(parameters: tuple[str, ...], names: tuple[str, ...]) -> list[str]:
    """The first parameter of each of *names*, in their order."""
    found = (next((p for p in parameters if p.upper().startswith(name)), None) for name in names)
    return [parameter for parameter in found if parameter is not None]


def _wants(envelope: Envelope, parameter: str) -> bool:
    return any(given.upper() == parameter for given in envelope.mail_parameters)


def _shown(octets: bytes | str) -> str:
    text = octets.decode("utf-8", "replace") if isinstance(octets, bytes) else octets
    return "".join(char if char.isprintable() else "?" for char in text)[:300]
