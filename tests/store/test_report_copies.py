"""Copies of reports: frozen once, and never more on a day than the limits say, whoever counts."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from appliance.store import report_copies, reports
from appliance.store.engine import Store
from appliance.store.report_copies import Copy, DayOfSending, Limits, Room, UnderWay
from appliance.store.reports import JobStatus, NewJob
from tests.store.samples import DAY_BEGIN, DAY_END

NOW = datetime(2026, 3, 5, 0, 40, tzinfo=UTC)
TOMORROW = NOW + timedelta(days=1)
NEW = NewJob(date(2026, 3, 4), "sender.example", "ab" * 16, DAY_BEGIN, DAY_END, "report-1")
COPY = Copy("r@sender.example", "rfc9990", "bounces+1.2@us.example", b"To: r@sender.example\r\n")
LIMITS = Limits(copies=3, new_destinations=2)


def job_of(store: Store, **changes: object) -> int:
    with store.begin() as connection:
        return reports.plan(connection, replace(NEW, **changes), NOW).id  # type: ignore[arg-type]


def freeze(
    store: Store, job_id: int, recipient: str = COPY.recipient, now: datetime = NOW, limits: Limits = LIMITS
) -> Room:
    with store.begin() as connection:
        return report_copies.freeze(connection, job_id, replace(COPY, recipient=recipient), limits, now)


def day(store: Store, now: datetime = NOW) -> DayOfSending:
    with store.read() as connection:
        return report_copies.day_of_sending(connection, now)


def test_a_copy_is_frozen_once_and_counted_once_agg_32(store: Store) -> None:
    job_id = job_of(store)
    freeze(store, job_id)

    with store.begin() as connection:
        other = replace(COPY, head=b"another head", mail_from="another@us.example")
        again = report_copies.freeze(connection, job_id, other, LIMITS, TOMORROW)
        kept = report_copies.copies(connection, job_id)

    assert again is Room.TAKEN
    assert kept == {COPY.recipient: COPY}
    assert (day(store), day(store, TOMORROW)) == (DayOfSending(1, 1), DayOfSending())


def test_what_is_under_way_is_remembered_until_it_is_known_how_it_ended(store: Store) -> None:
    job_id = job_of(store)
    freeze(store, job_id)
    way = UnderWay(NOW, "one.example", "0123456789ab", 77, 4096)

    with store.begin() as connection:
        report_copies.set_under_way(connection, job_id, COPY.recipient, way)
        during = report_copies.copies(connection, job_id)[COPY.recipient].under_way
        report_copies.set_under_way(connection, job_id, COPY.recipient, None)
        after = report_copies.copies(connection, job_id)[COPY.recipient].under_way

    assert (during, after) == (way, None)


def test_t23_a_day_has_room_for_so_many_new_addresses_and_the_next_day_has_again(store: Store) -> None:
    job_id = job_of(store)

    rooms = [freeze(store, job_id, f"{name}@x.example") for name in "abc"]
    tomorrow = freeze(store, job_id, "c@x.example", TOMORROW)

    assert rooms == [Room.TAKEN, Room.TAKEN, Room.NO_NEW]
    assert tomorrow is Room.TAKEN
    assert (day(store), day(store, TOMORROW)) == (DayOfSending(2, 2), DayOfSending(1, 1))


def test_an_address_that_had_a_report_before_is_not_new(store: Store) -> None:
    first, second, third = (job_of(store, part=part) for part in (1, 2, 3))
    for name in "ab":
        freeze(store, first, f"{name}@x.example")

    room = freeze(store, second, "a@x.example")
    full = freeze(store, third, "b@x.example")

    assert (room, full) == (Room.TAKEN, Room.FULL)
    assert day(store) == DayOfSending(copies=3, new_destinations=2)


def test_t23_one_address_that_everybody_names_gets_no_more_than_the_days_copies(store: Store) -> None:
    jobs = [job_of(store, policy_domain=f"d{number}.example") for number in range(10)]

    rooms = [freeze(store, job_id, "victim@x.example") for job_id in jobs]

    assert rooms == [Room.TAKEN] * 3 + [Room.FULL] * 7


@pytest.mark.parametrize(
    ("limits", "room"),
    [
        pytest.param(Limits(0, 10), Room.FULL, id="no copies"),
        pytest.param(Limits(10, 0), Room.NO_NEW, id="no new ones"),
    ],
)
def test_a_limit_of_zero_lets_nothing_out(store: Store, limits: Limits, room: Room) -> None:
    assert freeze(store, job_of(store), limits=limits) is room
    assert day(store) == DayOfSending()


def test_many_nodes_together_never_exceed_the_limits(store: Store) -> None:
    jobs = [job_of(store, policy_domain=f"d{number}.example") for number in range(40)]

    with ThreadPoolExecutor(4) as nodes:
        rooms = list(
            nodes.map(
                lambda job_id: freeze(store, job_id, f"r{job_id}@x.example", limits=Limits(12, 7)), jobs
            )
        )

    assert rooms.count(Room.TAKEN) == 7
    assert day(store) == DayOfSending(7, 7)


def test_what_the_limits_keep_back_is_counted_by_day(store: Store) -> None:
    with store.begin() as connection:
        report_copies.count_kept_back(connection, NOW, waiting=2)
        report_copies.count_kept_back(connection, NOW, waiting=1, refused=5)
        report_copies.count_kept_back(connection, TOMORROW, refused=1)

    with store.read() as connection:
        days = report_copies.days_of_sending(connection, NOW)

    assert days == {
        datetime(2026, 3, 5, tzinfo=UTC): DayOfSending(waiting=3, refused=5),
        datetime(2026, 3, 6, tzinfo=UTC): DayOfSending(refused=1),
    }


def test_t23_planned_reports_beyond_the_limit_are_refused_those_served_before_last(store: Store) -> None:
    with store.begin() as connection:
        served = reports.plan(connection, replace(NEW, day=date(2026, 3, 3)), NOW)
        reports.set_status(connection, served.id, JobStatus.SENT, NOW)
    planned = [
        job_of(store, policy_domain=f"a{number}.example", report_id=f"id-{9 - number}") for number in range(6)
    ]
    known = job_of(store, report_id="id-z")

    with store.begin() as connection:
        beyond = report_copies.beyond(connection, "2026-03-04", 3)
        refused = report_copies.refuse(connection, beyond, "too many", NOW)

    assert known not in beyond
    assert set(beyond) == set(planned[:4]), "the others by their random Report-IDs, not by their names"
    assert refused == 4
    assert day(store) == DayOfSending(refused=4)
    with store.read() as connection:
        assert reports.get(connection, planned[0]).reason == "too many"  # type: ignore[union-attr]
        assert report_copies.beyond(connection, "2026-03-04", 3) == []


def test_a_report_that_somebody_builds_already_is_not_refused(store: Store) -> None:
    job_id = job_of(store)
    with store.begin() as connection:
        reports.claim_job(connection, "one", NOW)

        refused = report_copies.refuse(connection, [job_id], "too many", NOW)

    assert refused == 0
