"""Whether Postfix took a message, by its log: the name that a release gave itself, and what Postfix says of its queue ID.

postfix/release/smtpd[668]: 4jYCNm5vG6zJDV7: client=localhost[127.0.0.1], orig_queue_id=0123456789ab
postfix/qmgr[665]: 4jYCNm5vG6zJDV7: from=<a@sender.example>, size=212, nrcpt=1 (queue active)
postfix/release/smtpd[668]: disconnect from localhost[127.0.0.1] ehlo=1 xforward=1 mail=1 rcpt=1 data=1 quit=1
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from appliance.mta import log as postfix_log
from appliance.mta.log import LogUnreadable, Place
from appliance.store.quarantine import LogPosition

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_NAMED = re.compile(rb"([0-9A-Za-z]+): client=.*, orig_queue_id=([0-9a-f]{12})(?:,|$)", re.ASCII)
_QUEUED = re.compile(rb"([0-9A-Za-z]+): (?:from=<|removed$)", re.ASCII)
_DIED = re.compile(rb"warning: process \S+ pid (\d+) ", re.ASCII)
_STARTED = b"daemon started"


class Fate(StrEnum):
    TAKEN = "taken"
    NOT_TAKEN = "not taken"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of a message; *queue_id* when it was taken."""

    fate: Fate
    queue_id: str = ""


_UNKNOWN = Finding(Fate.UNKNOWN)


def position(log: Path) -> LogPosition | None:
    """Where *log* ends now; ``None`` when there is no such file."""
    place = postfix_log.end(log)
    return LogPosition(place.inode, place.octets, _boot()) if place is not None else None


def find(ident: str, log: Path, since: LogPosition) -> Finding:
    """What became of the message that called itself *ident*, by what was logged *since*.

    Unknown when the log can't be read that far, or the machine was started anew: it may have lost its last lines.
    """
    try:
        lines = postfix_log.lines(log, Place(since.inode, since.octets))
        return _read(_Sessions(ident.encode("ascii"), since.boot == _boot()), lines)
    except LogUnreadable:
        return _UNKNOWN


@dataclass(slots=True)
class _Sessions:
    """The SMTP sessions in which the message was offered. *open*: by process, those that haven't ended."""

    ident: bytes
    same_boot: bool
    """Else the log may have lost its last lines before Postfix was started again."""
    offered: set[bytes] = field(default_factory=set)
    open: dict[bytes, bytes] = field(default_factory=dict)

    def read(self, line: bytes) -> bytes | None:
        """The queue ID under which the message was taken, once *line* says so."""
        entry = postfix_log.entry(line)
        if entry is None:
            return None
        program, process, rest = entry
        match program:
            case b"smtpd":
                return self._read_smtpd(process, rest)
            case b"qmgr":
                queued = _QUEUED.match(rest)
                return queued[1] if queued and queued[1] in self.offered else None
            case b"master":
                self._read_master(rest)
        return None

    def _read_smtpd(self, process: bytes, rest: bytes) -> bytes | None:
        if named := _NAMED.match(rest):
            if named[2] == self.ident:
                self.offered.add(named[1])
                self.open[process] = named[1]
        elif process in self.open and rest.startswith(b"disconnect from "):
            queue_id = self.open.pop(process)
            return queue_id if b"data=1" in rest.split() else None
        return None

    def _read_master(self, rest: bytes) -> None:
        if rest.startswith(_STARTED) and self.same_boot:
            self.open.clear()
        elif died := _DIED.match(rest):
            self.open.pop(died[1], None)


def _read(sessions: _Sessions, lines: Iterator[bytes]) -> Finding:
    for line in lines:
        queue_id = sessions.read(line)
        if queue_id is not None:
            return Finding(Fate.TAKEN, queue_id.decode("ascii"))
    if sessions.open or not (sessions.offered or sessions.same_boot):
        return _UNKNOWN
    return Finding(Fate.NOT_TAKEN)


def _boot() -> str:
    """Names this run of the machine; ``""`` where that can't be told."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
