"""Cut a day that is too much for one report into equal parts, each with a report of its own (AGG-39, T23).

Parts are whole hours, because facts are counted by the hour and the periods of two reports must not overlap (AGG-17). So
one hour with more than fits is reported whole, and nothing is ever left out.
"""

from dataclasses import dataclass

from appliance.store import report_facts
from appliance.store.engine import Store
from reporting.period import PART_HOURS, Period


@dataclass(frozen=True, slots=True)
class Limits:
    """How large one report may get before its period is cut."""

    rows: int = 50_000
    octets: int = 10_000_000
    """Of the compressed file."""


LIMITS = Limits()


def parts_of(store: Store, policy_key: str, period: Period, most_rows: int) -> tuple[Period, ...]:
    """*period*, or the longest equal parts of its day with no more than *most_rows* records each.

    Parts in which nothing came are left out.
    """
    rows = _rows_by_hour(store, policy_key, period)

    def fits(part: Period) -> bool:
        inside = [rows[hour] for hour in rows if part.begin <= hour < part.end]
        if sum(inside) <= most_rows:
            return True
        if max(inside) > most_rows:
            return False
        with store.read() as connection:  # rows of several hours may be the same
            return not report_facts.has_more_rows(connection, policy_key, part.begin, part.end, most_rows)

    if fits(period):
        return (period,)
    for hours in PART_HOURS[:-1]:
        parts = _with_facts(period.parts(hours), rows)
        if all(fits(part) for part in parts):
            return parts
    return _with_facts(period.parts(1), rows)


def smaller_parts_of(store: Store, policy_key: str, period: Period) -> tuple[Period, ...]:
    """*period*, which is more than one hour, in the next smaller parts; those in which nothing came are left out."""
    cuts = (period.parts(hours) for hours in PART_HOURS)
    equal = (
        parts for parts in cuts if len(parts) > 1 and len({part.end - part.begin for part in parts}) == 1
    )
    return _with_facts(next(equal, period.parts(1)), _rows_by_hour(store, policy_key, period))


def _rows_by_hour(store: Store, policy_key: str, period: Period) -> dict[int, int]:
    with store.read() as connection:
        return report_facts.rows_by_hour(connection, policy_key, period.begin, period.end)


def _with_facts(parts: tuple[Period, ...], rows: dict[int, int]) -> tuple[Period, ...]:
    return tuple(part for part in parts if any(part.begin <= hour < part.end for hour in rows))
