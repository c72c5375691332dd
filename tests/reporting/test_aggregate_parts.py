"""Days with more than one report holds: cut into consecutive parts, and nothing is left out (AGG-39, T23)."""

import gzip
import io
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from appliance.store import facts, report_building, report_facts, reports
from appliance.store.engine import Store, open_store
from appliance.store.facts import ReportRow
from appliance.store.reports import JobStatus, ReportJob
from reporting.aggregate_check import check_report
from reporting.aggregate_xml import Totals
from reporting.jobs import build_day
from reporting.parts import LIMITS, Limits, parts_of, smaller_parts_of
from reporting.period import Period, full_hour, utc_day
from reporting.progress import Progress
from tests.reporting.samples import DAY, GROUP, HOUR, MIDNIGHT, NEXT_MORNING, ROW, count, save, settings

Hours = Sequence[int]


def different(number: int, first: int = 0) -> list[ReportRow]:
    return [
        replace(ROW, source_ip=f"10.{place >> 16}.{place >> 8 & 255}.{place & 255}")
        for place in range(first, first + number)
    ]


def fill(store: Store, rows_by_hour: dict[int, Sequence[ReportRow]], *, room: int = 10**6) -> None:
    with store.begin() as connection:
        for hour, rows in rows_by_hour.items():
            facts.add(connection, MIDNIGHT + hour * HOUR, rows, most_new_rows=room)


def hours(period: Period | ReportJob) -> tuple[int, int]:
    return (period.begin - MIDNIGHT) // HOUR, (period.end - MIDNIGHT) // HOUR


def built(store: Store, limits: Limits = LIMITS) -> list[ReportJob]:
    """The day's reports, in the order of their periods."""
    return sorted(build_day(store, DAY, now=NEXT_MORNING, limits=limits), key=lambda job: job.begin)


def read(store: Store, job: ReportJob) -> Totals:
    with store.read() as connection:
        xml_gz = reports.xml_gz(connection, job.id)
    assert xml_gz is not None
    return check_report(io.BytesIO(gzip.decompress(xml_gz)))


TEN_ROWS = Limits(rows=10)  # to keep the days of the tests small


# ---- where a day is cut ----------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param({0: range(5), 23: range(5, 10)}, [(0, 24)], id="all fit"),
        pytest.param({h: range(10) for h in range(24)}, [(0, 24)], id="the same all day long"),
        pytest.param({1: range(10), 20: range(10, 16)}, [(0, 12), (12, 24)], id="halves"),
        pytest.param(
            {7: range(8), 8: range(8, 16), 17: range(16, 20)}, [(0, 8), (8, 16), (16, 24)], id="thirds"
        ),
        pytest.param({7: range(8), 8: range(8, 16)}, [(0, 8), (8, 16)], id="a third in which nothing came"),
        pytest.param({6: range(8), 7: range(8, 16)}, [(6, 7), (7, 8)], id="hours"),
        pytest.param(
            {6: range(8), 7: range(6, 10), 9: range(10, 18)}, [(0, 8), (8, 16)], id="some are the same"
        ),
        pytest.param({5: range(11), 6: range(3)}, [(5, 6), (6, 7)], id="an hour with too many stays whole"),
    ],
)
def test_a_day_is_cut_into_the_longest_equal_parts_that_fit_agg_39_t23(
    store: Store, rows: dict[int, range], expected: list[tuple[int, int]]
) -> None:
    everything = different(30)
    fill(store, {hour: [everything[number] for number in numbers] for hour, numbers in rows.items()})

    found = parts_of(store, GROUP.key, utc_day(DAY), 10)

    assert [hours(part) for part in found] == expected


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        pytest.param(0, 24, [(0, 12), (12, 24)], id="day"),
        pytest.param(6, 12, [(6, 9), (9, 12)], id="quarter"),
        pytest.param(6, 8, [(6, 7), (7, 8)], id="two hours"),
        pytest.param(13, 24, [(h, h + 1) for h in range(13, 24)], id="what has no equal parts"),
    ],
)
def test_a_part_that_is_too_large_is_cut_further(
    sqlite_store: Store, begin: int, end: int, expected: list[tuple[int, int]]
) -> None:
    fill(sqlite_store, {hour: [ROW] for hour in range(24)})

    found = smaller_parts_of(
        sqlite_store, GROUP.key, Period(DAY, MIDNIGHT + begin * HOUR, MIDNIGHT + end * HOUR)
    )

    assert [hours(part) for part in found] == expected


# ---- the reports on the parts ----------------------------------------------------


def test_each_part_has_a_complete_report_and_together_they_count_everything(store: Store) -> None:
    save(store, settings())
    fill(store, {1: different(8) * 3, 13: different(8, 8), 23: different(4, 8)})
    monitored: list[Progress] = []

    made = build_day(store, DAY, now=NEXT_MORNING, limits=TEN_ROWS, progress=monitored.append)

    assert [(hours(job), job.part, job.rows, job.messages) for job in made] == [
        ((0, 12), 1, 8, 24),
        ((12, 24), 13, 8, 12),
    ]
    assert [read(store, job) for job in made] == [Totals(8, 24), Totals(8, 12)]
    assert len({job.report_id for job in made}) == 2
    assert monitored[0] == Progress(reports=0, of_reports=1, rows=0)
    assert monitored[-1] == Progress(reports=2, of_reports=2, rows=16)


def test_an_hour_beyond_the_cap_goes_out_whole_and_the_job_says_so(store: Store) -> None:
    save(store, settings())
    fill(store, {5: different(25), 9: different(2)})

    full, other = built(store, TEN_ROWS)

    assert (hours(full), read(store, full)) == ((5, 6), Totals(25, 25))
    assert full.reason == "25 records, more than 10: they came within one hour"
    assert (hours(other), other.rows, other.reason) == ((9, 10), 2, "")


def test_a_report_beyond_the_size_cap_is_cut_until_it_fits(store: Store) -> None:
    save(store, settings())
    fill(store, {hour: different(40, 40 * hour) for hour in range(0, 24, 4)})
    limits = Limits(octets=1200)

    made = built(store, limits)

    assert [hours(job) for job in made] == [(0, 6), (6, 12), (12, 18), (18, 24)]
    assert [read(store, job).messages for job in made] == [80, 40, 80, 40]
    assert len({job.report_id for job in made}) == 4


def test_one_hour_beyond_the_size_cap_goes_out_whole(sqlite_store: Store) -> None:
    save(sqlite_store, settings())
    fill(sqlite_store, {3: different(400)})

    [job] = built(sqlite_store, Limits(octets=1000))

    assert (hours(job), read(sqlite_store, job)) == ((3, 4), Totals(400, 400))


def test_parts_that_were_not_built_yet_are_built_by_the_next_run(sqlite_store: Store) -> None:
    save(sqlite_store, settings())
    fill(sqlite_store, {1: different(8), 13: different(8, 8)})

    def killed(_: Progress) -> None:
        with sqlite_store.read() as connection:
            if any(job.status is JobStatus.BUILT for job in reports.jobs(connection)):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_day(sqlite_store, DAY, now=NEXT_MORNING, limits=TEN_ROWS, progress=killed)

    assert [hours(job) for job in built(sqlite_store, TEN_ROWS)] == [(12, 24)]
    with sqlite_store.read() as connection:
        assert sorted(hours(job) for job in reports.jobs(connection)) == [(0, 12), (12, 24)]


# ---- days that are reported in part ------------------------------------------------


def test_the_rest_of_a_day_that_was_reported_early_follows_at_its_end(store: Store) -> None:
    save(store, settings())
    count(store, ROW, at=MIDNIGHT + 3 * HOUR)
    afternoon = datetime.fromtimestamp(MIDNIGHT + 15 * HOUR + 1234, UTC)
    [early] = build_day(store, DAY, now=afternoon, until=full_hour(afternoon))
    count(store, ROW, at=MIDNIGHT + 15 * HOUR + 100, times=2)

    [late] = build_day(store, DAY, now=NEXT_MORNING)

    assert (hours(early), early.messages) == ((0, 15), 1)
    assert (hours(late), late.part, late.messages) == ((15, 24), 16, 2)
    assert build_day(store, DAY, now=NEXT_MORNING) == []


def test_no_second_report_follows_where_nothing_came_any_more(sqlite_store: Store) -> None:
    save(sqlite_store, settings())
    count(sqlite_store, ROW, at=MIDNIGHT + 3 * HOUR)
    noon = datetime.fromtimestamp(MIDNIGHT + 12 * HOUR, UTC)
    build_day(sqlite_store, DAY, now=noon, until=noon)

    assert build_day(sqlite_store, DAY, now=NEXT_MORNING) == []


# ---- messages without a row --------------------------------------------------------


def test_folded_messages_are_counted_in_words(store: Store) -> None:
    save(store, settings())
    fill(store, {2: different(5)}, room=5)
    fill(store, {3: [*different(5), *different(7, 5)]}, room=5)

    [job] = built(store)

    assert (job.rows, job.messages) == (5, 10)
    assert job.reason == "7 messages are not listed: the day had no room for new records"
    with store.read() as connection:
        xml_gz, message = reports.xml_gz(connection, job.id), reports.message(connection, job.id)
    assert xml_gz
    assert message
    assert (
        b"<error>7 messages are not listed: too many different ones came that day</error>"
        in gzip.decompress(xml_gz)
    )
    assert b"7 more messages are in no record" in message


def test_a_part_with_nothing_but_folded_messages_is_discarded_with_its_count(store: Store) -> None:
    save(store, settings())
    fill(store, {0: different(8), 6: different(8, 8)}, room=16)
    fill(store, {12: different(9, 16)}, room=16)

    made = built(store, TEN_ROWS)

    assert [(hours(job), job.status, job.messages) for job in made] == [
        ((0, 6), JobStatus.BUILT, 8),
        ((6, 12), JobStatus.BUILT, 8),
        ((12, 18), JobStatus.DISCARDED, 0),
    ]
    assert made[-1].reason == "the day had no room for records of its 9 messages; a report has at least one"


def test_a_day_with_nothing_but_folded_messages_is_discarded_with_its_count(store: Store) -> None:
    save(store, settings())
    fill(store, {-24: [ROW]})  # the day before, its policy became known
    fill(store, {12: different(3)}, room=0)

    [job] = built(store)

    assert (job.status, job.policy_domain) == (JobStatus.DISCARDED, "bank.test")
    assert job.reason == "the day had no room for records of its 3 messages; a report has at least one"


SEEN = st.lists(
    st.tuples(st.integers(0, 23), st.integers(0, 2), st.integers(0, 30)), min_size=1, max_size=120
)


@given(SEEN, st.integers(0, 40))
@example_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_message_is_in_one_report_or_in_the_words_on_those_without_room_t23(
    tmp_path_factory: pytest.TempPathFactory,
    migrated_file: Path,
    seen: list[tuple[int, int, int]],
    room: int,
) -> None:
    path = tmp_path_factory.mktemp("sum") / "dmarcgate.db"
    path.write_bytes(migrated_file.read_bytes())
    rows = different(31)
    with closing(open_store(f"sqlite:///{path}")) as store:
        save(store, settings())
        for hour, domain, row in seen:
            fill(store, {hour: [replace(rows[row], policy_domain=f"{domain}.test")]}, room=room)

        made = built(store, TEN_ROWS)

        with store.read() as connection:
            unknown = report_facts.folded_unknown(connection, MIDNIGHT, MIDNIGHT + 24 * HOUR)
    in_words = sum(int(found[0]) for job in made if (found := re.search(r"\d+(?= messages)", job.reason)))
    assert all(job.rows <= TEN_ROWS.rows or (job.end - job.begin) <= HOUR for job in made)
    assert sum(job.messages for job in made) + in_words + unknown == len(seen)


# ---- progress ----------------------------------------------------------------------


def test_how_far_a_long_run_has_come_can_be_seen_in_the_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(store, settings())
    fill(store, {2: different(2500)})
    count(store, replace(ROW, policy_domain="shop.test"))
    monkeypatch.setattr("reporting.progress.STORE_EVERY_SECONDS", 0)
    seen: list[tuple[dict[JobStatus, int], int, int]] = []

    def look(progress: Progress) -> None:
        with store.read() as connection:
            day = report_building.day_of_reports(connection, DAY, datetime.now(UTC))
        seen.append((dict(day.reports), day.building, day.rows))

    build_day(store, DAY, now=NEXT_MORNING, progress=look)

    pending, done = JobStatus.PENDING, JobStatus.BUILT
    assert seen == [
        ({pending: 2}, 0, 0),
        ({pending: 2}, 1, 0),
        ({pending: 2}, 1, 1000),
        ({pending: 1, done: 1}, 0, 2500),
        ({done: 2}, 0, 2501),
    ]


def test_progress_tells_the_records_of_all_reports(sqlite_store: Store) -> None:
    save(sqlite_store, settings())
    fill(sqlite_store, {2: different(2500)})
    fill(sqlite_store, {2: [replace(row, policy_domain="shop.test") for row in different(1500)]})
    told: list[Progress] = []

    build_day(sqlite_store, DAY, now=NEXT_MORNING, progress=told.append)

    assert told == [
        Progress(0, 2, 0),
        Progress(0, 2, 1000, "bank.test"),
        Progress(0, 2, 2000, "bank.test"),
        Progress(1, 2, 2500),
        Progress(1, 2, 3500, "shop.test"),
        Progress(2, 2, 4000),
    ]
