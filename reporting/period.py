"""Which time a report covers: UTC days, whatever the machine's own time zone (RFC 9990 section 3.1.1.4)."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

DAY_SECONDS = 86_400
HOUR_SECONDS = 3600
PART_HOURS = (12, 8, 6, 4, 3, 2, 1)
"""How long the equal parts of a day may be: its divisors."""


@dataclass(frozen=True, slots=True)
class Period:
    """The Unix seconds from *begin* up to, but without, *end*; all within the UTC *day*."""

    day: date
    begin: int
    end: int

    @property
    def last_second(self) -> int:
        """What ``date_range`` names as its end: 23:59:59 of a whole day; always after *begin*."""
        return max(self.end - 1, self.begin + 1)

    @property
    def part(self) -> int:
        """Tells the reports on parts of a day apart: the UTC hour in which it begins, counted from 1."""
        return (self.begin - utc_day(self.day).begin) // HOUR_SECONDS + 1

    @property
    def is_whole_day(self) -> bool:
        return self == utc_day(self.day)

    @property
    def is_within_an_hour(self) -> bool:
        """It can't be cut: facts are counted by the hour."""
        return len(self.parts(1)) == 1

    def parts(self, hours: int) -> tuple["Period", ...]:
        """This period cut where each *hours* of its UTC day end, without gap or overlap."""
        midnight = utc_day(self.day).begin
        marks = range(midnight, midnight + DAY_SECONDS, hours * HOUR_SECONDS)
        bounds = [self.begin, *(mark for mark in marks if self.begin < mark < self.end), self.end]
        return tuple(Period(self.day, begin, end) for begin, end in pairwise(bounds))

    def after(self, moment: int) -> "Period | None":
        """What of it is left from the next full hour at or after the Unix second *moment* on."""
        begin = -(-moment // HOUR_SECONDS) * HOUR_SECONDS
        return Period(self.day, max(begin, self.begin), self.end) if begin < self.end else None


def utc_day(day: date, until: datetime | None = None) -> Period:
    """The UTC *day*, or its part before *until* (aware) when that is earlier."""
    begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    end = begin + DAY_SECONDS
    if until is not None:
        end = max(begin, min(end, int(until.timestamp())))
    return Period(day, begin, end)


def full_hour(now: datetime) -> datetime:
    """The last full hour at or before *now* (aware): a report up to then leaves the rest of the day to the next one."""
    return now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def last_day(now: datetime) -> date:
    """The last UTC day that is over at *now* (aware)."""
    return now.astimezone(UTC).date() - timedelta(days=1)


def days_before(day: date, count: int) -> tuple[date, ...]:
    """The *count* days that end with *day*, oldest first."""
    return tuple(day - timedelta(days=back) for back in reversed(range(count)))
