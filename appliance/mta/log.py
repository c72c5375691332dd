"""Postfix's log, read from a place in it on, through rotations and never without a bound."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MAX_OCTETS = 256_000_000
"""As much of the log is read at most: ten minutes of a very busy Postfix."""
_COMPRESSED = {".gz", ".bz2", ".xz", ".zst"}
_HEAD = re.compile(rb"([a-z-]+)\[(\d+)$", re.ASCII)  # what stands before "]: ": time, host, program, process


@dataclass(frozen=True, slots=True)
class Place:
    """An end that the log once had."""

    inode: int
    octets: int


class Entry(NamedTuple):
    """One line: who wrote it, and what. What strangers chose can stand anywhere in *text*, but not before it."""

    program: bytes
    process: bytes
    text: bytes


class LogUnreadable(Exception):
    """The log, or the part of it that counts, isn't there or can't be read."""


def end(log: Path) -> Place | None:
    """Where *log* ends now; ``None`` when there is no such file."""
    try:
        status = log.stat()
    except OSError:
        return None
    return Place(status.st_ino, status.st_size)


def reaching_back(log: Path, moment: float) -> Place | None:
    """Where to begin to read what was logged since *moment* (a Unix time), or as much of it as can be read.

    What was compressed is left out, and so is what lies more than half of ``MAX_OCTETS`` back. ``None`` without a log.
    """
    try:
        files = [(path.stat(), path) for path in log.parent.glob(f"{log.name}*") if path.is_file()]
    except OSError:
        return None
    place, left = None, MAX_OCTETS // 2
    for status, path in sorted(files, key=lambda file: -file[0].st_mtime_ns):
        if path.suffix in _COMPRESSED or status.st_mtime < moment or left <= 0:
            break
        place = Place(status.st_ino, max(0, status.st_size - left))
        left -= status.st_size
    return place


def entry(line: bytes) -> Entry | None:
    """What a line of the log says; ``None`` when it isn't one of Postfix's."""
    before, separator, text = line.rstrip(b"\n").partition(b"]: ")
    head = _HEAD.search(before)
    return Entry(head[1], head[2], text) if separator and head is not None else None


def lines(log: Path, since: Place) -> Iterator[bytes]:
    """All lines since then, of the file that was the log and of those that followed it. Raises ``LogUnreadable``."""
    left = MAX_OCTETS
    for number, path in enumerate(_files(log, since)):
        try:
            with path.open("rb") as file:
                file.seek(since.octets if number == 0 else 0)
                for line in file:
                    left -= len(line)
                    if left < 0:
                        raise LogUnreadable(f"more than {MAX_OCTETS} octets were logged since")
                    yield line
        except OSError as error:
            raise LogUnreadable(f"{path} can't be read: {error.strerror}") from None


def _files(log: Path, since: Place) -> list[Path]:
    """The file that was the log then, and those begun after it, in their order; rotation gives them longer names."""
    try:
        files = [(path.stat(), path) for path in log.parent.glob(f"{log.name}*") if path.is_file()]
    except OSError as error:
        raise LogUnreadable(f"{log.parent} can't be read: {error.strerror}") from None
    then = next(((status, path) for status, path in files if status.st_ino == since.inode), None)
    if then is None or then[0].st_size < since.octets:
        raise LogUnreadable(f"{log} doesn't reach back far enough")
    later = sorted(
        (status.st_mtime_ns, path)
        for status, path in files
        if path != then[1] and status.st_mtime_ns >= then[0].st_mtime_ns
    )
    if any(path.suffix in _COMPRESSED for _, path in later):
        raise LogUnreadable(f"a part of {log} was compressed")
    return [then[1], *(path for _, path in later)]
