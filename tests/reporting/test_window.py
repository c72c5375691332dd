"""When reports go out (AGG-19)."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.store.reports import LONGEST_WAIT
from reporting import window

MIDNIGHT = datetime(2026, 3, 29, tzinfo=UTC)


def at(hours: float) -> datetime:
    return MIDNIGHT + timedelta(hours=hours)


@pytest.mark.parametrize(
    ("ready", "first", "last"),
    [
        pytest.param(0.2, 0.5, 2, id="before the window"),
        pytest.param(0.75, 0.75, 2, id="in it"),
        pytest.param(2, 2, 2, id="at its end"),
        pytest.param(9, 9, 9, id="after it"),
    ],
)
def test_reports_are_spread_over_the_first_hours_of_the_day_agg_19(
    ready: float, first: float, last: float
) -> None:
    moments = [window.due_at(at(ready)) for _ in range(300)]

    assert min(moments) >= at(first)
    assert max(moments) <= at(last)
    assert len(set(moments)) == (300 if first < last else 1)


def test_the_window_is_utc_whatever_the_clock_shows_pain_9() -> None:
    tokyo = at(0.75).astimezone(timezone(timedelta(hours=9)))

    assert at(0.75) <= window.due_at(tokyo) <= at(2)


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  Hypothesis adds the zone
def test_what_waits_for_tomorrow_goes_out_in_tomorrows_window(now: datetime) -> None:
    due = window.next_day(now)

    assert due.date() == now.date() + timedelta(days=1)
    assert (
        timedelta(minutes=30)
        <= due - datetime(due.year, due.month, due.day, tzinfo=UTC)
        <= timedelta(hours=2)
    )
    assert due - now <= LONGEST_WAIT


@given(st.floats(-48, 96))
def test_repeats_become_rarer_and_stay_bounded(hours: float) -> None:
    wait = window.again_at(at(hours), at(0)) - at(hours)

    assert timedelta(minutes=9) <= wait <= timedelta(hours=4.4)
    assert wait <= max(timedelta(minutes=11), timedelta(hours=hours * 2.2))


def test_the_first_repeat_comes_soon() -> None:
    assert window.again_at(at(0), None) - at(0) <= timedelta(minutes=11)
