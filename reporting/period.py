"""Which time a report covers: UTC days, whatever the machine's own time zone (RFC 9990 section 3.1.1.4)."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Period:
    """The Unix seconds from *begin* up to, but without, *end*."""

    day: date
    begin: int
    end: int

    @property
    def last_second(self) -> int:
        """What ``date_range`` names as its end: 23:59:59 of a whole day; always after *begin*."""
        return max(self.end - 1, self.begin + 1)


def utc_day(day: date, until: datetime | None = None) -> Period:
    """The UTC *day*, or its part before *until* (aware) when that is earlier."""
    begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    end = begin + DAY_SECONDS
    if until is not None:
        end = max(begin, min(end, int(until.timestamp())))
    return Period(day, begin, end)


def last_day(now: datetime) -> date:
    """The last UTC day that is over at *now* (aware)."""
    return now.astimezone(UTC).date() - timedelta(days=1)


def days_before(day: date, count: int) -> tuple[date, ...]:
    """The *count* days that end with *day*, oldest first."""
    return tuple(day - timedelta(days=back) for back in reversed(range(count)))
