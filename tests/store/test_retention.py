"""Retention: what is older than wanted, or more than fits, goes; all else stays as it was."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event as listening
from sqlalchemy import func, select

from appliance.store import events, facts, report_copies, reports, search_index
from appliance.store.engine import Store, open_store
from appliance.store.event_room import octets_of_events
from appliance.store.report_copies import Copy, Limits
from appliance.store.reports import Attempt, NewJob
from appliance.store.retention import (
    AT_ONCE,
    DeletedFacts,
    delete_old_events,
    delete_old_facts,
    delete_old_reports,
)
from appliance.store.schema import (
    METADATA,
    event,
    event_block,
    event_term,
    fact_row,
    published_policy,
    report_attempt,
    report_copy,
    report_destination,
)
from appliance.store.search import EventQuery, search
from appliance.store.search_index import BLOCK
from tests.bench.mail_history import END, History
from tests.bench.search import fill
from tests.store.samples import DAY_BEGIN, ENVELOPE, RECEIVED_AT, found, message, passing

HISTORY = History(2 * BLOCK + 100)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
DAY = 86_400


def count(store: Store, table: Any) -> int:
    with store.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def numbers(store: Store) -> list[int]:
    with store.read() as connection:
        return list(connection.scalars(select(event.c.id).order_by(event.c.id)))


def octets(store: Store) -> int:
    with store.read() as connection:
        return octets_of_events(connection)


@contextlib.contextmanager
def noting_deletions(store: Store) -> Iterator[list[int]]:
    """How many rows each statement that deletes was given."""
    noted: list[int] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("DELETE"):
            noted.append(len(parameters) if isinstance(parameters, list) else 1)

    listening.listen(store._engine, "before_cursor_execute", note)
    try:
        yield noted
    finally:
        listening.remove(store._engine, "before_cursor_execute", note)


# ---- events ----------------------------------------------------------------------


def test_events_go_when_they_are_too_old_and_no_sooner(store: Store) -> None:
    fill(store, HISTORY)
    cut = END - timedelta(days=10)
    kept = [row[0] for row in HISTORY.rows() if row[4] >= cut.timestamp() * 1e6]

    deleted = delete_old_events(store, before=cut)

    assert numbers(store) == kept
    assert (deleted.by_age, deleted.by_size) == (HISTORY.events - len(kept), 0)


def test_their_share_of_the_index_goes_with_them_and_the_rest_is_found_as_before(store: Store) -> None:
    fill(store, HISTORY)
    search_index.extend(store)
    cut = END - timedelta(days=10)  # in the second block

    delete_old_events(store, before=cut)

    assert count(store, event_block) == 1
    with store.read() as connection:
        places = connection.scalars(select(event_term.c.place)).all()
        left = search(connection, EventQuery(outcome="quarantine"), limit=HISTORY.events)
    assert {place & 0xFFFFFFFF for place in places} == {1}
    expected = [row[0] for row in HISTORY.rows() if row[11] == "quarantine" and row[0] in set(numbers(store))]
    assert [one.id for one in left.events] == expected[::-1]


def test_no_transaction_deletes_more_than_a_thousand_rows(store: Store) -> None:
    """So that the filter's writer, which waits for it on SQLite, never waits long."""
    fill(store, HISTORY)
    search_index.extend(store)

    with noting_deletions(store) as noted:
        delete_old_events(store, before=END)

    assert max(noted) == AT_ONCE == 1000


def test_messages_are_recorded_while_others_are_deleted(store: Store) -> None:
    fill(store, HISTORY)
    done = threading.Event()
    recorded = 0

    def record_until_done() -> None:
        nonlocal recorded
        while not done.is_set():
            with store.begin() as connection:
                events.record(connection, [message(f"{recorded:012x}")])
            recorded += 1

    recording = threading.Thread(target=record_until_done)
    recording.start()
    deleted = delete_old_events(store, before=END + timedelta(days=1))
    done.set()
    recording.join()

    # The samples are older than the history: some of them went too.
    assert deleted.by_age >= HISTORY.events
    assert len(numbers(store)) == HISTORY.events + recorded - deleted.by_age


def test_the_newest_event_stays_so_that_its_number_is_not_given_again(store: Store) -> None:
    for event_id in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"):
        with store.begin() as connection:
            events.record(connection, [message(event_id)])

    delete_old_events(store, before=RECEIVED_AT + timedelta(days=1), most_octets=0)
    [newest] = numbers(store)
    with store.begin() as connection:
        events.record(connection, [message("cccccccccccc")])

    assert numbers(store) == [newest, newest + 1]


def test_an_empty_store_has_nothing_to_delete(store: Store) -> None:
    deleted = delete_old_events(store, before=END, most_octets=0)

    assert (deleted.by_age, deleted.by_size) == (0, 0)
    assert delete_old_facts(store, before=END) == DeletedFacts(0, 0, 0)


def test_the_oldest_events_go_when_all_take_too_much_room(store: Store) -> None:
    fill(store, HISTORY)
    before = octets(store)

    deleted = delete_old_events(store, before=LONG_AGO, most_octets=before // 2)

    assert octets(store) == pytest.approx(before / 2, rel=0.1)
    assert deleted.by_size == pytest.approx(HISTORY.events / 2, rel=0.1)
    assert numbers(store) == list(range(deleted.by_size + 1, HISTORY.events + 1))
    assert delete_old_events(store, before=LONG_AGO, most_octets=before // 2).by_size < HISTORY.events * 0.05


def test_the_room_of_the_events_is_estimated_well_and_without_that_of_other_tables(store_url: str) -> None:
    with contextlib.closing(open_store(store_url, create=True)) as store:
        fill(store, HISTORY)
        search_index.extend(store)
        with store.read() as connection:
            if connection.dialect.name == "sqlite":
                taken = "SELECT sum(pgsize) FROM dbstat WHERE name LIKE '%event%'"
            else:
                taken = "SELECT sum(pg_total_relation_size(c)) FROM (VALUES ('event'::regclass), ('event_term')) AS t(c)"
            expected = int(connection.exec_driver_sql(taken).scalar_one())

        assert octets(store) == pytest.approx(expected, rel=0.15)


# ---- facts -----------------------------------------------------------------------


def count_on(store: Store, day: int, *domains: str, addresses: int = 1) -> None:
    """Facts of each of *domains*, *day* days after that of the samples."""
    received_at = RECEIVED_AT + timedelta(days=day)
    for domain in domains:
        one = message("0123456789ab", passing(domain, found(domain)))
        row = facts.row_of(one, one.verdict.judgements[0])
        assert row is not None
        hour = int(received_at.timestamp()) // 3600 * 3600
        with store.begin() as connection:
            facts.add(
                connection, hour, [replace(row, source_ip=f"2001:db8::{n:x}") for n in range(addresses)]
            )


def seen(store: Store, day: int) -> list[tuple[str, int]]:
    begin = DAY_BEGIN + day * DAY
    with store.read() as connection:
        return [
            (group.policy_domain, len(list(facts.aggregate_rows(connection, group, begin, begin + DAY))))
            for group in facts.policy_groups(connection, begin, begin + DAY)
        ]


def test_facts_go_by_whole_days_with_the_rows_and_policies_that_only_they_used(store: Store) -> None:
    count_on(store, 0, "gone.example", "stays.example")
    count_on(store, 1, "stays.example")

    deleted = delete_old_facts(store, before=RECEIVED_AT + timedelta(days=1))

    assert deleted == DeletedFacts(facts=2, rows=2, policies=1)
    assert (seen(store, 0), seen(store, 1)) == ([], [("stays.example", 1)])
    assert (count(store, fact_row), count(store, published_policy)) == (1, 1)


def test_the_day_that_the_limit_lies_in_stays_whole(store: Store) -> None:
    count_on(store, 0, "stays.example")
    late = RECEIVED_AT.replace(hour=23, minute=59)

    assert delete_old_facts(store, before=late) == DeletedFacts(0, 0, 0)
    assert seen(store, 0) == [("stays.example", 1)]


def test_many_facts_go_in_small_transactions(store: Store) -> None:
    count_on(store, 0, "one.example", addresses=2300)
    count_on(store, 0, *(f"d{number}.example" for number in range(30)))

    with noting_deletions(store) as noted:
        deleted = delete_old_facts(store, before=RECEIVED_AT + timedelta(days=2))

    assert deleted == DeletedFacts(facts=2330, rows=2330, policies=31)
    assert max(noted) == AT_ONCE
    assert {count(store, table) for name, table in METADATA.tables.items() if "fact" in name} == {0}


def test_a_policy_that_is_just_being_used_again_is_not_deleted(postgresql_store: Store) -> None:
    """The other transaction found the policy there already, so it does not add it."""
    store = postgresql_store
    count_on(store, 0, "again.example")
    delete_old_facts_but_not_policies(store)
    deleting = threading.Thread(target=delete_old_facts, args=[store], kwargs={"before": RECEIVED_AT})

    one = message("0123456789ab", passing("again.example", found("again.example")))
    with store.begin() as connection:
        events.record(connection, [one])
        deleting.start()
        while not waits_for_lock(store) and deleting.is_alive():
            pass
    deleting.join()

    assert seen(store, 0) == [("again.example", 1)]


def delete_old_facts_but_not_policies(store: Store) -> None:
    with store.begin() as connection:
        for name in ("fact", "fact_row"):
            connection.execute(METADATA.tables[name].delete())


def waits_for_lock(store: Store) -> bool:
    with store.read() as connection:
        waiting = connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(waiting.scalar_one())


def test_ENVELOPE_is_of_the_day_that_the_facts_are_counted_on() -> None:  # noqa: N802
    assert DAY_BEGIN <= ENVELOPE.received_at.timestamp() < DAY_BEGIN + DAY


def test_reports_go_with_the_days_that_they_are_about(store: Store) -> None:
    """With all that hangs on them; an address that once got one is known for good."""
    for number in range(3):
        with store.begin() as connection:
            day = RECEIVED_AT.date() + timedelta(days=number)
            new = NewJob(day, "d.example", "ab" * 16, 0, DAY, f"report-{number}")
            job = reports.plan(connection, new, RECEIVED_AT)
            reports.add_attempt(
                connection, job.id, Attempt(RECEIVED_AT, "r@d.example", "accepted", "250", "4Z")
            )
            copy = Copy("r@d.example", "rfc9990", "bounces@us.example", b"To: r@d.example\r\n")
            report_copies.freeze(connection, job.id, copy, Limits(9, 9), RECEIVED_AT)

    deleted = delete_old_reports(store, before=RECEIVED_AT + timedelta(days=2))

    assert deleted == 2
    with store.read() as connection:
        assert [job.report_id for job in reports.jobs(connection)] == ["report-2"]
    assert [count(store, table) for table in (report_attempt, report_copy, report_destination)] == [1, 1, 1]
