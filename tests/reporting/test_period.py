from datetime import UTC, date, datetime, timedelta, timezone

from reporting.period import days_before, last_day, utc_day


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
