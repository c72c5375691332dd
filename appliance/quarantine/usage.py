"""How full this node's quarantine is, for the scheduler, the pages, ``check`` and the log."""

import shutil
from dataclasses import dataclass

from appliance.quarantine.desk import Desk
from appliance.settings import Settings
from appliance.store import quarantine as rows

WARN_PERCENT = 80


@dataclass(frozen=True, slots=True)
class Fill:
    """What the quarantine holds, what it may hold, and what its disk has left."""

    messages: int
    octets: int
    limit_octets: int
    disk_octets: int
    disk_free_octets: int

    @property
    def percent(self) -> int:
        """Of the limit; may be above 100 until the next tidying."""
        return self.octets * 100 // max(self.limit_octets, 1)

    @property
    def warning(self) -> str:
        """One line with the remedy, ``""`` while there is room."""
        if self.disk_free_octets * 100 < self.disk_octets:
            return (
                f"the disk of the quarantine is full ({show_size(self.disk_free_octets)} are left): mail that would be "
                "quarantined is deferred; enlarge the disk, or delete what fills it"
            )
        if self.percent >= WARN_PERCENT:
            return (
                f"the quarantine is {self.percent} % full ({show_size(self.octets)} of {show_size(self.limit_octets)}): "
                "the oldest messages will be deleted; release or delete some, or raise retention.quarantine_percent"
            )
        return ""


def measure(desk: Desk, settings: Settings) -> Fill:
    """Of the folder, or of where it is going to be."""
    with desk.store.read() as connection:
        used = rows.usage(connection, node=desk.node)
    directory = desk.files.directory
    disk = shutil.disk_usage(next(path for path in (directory, *directory.parents) if path.exists()))
    limit = disk.total * settings.retention.quarantine_percent // 100
    return Fill(used.messages, used.octets, limit, disk.total, disk.free)


def show_size(octets: int) -> str:
    """A size for people, in decimal units.

    >>> show_size(2_100_000)
    '2.1 MB'
    """
    amount, unit = float(octets), "octets"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "octets" else f"{amount:.1f} {unit}"
