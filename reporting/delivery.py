"""Hand mail to the local Postfix, on the listener that bypasses the filter; Postfix does the rest."""

import re
import smtplib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

TIMEOUT_SECONDS = 60.0
MAX_REPLY = 500  # characters kept of a reply

_QUEUE_ID = re.compile(r"\bqueued as ([0-9A-Za-z]{5,30})\b")


class HandOver(StrEnum):
    """What became of one attempt."""

    ACCEPTED = "accepted"
    """Postfix said 250: from here on it is responsible."""
    DEFERRED = "deferred"
    """Not now: the attempt is repeated later."""
    REFUSED = "refused"
    """Never: a repetition would end the same."""
    BEYOND = "beyond"
    """Never: the day's limit was reached; nothing was offered to Postfix."""
    WAITS = "waits"
    """Not today: nothing was offered to Postfix."""


@dataclass(frozen=True, slots=True)
class Attempted:
    """One attempt's outcome and the reply that decided it."""

    outcome: HandOver
    reply: str
    queue_id: str = ""
    is_uncertain: bool = False
    """The connection broke when the message was on its way: Postfix may have taken it."""
    is_unreachable: bool = False
    """Nobody took the call: nothing was offered, and the next message would fare the same."""


class Courier:
    """One connection for many messages, opened when first needed and again when it broke."""

    def __init__(self, host: str, port: int, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._place = (host, port)
        self._timeout = timeout_seconds
        self._connection: smtplib.SMTP | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.quit()
        except (smtplib.SMTPException, OSError):
            connection.close()

    def hand_over(self, mail_from: str, recipient: str, message: bytes, *, ident: str = "") -> Attempted:
        """Offer *message* once. Trouble with the connection is a deferral, never an exception.

        *ident* goes into Postfix's log, beside the queue ID that it gives the message.
        """
        try:
            connection = self._connected()
        except (smtplib.SMTPException, OSError) as error:
            return self._broken(error, is_unreachable=True)
        try:
            if refusal := _announce(connection, mail_from, recipient, ident):
                return refusal
        except (smtplib.SMTPException, OSError) as error:
            return self._broken(error)
        try:
            return _outcome(*connection.data(message))
        except smtplib.SMTPDataError as error:
            return _outcome(error.smtp_code, error.smtp_error)
        except (smtplib.SMTPException, OSError) as error:
            return self._broken(error, is_uncertain=True)

    def _broken(
        self, error: Exception, *, is_uncertain: bool = False, is_unreachable: bool = False
    ) -> Attempted:
        self._drop()
        host, port = self._place
        return Attempted(
            HandOver.DEFERRED,
            _bounded(f"{host}:{port}: {error}"),
            is_uncertain=is_uncertain,
            is_unreachable=is_unreachable,
        )

    def _connected(self) -> smtplib.SMTP:
        if self._connection is not None and not _answers(self._connection):
            self._drop()
        if self._connection is None:
            connection = smtplib.SMTP(local_hostname="localhost", timeout=self._timeout)
            try:
                _expect(*connection.connect(*self._place))
                connection.ehlo_or_helo_if_needed()
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _answers(connection: smtplib.SMTP) -> bool:
    """Whether *connection* is still good for a message: begins afresh on it."""
    try:
        return connection.rset()[0] == 250
    except (smtplib.SMTPException, OSError):
        return False


def _announce(connection: smtplib.SMTP, mail_from: str, recipient: str, ident: str) -> Attempted | None:
    """Say what is to come; the refusal, or ``None`` when Postfix is ready for the message."""
    if ident and "IDENT" in connection.esmtp_features.get("xforward", "").split():
        connection.docmd("XFORWARD", f"IDENT={ident}")
    # Notices about failures and delays, without the report itself (RFC 3461).
    ret, notify = (" RET=HDRS", " NOTIFY=FAILURE,DELAY") if connection.has_extn("dsn") else ("", "")
    steps: tuple[Callable[[], tuple[int, bytes]], ...] = (
        lambda: connection.docmd("MAIL", f"FROM:<{mail_from}>{ret}"),
        lambda: connection.docmd("RCPT", f"TO:<{recipient}>{notify}"),
    )
    for step in steps:
        code, reply = step()
        if not 200 <= code < 300:
            return _outcome(code, reply)
    return None


def _outcome(code: int, reply: bytes | str) -> Attempted:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    shown = _bounded(f"{code} {text}")
    if 200 <= code < 300:
        found = _QUEUE_ID.search(text)
        return Attempted(HandOver.ACCEPTED, shown, found[1] if found else "")
    return Attempted(HandOver.REFUSED if 500 <= code < 600 else HandOver.DEFERRED, shown)


def _expect(code: int, reply: bytes) -> None:
    if code != 220:
        raise smtplib.SMTPConnectError(code, reply)


def _bounded(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text[:MAX_REPLY])
