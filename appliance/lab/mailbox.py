"""Reading what Postfix delivered into a Maildir, and waiting for it."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from appliance.mail.message import HeaderField, split_message, unfold

_POLL_SECONDS = 0.02
_ENVELOPE_LINES = ("Return-Path", "X-Original-To", "Delivered-To")


class NotDelivered(Exception):
    """What was waited for did not arrive in time."""


@dataclass(frozen=True)
class DeliveredMessage:
    """One message as Postfix delivered it."""

    path: Path
    return_path: str
    """The envelope's sender, without angle brackets."""
    recipient: str
    """The envelope's recipient as the client gave it."""
    octets: bytes = field(repr=False)
    """With CR LF line ends, without the lines that delivery put on top."""

    @cached_property
    def fields(self) -> tuple[HeaderField, ...]:
        return split_message(self.octets)[0]

    @property
    def body(self) -> bytes:
        return split_message(self.octets)[1]

    def texts(self, name: str) -> tuple[str, ...]:
        """The unfolded values of all *name* fields, top to bottom."""
        wanted = name.lower().encode("ascii")
        return tuple(unfold(f.value) for f in self.fields if f.is_named(wanted))

    @property
    def message_id(self) -> str | None:
        """With its angle brackets."""
        return next(iter(self.texts("Message-ID")), None)

    @cached_property
    def queue_ids(self) -> tuple[str, ...]:
        """The queue IDs in its Received fields, the latest first."""
        found = (re.search(r"\bwith \w+ id (\w+)|\bid (\w+)", text) for text in self.texts("Received"))
        return tuple(match[1] or match[2] for match in found if match)


class Mailbox:
    """A Maildir, which need not exist before the first delivery."""

    def __init__(self, maildir: Path) -> None:
        self.maildir = maildir
        self._known: dict[Path, DeliveredMessage] = {}

    def messages(self) -> tuple[DeliveredMessage, ...]:
        """All messages, in the order of their delivery."""
        arrived: dict[Path, int] = {}
        for folder in ("new", "cur"):
            for path in (self.maildir / folder).glob("[!.]*"):
                arrived[path] = path.stat().st_ctime_ns
        self._known = {
            path: self._known.get(path) or _read(path) for path in sorted(arrived, key=arrived.__getitem__)
        }
        return tuple(self._known.values())

    def wait_for(
        self, *, message_id: str | None = None, queue_id: str | None = None, seconds: float = 10.0
    ) -> DeliveredMessage:
        """The first message with this Message-ID (angle brackets may be left out) or this queue ID, once it is there."""

        def is_wanted(message: DeliveredMessage) -> bool:
            if queue_id is not None and queue_id in message.queue_ids:
                return True
            return message_id is not None and (message.message_id or "").strip("<>") == message_id.strip("<>")

        return self.wait_until(is_wanted, f"message {message_id or queue_id}", seconds=seconds)[0]

    def wait_until(
        self,
        is_wanted: Callable[[DeliveredMessage], bool],
        what: str,
        *,
        count: int = 1,
        seconds: float = 10.0,
    ) -> tuple[DeliveredMessage, ...]:
        """All messages that fit, once there are *count*; else ``NotDelivered``, which names *what*."""
        deadline = time.monotonic() + seconds
        while True:
            found = tuple(message for message in self.messages() if is_wanted(message))
            if len(found) >= count:
                return found
            if time.monotonic() > deadline:
                raise NotDelivered(
                    f"{what} did not reach {self.maildir} within {seconds:g} s: {len(found)} of {count} came,"
                    f" {len(self._known)} messages are there"
                )
            time.sleep(_POLL_SECONDS)

    def clear(self) -> None:
        """Delete all messages."""
        for message in self.messages():
            message.path.unlink(missing_ok=True)
        self._known = {}


def _read(path: Path) -> DeliveredMessage:
    rest = path.read_bytes()
    envelope: dict[str, str] = {}
    for name in _ENVELOPE_LINES:
        line, newline, after = rest.partition(b"\n")
        if newline and line.lower().startswith(name.lower().encode("ascii") + b":"):
            envelope[name] = line.partition(b":")[2].strip().decode("utf-8", "replace")
            rest = after
    return DeliveredMessage(
        path,
        envelope.get("Return-Path", "").strip("<>"),
        envelope.get("X-Original-To", envelope.get("Delivered-To", "")),
        rest.replace(b"\n", b"\r\n"),
    )
