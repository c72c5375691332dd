from contextlib import closing
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from appliance.store import reports
from appliance.store.engine import Store, open_store
from appliance.store.reports import ReportJob
from reporting.jobs import build_day, build_due
from reporting.period import (
    DAY_SECONDS,
    HOUR_SECONDS,
    PART_HOURS,
    Period,
    days_before,
    full_hour,
    last_day,
    utc_day,
)
from tests.reporting.samples import DAY, MIDNIGHT, ROW, count, save, settings


def test_a_report_covers_the_whole_utc_day_without_overlap_agg_17() -> None:
    one, next_one = utc_day(date(2026, 3, 29)), utc_day(date(2026, 3, 30))

    assert datetime.fromtimestamp(one.begin, UTC) == datetime(2026, 3, 29, tzinfo=UTC)
    assert one.last_second == one.begin + 86_399
    assert one.end == next_one.begin


def test_a_day_that_is_not_over_ends_when_the_report_is_built() -> None:
    noon = datetime(2026, 3, 29, 12, tzinfo=UTC)

    period = utc_day(date(2026, 3, 29), until=noon)

    assert (period.end - period.begin, period.last_second) == (43_200, int(noon.timestamp()) - 1)


def test_a_period_never_ends_before_it_begins() -> None:
    period = utc_day(date(2026, 3, 29), until=datetime(2026, 3, 29, tzinfo=UTC))

    assert period.last_second > period.begin


def test_the_last_day_is_utcs_whatever_the_local_time_is() -> None:
    one_in_tokyo = datetime(2026, 3, 30, 1, tzinfo=timezone(timedelta(hours=9)))

    assert last_day(one_in_tokyo) == date(2026, 3, 28)


def test_missed_days_come_oldest_first() -> None:
    assert days_before(date(2026, 3, 1), 3) == (date(2026, 2, 27), date(2026, 2, 28), date(2026, 3, 1))


@given(st.sampled_from(PART_HOURS), st.integers(0, DAY_SECONDS - 1), st.integers(1, DAY_SECONDS))
def test_parts_follow_each_other_without_gap_or_overlap_agg_17_f11(
    hours: int, begin: int, length: int
) -> None:
    period = Period(DAY, MIDNIGHT + begin, MIDNIGHT + min(begin + length, DAY_SECONDS))

    parts = period.parts(hours)

    assert (parts[0].begin, parts[-1].end) == (period.begin, period.end)
    assert all(one.end == following.begin for one, following in pairwise(parts))
    assert all((part.begin - MIDNIGHT) % (hours * HOUR_SECONDS) == 0 for part in parts[1:])
    assert all(0 < part.end - part.begin <= hours * HOUR_SECONDS for part in parts)


@pytest.mark.parametrize("hours", PART_HOURS)
def test_a_day_divides_into_equal_parts_with_names_of_their_own_agg_17(hours: int) -> None:
    parts = utc_day(DAY).parts(hours)

    assert len(parts) * hours == 24
    assert {part.end - part.begin for part in parts} == {hours * HOUR_SECONDS}
    assert [part.part for part in parts] == list(range(1, 25, hours))
    assert not any(part.is_whole_day for part in parts)
    assert utc_day(DAY).is_whole_day


@pytest.mark.parametrize(
    ("moment", "begin"),
    [
        pytest.param(0, 0, id="nothing reported"),
        pytest.param(3600, 3600, id="full hour"),
        pytest.param(3601, 7200, id="within an hour"),
        pytest.param(DAY_SECONDS - 3599, None, id="within the last hour"),
        pytest.param(DAY_SECONDS, None, id="all of it"),
    ],
)
def test_what_is_left_of_a_day_begins_with_the_next_full_hour(moment: int, begin: int | None) -> None:
    left = utc_day(DAY).after(MIDNIGHT + moment)

    assert (left.begin - MIDNIGHT if left else None) == begin
    assert left is None or left.end == MIDNIGHT + DAY_SECONDS


def test_the_full_hour_is_utcs_where_local_hours_begin_between() -> None:
    in_kathmandu = datetime(2026, 3, 29, 12, 50, 7, 9, tzinfo=timezone(timedelta(hours=5, minutes=45)))

    assert full_hour(in_kathmandu) == datetime(2026, 3, 29, 7, tzinfo=UTC)


# ---- clocks that jump ---------------------------------------------------------------

STEPS = st.lists(
    st.tuples(st.sampled_from((0, 0, 0, 1, -1, 24, -24)), st.integers(1, 7200), st.booleans()),
    min_size=3,
    max_size=15,
)


@given(STEPS)
@example_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_clock_does_no_message_is_in_two_reports_f11(
    tmp_path_factory: pytest.TempPathFactory, migrated_file: Path, steps: list[tuple[int, int, bool]]
) -> None:
    """Steps of an hour and a day, forwards and back, around midnight: what comes before the report on its time is made
    is in exactly one, and the times of two reports never overlap.
    """
    path = tmp_path_factory.mktemp("clock") / "dmarcgate.db"
    path.write_bytes(migrated_file.read_bytes())
    stamps, in_time = [], 0
    with closing(open_store(f"sqlite:///{path}")) as store:
        save(store, settings())
        clock = MIDNIGHT + 23 * HOUR_SECONDS
        for hours, seconds, builds in steps:
            clock += seconds + hours * HOUR_SECONDS
            in_time += not any(job.begin <= clock < job.end for job in all_jobs(store))
            stamps.append(clock)
            count(store, ROW, at=clock)
            if builds:
                build_due(store, now=datetime.fromtimestamp(clock, UTC))

        for day in {datetime.fromtimestamp(stamp, UTC).date() for stamp in stamps}:
            build_day(store, day)

        made = sorted(all_jobs(store), key=lambda job: job.begin)
    assert all(one.end <= following.begin for one, following in pairwise(made))
    assert sum(job.messages for job in made) == in_time


def all_jobs(store: Store) -> list[ReportJob]:
    with store.read() as connection:
        return reports.jobs(connection, 1000)
