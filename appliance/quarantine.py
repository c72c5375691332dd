"""Quarantined messages as files: write and sync, read, delete; hand them to Postfix again on release."""

import contextlib
import errno
import hashlib
import os
import re
import smtplib
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from appliance.mail.message import Envelope, Message, Recipient
from appliance.store import audit
from appliance.store import quarantine as rows
from appliance.store.engine import Store
from appliance.store.quarantine import HoldState, QuarantineRow

SMTP_SECONDS = 60.0
TRACE_FIELD = "X-DMARC-Gate-Released"

_EVENT_ID = re.compile(r"[0-9a-f]{12}", re.ASCII)
_QUEUE_ID = re.compile(rb"queued as ([0-9A-Za-z]{1,64})")
_RECIPIENT = re.compile(r"[^\s<>\x00-\x1f\x7f]+@[^\s<>@\x00-\x1f\x7f]+")
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


class QuarantineFull(OSError):
    """No space is left."""


class MissingMessage(Exception):
    """There is no such message, or its file is gone."""


class DamagedMessage(Exception):
    """The file is not what was quarantined."""


class ReleaseRefused(Exception):
    """Nothing was handed over; the message is held as before."""


class ReleaseUncertain(Exception):
    """The connection broke after the message was handed over: whether Postfix took it, only its log knows."""


class Quarantine:
    """A folder with one file for each message, two levels down. Its files belong to the services' group."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, event_id: str, message: Message) -> str:
        """Returns when *message* is on disk, with the SHA-256 of its octets for its row.

        Raises ``QuarantineFull`` or another ``OSError``; no file is left behind then.
        """
        path = self._path(event_id)
        octets = message.octets
        try:
            self._make_folders(path.parent)
            _write_new(path, octets)
        except OSError as error:
            if error.errno in _NO_SPACE:
                raise QuarantineFull(
                    error.errno, "no space is left for quarantined mail", str(path)
                ) from None
            raise
        return hashlib.sha256(octets).hexdigest()

    def read(self, event_id: str, sha256: str) -> bytes:
        """The octets that were written. Raises ``MissingMessage`` or ``DamagedMessage``."""
        try:
            octets = self._path(event_id).read_bytes()
        except (FileNotFoundError, ValueError):
            raise MissingMessage(f"the file of message {event_id} is gone") from None
        if hashlib.sha256(octets).hexdigest() != sha256:
            raise DamagedMessage(f"the file of message {event_id} was changed or damaged")
        return octets

    def delete(self, event_id: str) -> None:
        """Nothing happens when there is no such file."""
        self._path(event_id).unlink(missing_ok=True)

    def _path(self, event_id: str) -> Path:
        if not _EVENT_ID.fullmatch(event_id):
            raise ValueError("an event ID has 12 lower-case hexadecimal digits")
        return self._directory / event_id[:2] / event_id[2:4] / f"{event_id}.eml"

    def _make_folders(self, folder: Path) -> None:
        for level in (folder.parent, folder):
            try:
                level.mkdir(mode=0o770)
            except FileExistsError:
                continue
            level.chmod(0o2770)
            _sync_folder(level.parent)


def release(
    store: Store,
    quarantine: Quarantine,
    event_id: str,
    *,
    smtp: tuple[str, int],
    actor: str,
    recipients: Sequence[str] | None = None,
    again: bool = False,
) -> str:
    """Hand a held message to Postfix, to *recipients* instead of its own when given; returns the new queue ID.

    *smtp* is a listener that doesn't ask the filter. The message goes as it came, with one trace field on top; nobody
    is notified of its delivery, since its sender may be forged. *again*: also when an earlier release broke off.
    Raises ``MissingMessage``, ``DamagedMessage``, ``ReleaseRefused`` or ``ReleaseUncertain``.
    """
    with store.read() as connection:
        row = _held(rows.get(connection, event_id), event_id, again=again)
    octets = quarantine.read(event_id, row.sha256)
    now = datetime.now(UTC)
    to = _recipients(row.envelope, recipients)
    with store.begin() as connection:
        if not rows.set_state(connection, event_id, HoldState.RELEASING, expected=row.state, at=now):
            raise ReleaseRefused(f"message {event_id} is just being released or deleted by somebody else")
    trace = f"{TRACE_FIELD}: {event_id}; {format_datetime(now)}\r\n".encode("ascii")
    try:
        queue_id = _hand_over(smtp, row.envelope, to, trace + octets)
    except ReleaseRefused:
        with store.begin() as connection:
            rows.set_state(connection, event_id, HoldState.HELD, expected=HoldState.RELEASING, at=now)
        raise
    with store.begin() as connection:
        rows.set_state(
            connection,
            event_id,
            HoldState.RELEASED,
            expected=HoldState.RELEASING,
            at=now,
            release_queue_id=queue_id,
        )
        addresses = ", ".join(recipient.address for recipient in to)
        audit.write(connection, actor, "quarantine release", event_id, f"as {queue_id} to {addresses}")
    return queue_id


def discard(store: Store, quarantine: Quarantine, event_id: str, *, actor: str) -> None:
    """Delete a held message. Raises ``MissingMessage``, or ``ReleaseRefused`` when it is not held any more."""
    with store.begin() as connection:
        row = _held(rows.get(connection, event_id), event_id, again=True)
        now = datetime.now(UTC)
        rows.set_state(connection, event_id, HoldState.DELETED, expected=row.state, at=now)
        audit.write(connection, actor, "quarantine delete", event_id, row.reason)
    quarantine.delete(event_id)


def _held(row: QuarantineRow | None, event_id: str, *, again: bool) -> QuarantineRow:
    if row is None:
        raise MissingMessage(f"there is no quarantined message {event_id}")
    match row.state:
        case HoldState.HELD:
            return row
        case HoldState.RELEASING if again:
            return row
        case HoldState.RELEASING:
            raise ReleaseRefused(
                f"an earlier release of message {event_id} broke off: look in Postfix's log for {TRACE_FIELD} or its "
                "Message-ID before you release it again"
            )
        case HoldState.RELEASED:
            raise ReleaseRefused(f"message {event_id} was released already, as {row.release_queue_id}")
        case _:
            raise ReleaseRefused(f"message {event_id} was deleted")


def _recipients(envelope: Envelope, instead: Sequence[str] | None) -> tuple[Recipient, ...]:
    if instead is None:
        return envelope.recipients
    for address in instead:
        if not _RECIPIENT.fullmatch(address):
            raise ReleaseRefused(f"{address!r} is not a mail address")
    return tuple(Recipient(address) for address in instead)


def _hand_over(
    listener: tuple[str, int], envelope: Envelope, recipients: Sequence[Recipient], octets: bytes
) -> str:
    """One SMTP transaction, for all *recipients* or none; returns the queue ID, or ``""`` when none was named."""
    try:
        client = smtplib.SMTP(*listener, local_hostname="localhost", timeout=SMTP_SECONDS)
    except (OSError, smtplib.SMTPException) as error:
        raise ReleaseRefused(f"Postfix can't be reached on {listener[0]}:{listener[1]}: {error}") from None
    with contextlib.closing(client):
        try:
            client.ehlo_or_helo_if_needed()
            _command(client, _mail_command(client, envelope, octets))
            for recipient in recipients:
                _command(client, _recipient_command(client, recipient))
        except (OSError, smtplib.SMTPException) as error:
            raise ReleaseRefused(f"Postfix ended the connection: {error}") from None
        try:
            code, reply = client.data(octets)
        except smtplib.SMTPDataError as error:
            raise ReleaseRefused(f"Postfix doesn't take the message: {_shown(error.smtp_error)}") from None
        except (OSError, smtplib.SMTPException) as error:
            raise ReleaseUncertain(f"the connection broke when the message was on its way: {error}") from None
        if code // 100 != 2:
            raise ReleaseRefused(f"Postfix doesn't take the message: {code} {_shown(reply)}")
        with contextlib.suppress(OSError, smtplib.SMTPException):
            client.quit()
    found = _QUEUE_ID.search(reply)
    return found[1].decode("ascii") if found else ""


def _mail_command(client: smtplib.SMTP, envelope: Envelope, octets: bytes) -> str:
    wanted = {parameter.upper() for parameter in envelope.mail_parameters}
    command = f"MAIL FROM:<{envelope.mail_from}>"
    if "SMTPUTF8" in wanted:
        if not client.has_extn("smtputf8"):
            raise ReleaseRefused("the message needs SMTPUTF8, which Postfix doesn't offer")
        command += " SMTPUTF8"
    if client.has_extn("8bitmime") and ("BODY=8BITMIME" in wanted or not octets.isascii()):
        command += " BODY=8BITMIME"
    return command


def _recipient_command(client: smtplib.SMTP, recipient: Recipient) -> str:
    command = f"RCPT TO:<{recipient.address}>"
    if not client.has_extn("dsn"):
        return command
    original = [p for p in recipient.parameters if p.upper().startswith("ORCPT=")]
    return " ".join([command, "NOTIFY=NEVER", *original[:1]])


def _command(client: smtplib.SMTP, command: str) -> None:
    octets = command.encode("utf-8", "surrogateescape")
    if any(octet in octets for octet in b"\r\n\0"):
        raise ReleaseRefused("an address of the message holds a line break")
    client.send(octets + b"\r\n")
    code, reply = client.getreply()
    if code // 100 != 2:
        raise ReleaseRefused(f"Postfix refuses {_shown(octets)}: {code} {_shown(reply)}")


def _shown(octets: bytes | str) -> str:
    text = octets.decode("utf-8", "replace") if isinstance(octets, bytes) else octets
    return "".join(char if char.isprintable() else "?" for char in text)[:300]


def _write_new(path: Path, octets: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o660)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor, not a path
            os.fchmod(descriptor, 0o660)
            file.write(octets)
            file.flush()
            os.fsync(descriptor)
        _sync_folder(path.parent)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
