"""When reports go out: spread over the first hours of a UTC day, so that not all of the world reports at once (AGG-19)."""

import random
from datetime import UTC, datetime, time, timedelta

FIRST, LAST = time(0, 30, tzinfo=UTC), time(2, 0, tzinfo=UTC)
SOONEST_REPEAT, LATEST_REPEAT = timedelta(minutes=10), timedelta(hours=4)


def due_at(now: datetime) -> datetime:
    """When a report that is ready *now* (aware) goes out: some time until the day's window ends, at once after it."""
    begin, end = _window(now)
    return _between(max(begin, now), end) if now < end else now


def next_day(now: datetime) -> datetime:
    """Some time in the window of the UTC day after *now* (aware)."""
    return _between(*_window(now + timedelta(days=1)))


def again_at(now: datetime, tried_at: datetime | None) -> datetime:
    """When to repeat what can't be sent *now*: soon at first, then less and less often.

    *tried_at* is when it was tried before that; ``None``: never.
    """
    before = now - tried_at if tried_at is not None else timedelta()
    wait = min(max(2 * before, SOONEST_REPEAT), LATEST_REPEAT)
    return now + wait * random.uniform(0.9, 1.1)


def _window(now: datetime) -> tuple[datetime, datetime]:
    day = now.astimezone(UTC).date()
    return datetime.combine(day, FIRST), datetime.combine(day, LAST)


def _between(begin: datetime, end: datetime) -> datetime:
    return begin + random.random() * (end - begin)
