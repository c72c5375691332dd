"""What the readiness check finds."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

IPAddress = IPv4Address | IPv6Address


class Level(StrEnum):
    """Failing: reports may not be switched on. Warning: somebody should look at it."""

    OK = "ok"
    WARNING = "warning"
    FAILING = "failing"


class Subject(StrEnum):
    """What was looked at, in the order in which it is told."""

    WAY_OUT = "way out"
    QUEUE = "queue"
    ADDRESS = "outgoing address"
    HELO = "HELO name"
    REVERSE = "reverse DNS"
    SPF = "SPF"
    KEY = "DKIM key"
    DMARC = "DMARC"
    LOOP = "report loop"
    BOUNCES = "bounce address"
    NAME_SERVER = "name server"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Measure:
    """*measured* says what was found; *remedy* how to mend it, ``""`` when all is well."""

    subject: Subject
    level: Level
    measured: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """One check of the reports' identity."""

    at: datetime
    address: str
    """The report address."""
    bounce_domain: str
    organization: str
    outgoing: tuple[str, ...]
    """The addresses that receivers see, as far as known."""
    measures: tuple[Measure, ...]

    @property
    def passed(self) -> bool:
        return all(measure.level is not Level.FAILING for measure in self.measures)

    def as_document(self) -> dict[str, object]:
        """For programs, and as it is kept."""
        return {
            "passed": self.passed,
            "at": self.at.isoformat(timespec="seconds"),
            "address": self.address,
            "bounce_domain": self.bounce_domain,
            "organization": self.organization,
            "outgoing": list(self.outgoing),
            "measures": [
                {
                    "subject": m.subject.value,
                    "level": m.level.value,
                    "measured": m.measured,
                    "remedy": m.remedy,
                }
                for m in self.measures
            ],
        }


def ok(subject: Subject, measured: str) -> Measure:
    return Measure(subject, Level.OK, measured)


def warning(subject: Subject, measured: str, remedy: str) -> Measure:
    return Measure(subject, Level.WARNING, measured, remedy)


def failing(subject: Subject, measured: str, remedy: str) -> Measure:
    return Measure(subject, Level.FAILING, measured, remedy)
