"""Failures wait in the store for their report: one row for all that are alike, and no more rows than there is room for."""

import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from appliance.store import events, failure_intake, failures
from appliance.store.engine import Store, open_store
from appliance.store.failure_intake import NO_ROOM
from appliance.store.failure_samples import FailureSample
from appliance.store.failures import FailureCopy, FailureRow
from appliance.store.reports import JobStatus
from tests.failing import NOW, PERSONAL, failing_settings, samples_of
from tests.store.samples import message

[SAMPLE] = samples_of()
HOUR = timedelta(hours=1)
ROOM = 1000
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0)
COPY = FailureCopy("bounces+1.2@gateway.test", "To: f@bank.test\r\n")


def at(moment: datetime, sample: FailureSample = SAMPLE) -> FailureSample:
    return replace(sample, received_at=moment)


def add(store: Store, *samples: FailureSample, room: int = ROOM) -> None:
    with store.begin() as connection:
        failure_intake.add(connection, samples, room=room)


def rows(store: Store) -> list[FailureRow]:
    """Oldest first."""
    with store.read() as connection:
        return failures.recent(connection, 10_000)[::-1]


def incidents(store: Store) -> list[int]:
    return [row.incidents for row in rows(store)]


def test_ruf_04_all_that_are_alike_within_an_hour_are_one_row(store: Store) -> None:
    add(store, SAMPLE, at(NOW + HOUR / 4))
    add(store, at(NOW + HOUR / 2), replace(SAMPLE, source_ip="198.51.100.67"))
    add(store, at(NOW + HOUR))

    assert sorted(incidents(store)) == [1, 1, 3]
    [row] = [row for row in rows(store) if row.incidents == 3]
    assert (row.first_at, row.last_at) == (NOW, NOW + HOUR / 2)
    assert (row.status, row.report_id, row.reported, row.copies) == (JobStatus.PENDING, "", 0, {})


def test_ruf_10_t27_what_is_kept_holds_codes_in_place_of_local_parts(store: Store) -> None:
    add(store, SAMPLE)

    [row] = rows(store)
    assert row.sample is not None
    kept = repr(row.sample).lower()
    assert [word for word in PERSONAL if word in kept] == []
    assert "\x01" not in kept
    assert row.sample.mail_from.startswith("redacted-")
    assert replace(row.sample, mail_from="", header=(), signature=None) == replace(
        SAMPLE, mail_from="", header=(), signature=None
    )


def test_a_sample_that_is_not_redacted_is_kept_as_it_is(store: Store) -> None:
    [sample] = samples_of(
        settings=failing_settings(failure_redaction=False), tags="p=none; ruf=mailto:f@x.test"
    )

    add(store, sample)

    assert rows(store)[0].sample == sample


def test_it_is_kept_with_the_event_or_not_at_all(store: Store) -> None:
    record = replace(message("0123456789ab"), failures=(SAMPLE,), failures_room=ROOM)

    try:
        with store.begin() as connection:
            events.record(connection, [record])
            failure_intake.add(connection, record.failures, room=ROOM)
            raise RuntimeError
    except RuntimeError:
        pass

    assert rows(store) == []


def flood(number: int, moment: datetime = NOW) -> list[FailureSample]:
    return [at(moment, replace(SAMPLE, source_ip=f"192.0.2.{one}")) for one in range(number)]


def test_t24_a_day_keeps_no_more_different_ones_than_there_is_room_for_and_counts_the_rest(
    store: Store,
) -> None:
    add(store, *flood(20), room=5)
    add(store, *flood(25), room=5)

    kept = [row for row in rows(store) if row.sample]
    [left_over] = [row for row in rows(store) if not row.sample]
    assert len(kept) == 5
    assert sum(row.incidents for row in kept) == 10
    assert (left_over.incidents, left_over.status, left_over.reason) == (35, JobStatus.REFUSED, NO_ROOM)


def test_t24_the_next_day_has_room_again(store: Store) -> None:
    add(store, *flood(20), room=5)
    add(store, *flood(3, NOW + 24 * HOUR), room=5)

    assert len([row for row in rows(store) if row.sample]) == 8


def claim(store: Store, owner: str = "a", now: datetime = NOW) -> FailureRow | None:
    with store.begin() as connection:
        return failures.claim(connection, owner, now, lease_seconds=600)


def test_the_oldest_is_claimed_first_and_by_one_only(store: Store) -> None:
    add(store, SAMPLE)
    add(store, at(NOW + HOUR))
    older, newer = rows(store)

    assert claim(store, "a") == older
    assert claim(store, "b") == newer
    assert claim(store, "c") is None
    assert claim(store, "c", NOW + HOUR) == older


def test_what_is_settled_is_not_claimed_and_loses_what_is_not_needed_any_more(store: Store) -> None:
    add(store, SAMPLE)
    [row] = rows(store)
    with store.begin() as connection:
        failures.set_status(connection, row, JobStatus.REFUSED, NOW, reason="no")

    [settled] = rows(store)
    assert claim(store) is None
    assert (settled.status, settled.reason) == (JobStatus.REFUSED, "no")
    assert settled.sample is not None
    assert (settled.sample.header, settled.sample.mail_from, settled.sample.signature) == ((), "", None)
    assert settled.sample.source_ip == SAMPLE.source_ip


def take(store: Store, row: FailureRow) -> int:
    with store.begin() as connection:
        return failures.take_unreported(connection, row.id)


def test_ruf_04_incidents_that_no_report_told_of_go_into_the_next_one_once(store: Store) -> None:
    add(store, SAMPLE)
    [first] = rows(store)
    told = [take(store, first)]
    add(store, *[SAMPLE] * 20)
    add(store, *[at(NOW + HOUR)] * 3, replace(SAMPLE, source_ip="192.0.2.1"))
    other, second = sorted(rows(store)[1:], key=lambda row: row.incidents)

    told += [take(store, second), take(store, second), take(store, other)]

    assert told == [1, 23, 0, 1]


def made(store: Store, row: FailureRow, addresses: Sequence[str], now: datetime) -> None:
    with store.begin() as connection:
        failures.keep_message(connection, row.id, report_id=f"r{row.id}", octets=b"mail", now=now)
        failures.keep_copies(connection, row.id, dict.fromkeys(addresses, COPY), now)


def test_ruf_04_what_was_made_today_is_known_by_address_and_author_domain(store: Store) -> None:
    add(store, SAMPLE, at(NOW + HOUR), replace(SAMPLE, author_domain="mail.bank.test"))
    for row in rows(store):
        made(store, row, ("f@bank.test", f"{row.id}@bank.test"), NOW)

    with store.begin() as connection:
        today = failures.day_so_far(connection, "bank.test", MIDNIGHT)
        tomorrow = failures.day_so_far(connection, "bank.test", MIDNIGHT + 24 * HOUR)

    assert (today.copies, today.by_address["f@bank.test"], len(today.by_address)) == (6, 2, 3)
    assert (tomorrow.copies, tomorrow.by_address) == (0, {})


def test_ruf_04_only_one_at_a_time_decides_what_the_day_has_room_for(store: Store) -> None:
    add(store, SAMPLE)
    has_turn = threading.Event()

    def another_node() -> None:
        with closing(open_store(store.url)) as own, own.begin() as connection:
            failures.wait_for_turn(connection)
            has_turn.set()

    other = threading.Thread(target=another_node)
    with store.begin() as connection:
        failures.wait_for_turn(connection)
        other.start()
        while_we_decide = has_turn.wait(0.5)
    other.join(30)

    assert (while_we_decide, has_turn.is_set()) == (False, True)


def test_a_report_is_found_by_its_id_with_its_mail_and_copies(store: Store) -> None:
    add(store, SAMPLE)
    [row] = rows(store)
    made(store, row, ("f@bank.test",), NOW)

    with store.read() as connection:
        found = failures.find(connection, f"r{row.id}")
        nothing = failures.find(connection, "")
        assert failures.message(connection, row.id) == b"mail"

    assert nothing is None
    assert found is not None
    assert (found.status, found.copies) == (JobStatus.BUILT, {"f@bank.test": COPY})


def test_the_list_goes_back_page_by_page(store: Store) -> None:
    add(store, *flood(5))

    with store.read() as connection:
        first = failures.recent(connection, 3)
        rest = failures.recent(connection, 3, before=first[-1].id)

    assert [row.id for row in (*first, *rest)] == [row.id for row in rows(store)][::-1]


def test_old_ones_are_forgotten_by_their_last_message(store: Store) -> None:
    add(store, SAMPLE, at(NOW + HOUR))

    with store.begin() as connection:
        assert failures.delete_before(connection, NOW + HOUR) == 1

    assert [row.first_at for row in rows(store)] == [NOW + HOUR]
    assert rows(store)[0].first_at.tzinfo is UTC
