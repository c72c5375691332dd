"""A flood of forged mail can't fill the disk with report rows, and nothing of it is lost uncounted."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from sqlalchemy import func, select

from appliance.store import fact_flood, facts
from appliance.store.engine import Store
from appliance.store.facts import ReportRow
from appliance.store.schema import fact_row, published_policy
from tests.store.samples import DAY_BEGIN, DAY_END, HOUR, found, message, passing

DAY = 86_400


def rows(count: int, *, domain: str = "sender.example", start: int = 0) -> list[ReportRow]:
    made = message("0123456789ab", passing(domain, found(domain)))
    row = facts.row_of(made, made.verdict.judgements[0])
    assert row is not None
    first = int(ip_address("10.0.0.0")) + start
    return [replace(row, source_ip=str(ip_address(first + number))) for number in range(count)]


def add(store: Store, some: list[ReportRow], *, most: int, hour: int = HOUR) -> None:
    with store.begin() as connection:
        facts.add(connection, hour, some, most_new_rows=most)


def reported(store: Store, begin: int = DAY_BEGIN) -> dict[str, tuple[int, int, int]]:
    """By policy domain: rows, messages in them, and messages folded."""
    with store.read() as connection:
        found_ = {}
        for group in facts.policy_groups(connection, begin, begin + DAY):
            counts = [count for _, count in facts.aggregate_rows(connection, group, begin, begin + DAY)]
            folded = facts.folded(connection, group, begin, begin + DAY)
            found_[group.policy_domain] = (len(counts), sum(counts), folded)
        return found_


def test_a_day_without_a_flood_keeps_every_row(store: Store) -> None:
    add(store, rows(10), most=10)

    assert reported(store) == {"sender.example": (10, 10, 0)}


def test_beyond_the_limit_new_rows_are_folded_and_counted(store: Store) -> None:
    add(store, rows(5), most=5)
    add(store, rows(7, start=100), most=5)

    assert reported(store) == {"sender.example": (5, 5, 7)}


def test_what_is_known_already_counts_on_during_a_flood(store: Store) -> None:
    add(store, rows(5), most=5)
    add(store, rows(8), most=5)

    assert reported(store) == {"sender.example": (5, 10, 3)}


def test_the_limit_is_one_for_all_connections(store: Store) -> None:
    with store.begin() as one, store.read():
        facts.add(one, HOUR, rows(3), most_new_rows=5)
    store.close()  # other connections, as those of another worker
    add(store, rows(5, start=100), most=5)

    kept, _, folded = reported(store)["sender.example"]
    assert kept <= 5
    assert kept + folded == 8


def test_a_limit_of_several_reserves_is_kept_to_the_row(store: Store) -> None:
    most = 3 * fact_flood.RESERVED_AT_ONCE

    for start in range(0, 4000, 100):
        add(store, rows(100, start=start), most=most)

    assert reported(store) == {"sender.example": (most, most, 1000)}


def test_the_next_day_has_room_again(store: Store) -> None:
    add(store, rows(9), most=5)
    add(store, rows(5), most=5, hour=HOUR + DAY)

    assert reported(store) == {}
    assert reported(store, DAY_END) == {"sender.example": (5, 5, 0)}


def test_the_same_mail_of_another_day_is_a_new_row(store: Store) -> None:
    """The limit is on a day's rows, not on rows never seen before."""
    add(store, rows(5), most=5)
    add(store, rows(5), most=4, hour=HOUR + DAY)

    assert reported(store) == {"sender.example": (5, 5, 0)}
    assert reported(store, DAY_END) == {}


def test_a_flood_of_policies_is_folded_into_one_counter(store: Store) -> None:
    add(store, rows(2), most=2)
    for number in range(4):
        add(store, rows(3, domain=f"d{number}.example"), most=2)

    with store.read() as connection:
        policies = connection.scalar(select(func.count()).select_from(published_policy))
        kept = connection.scalar(select(func.count()).select_from(fact_row))
        in_all = fact_flood.folded(connection, DAY_BEGIN, DAY_END)
    assert (policies, kept, in_all) == (1, 2, 12)


@pytest.mark.parametrize("begin", [DAY_BEGIN, HOUR + 3600], ids=["whole day", "later hours"])
def test_folded_messages_are_counted_in_their_hour(store: Store, begin: int) -> None:
    add(store, rows(4), most=0)
    add(store, rows(2), most=0, hour=HOUR + 3600)

    with store.read() as connection:
        assert fact_flood.folded(connection, begin, DAY_END) == (6 if begin == DAY_BEGIN else 2)
