"""Quarantined messages as files: write and sync, read, delete, find those that nobody knows."""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from appliance.mail.message import Message
from appliance.store.quarantine import QuarantineRow

_EVENT_ID = re.compile(r"[0-9a-f]{12}", re.ASCII)
_FILE_NAME = re.compile(r"([0-9a-f]{12})\.eml", re.ASCII)
_FILE_MODE, _FOLDER_MODE = 0o660, 0o2770
# EFBIG: the limit is the process's or the file system's, but the message is in the same plight.
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class QuarantineFull(OSError):
    """No space is left."""


class MissingMessage(Exception):
    """There is no such message, or its file is gone."""


class DamagedMessage(Exception):
    """The file is not what was quarantined."""


class Condition(StrEnum):
    """How a message's file looks from outside; that no octet was changed shows only when it is read."""

    COMPLETE = "complete"
    GONE = "gone"
    CUT_SHORT = "cut short"


class Quarantine:
    """A folder with one file for each message, two levels down. Its files belong to the services' group."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ready: set[str] = set()

    @property
    def directory(self) -> Path:
        return self._directory

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

    def read(self, row: QuarantineRow) -> bytes:
        """The octets that were written. Raises ``MissingMessage`` or ``DamagedMessage``."""
        try:
            octets = self._path(row.event_id).read_bytes()
        except (FileNotFoundError, ValueError):
            raise MissingMessage(f"the file of message {row.event_id} is gone") from None
        except OSError as error:
            raise DamagedMessage(
                f"the file of message {row.event_id} can't be read ({os.strerror(error.errno or 0)})"
            ) from None
        if len(octets) < row.size_octets:
            raise DamagedMessage(
                f"the file of message {row.event_id} was cut short: {len(octets):,} of {row.size_octets:,} octets are left"
            )
        if hashlib.sha256(octets).hexdigest() != row.sha256:
            raise DamagedMessage(f"the file of message {row.event_id} was changed or damaged")
        return octets

    def condition(self, row: QuarantineRow) -> Condition:
        """Without reading it: cheap enough for a list."""
        try:
            size_octets = self._path(row.event_id).stat().st_size
        except (OSError, ValueError):
            return Condition.GONE
        return Condition.CUT_SHORT if size_octets < row.size_octets else Condition.COMPLETE

    def delete(self, event_id: str) -> None:
        """Nothing happens when there is no such file."""
        self._path(event_id).unlink(missing_ok=True)

    def written_before(self, moment: datetime) -> Iterator[str]:
        """The event IDs of all files last written before *moment*; what is no message's file is left alone."""
        for folder in self._directory.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]"):
            with os.scandir(folder) as entries:
                for entry in entries:
                    found = _FILE_NAME.fullmatch(entry.name)
                    if found and self._path(found[1]).parent == folder and _is_older(entry, moment):
                        yield found[1]

    def _path(self, event_id: str) -> Path:
        if not _EVENT_ID.fullmatch(event_id):
            raise ValueError("an event ID has 12 lower-case hexadecimal digits")
        return self._directory / event_id[:2] / event_id[2:4] / f"{event_id}.eml"

    def _make_folders(self, folder: Path) -> None:
        """Make what is missing, synced and of the right mode, also where another process died in the middle of it."""
        for level in (folder.parent, folder):
            name = str(level.relative_to(self._directory))
            if name in self._ready and level.is_dir():
                continue
            try:
                level.mkdir(mode=0o770)
            except FileExistsError:
                wrong = stat.S_IMODE(level.stat().st_mode) != _FOLDER_MODE
                ours = level.stat().st_uid == os.geteuid()
            else:
                wrong = ours = True
            if wrong and ours:
                level.chmod(_FOLDER_MODE)
            _sync_folder(level.parent)
            self._ready.add(name)


def _is_older(entry: os.DirEntry[str], moment: datetime) -> bool:
    try:
        return entry.stat(follow_symlinks=False).st_mtime < moment.timestamp()
    except FileNotFoundError:  # deleted meanwhile
        return False


def _write_new(path: Path, octets: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _FILE_MODE)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor, not a path
            os.fchmod(descriptor, _FILE_MODE)
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
