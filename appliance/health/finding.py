"""What an examination says of one subject."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """Failing: mail is stopped, let through unfiltered, or about to be. Warning: somebody should look at it."""

    OK = "ok"
    WARNING = "warning"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class Finding:
    """*text* says what was measured; *remedy* what to do about it, ``""`` when all is well."""

    subject: str
    level: Level
    text: str
    remedy: str = ""


def worst(findings: Iterable[Finding]) -> Level:
    order = tuple(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)
