"""Group commit: an answer of True means committed, and a store in trouble costs no message."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import text

from appliance.store import events, facts, quarantine
from appliance.store.engine import Store, open_store, upgrade
from appliance.store.recorder import Recorder
from tests.conftest import unused_port
from tests.postgresql import postgresql_server, running, server_options, unprivileged, wait_until_ready
from tests.store.samples import DAY_BEGIN, DAY_END, held, message


def stored(store: Store) -> set[str]:
    with store.read() as connection:
        return {event.event_id for event in events.recent(connection, 1000)}


def ids(count: int) -> list[str]:
    return [f"{number:012x}" for number in range(count)]


@contextlib.asynccontextmanager
async def recording(
    store: Store, *, gather_seconds: float = 0.005, timeout_seconds: float = 5.0
) -> AsyncIterator[Recorder]:
    recorder = Recorder(store, gather_seconds=gather_seconds, timeout_seconds=timeout_seconds)
    try:
        yield recorder
    finally:
        await recorder.close()


@contextlib.contextmanager
def commits_of(store: Store) -> Iterator[list[object]]:
    """Grows by one with each transaction that is committed."""
    seen: list[object] = []

    def note(connection: object) -> None:
        seen.append(connection)

    sqlalchemy_event.listen(store._engine, "commit", note)
    yield seen
    sqlalchemy_event.remove(store._engine, "commit", note)


def test_a_record_is_committed_when_the_answer_comes(store: Store) -> None:
    async def run() -> None:
        async with recording(store) as recorder:
            answer = await recorder.record(message("0123456789ab"))

            assert answer is True
            assert stored(store) == {"0123456789ab"}
            assert recorder.unrecorded == 0

    asyncio.run(run())


def test_records_that_come_together_share_transactions(store: Store) -> None:
    async def run() -> None:
        async with recording(store) as recorder:
            answers = await asyncio.gather(*(recorder.record(message(one)) for one in ids(64)))
            assert all(answers)

    with commits_of(store) as commits:
        asyncio.run(run())

    assert len(commits) <= 2
    assert stored(store) == set(ids(64))


def test_clients_that_send_one_message_after_the_other_share_transactions(store: Store) -> None:
    """As a busy filter has it: 8 connections, each waits for its answer before its next message."""

    async def client(recorder: Recorder, number: int) -> None:
        for turn in range(10):
            assert await recorder.record(message(f"{number:06x}{turn:06x}"))

    async def run() -> None:
        async with recording(store) as recorder:
            await asyncio.gather(*(client(recorder, number) for number in range(8)))

    with commits_of(store) as commits:
        asyncio.run(run())

    assert len(stored(store)) == 80
    assert len(commits) < 40


def test_a_lone_client_is_not_kept_waiting_for_company(store: Store) -> None:
    """A gathering time without end would never end for a record that comes alone."""

    async def run() -> None:
        async with recording(store, gather_seconds=3600) as recorder:
            for one in ids(5):
                assert await recorder.record(message(one))

    asyncio.run(run())

    assert stored(store) == set(ids(5))


def test_each_record_that_was_not_committed_is_counted_when_it_is_answered(
    sqlite_store: Store, locking: sqlite3.Connection
) -> None:
    counted: list[int] = []

    async def run() -> None:
        recorder = Recorder(sqlite_store, timeout_seconds=0.2, on_unrecorded=lambda: counted.append(1))
        assert await recorder.record(message("aaaaaaaaaaaa"))
        locking.execute("BEGIN EXCLUSIVE")
        await asyncio.gather(*(recorder.record(message(one)) for one in ids(3)))
        locking.execute("ROLLBACK")
        await recorder.close()
        assert await recorder.record(message("ffffffffffff")) is False

    asyncio.run(run())

    assert len(counted) == 4


def test_a_quarantined_message_is_committed_with_its_row(store: Store) -> None:
    async def run() -> bool:
        async with recording(store) as recorder:
            return await recorder.record(message("0123456789ab"), held("0123456789ab"))

    assert asyncio.run(run())
    with store.read() as connection:
        assert quarantine.get(connection, "0123456789ab") == held("0123456789ab")


def test_one_record_that_can_not_be_stored_does_not_take_the_others_with_it(store: Store) -> None:
    troubles: list[str] = []

    async def run() -> list[bool]:
        recorder = Recorder(store, on_trouble=troubles.append)
        first = await recorder.record(message("aaaaaaaaaaaa"), held("aaaaaaaaaaaa"))
        twice = recorder.record(message("aaaaaaaaaaaa"), held("aaaaaaaaaaaa"))
        rest = await asyncio.gather(recorder.record(message("bbbbbbbbbbbb")), twice)
        await recorder.close()
        assert recorder.unrecorded == 1
        return [first, *rest]

    assert asyncio.run(run()) == [True, True, False]
    assert stored(store) == {"aaaaaaaaaaaa", "bbbbbbbbbbbb"}
    assert len(troubles) == 1
    assert troubles[0].startswith("event aaaaaaaaaaaa can't be stored: IntegrityError")


@pytest.fixture
def locking(sqlite_store: Store) -> Iterator[sqlite3.Connection]:
    """Another program's connection to the database of *sqlite_store*."""
    path = sqlite_store.url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def test_F8_a_locked_database_costs_its_messages_nothing_but_their_record(  # noqa: N802
    sqlite_store: Store, locking: sqlite3.Connection
) -> None:
    async def run() -> None:
        async with recording(sqlite_store, timeout_seconds=0.2) as recorder:
            locking.execute("BEGIN EXCLUSIVE")
            during = await asyncio.gather(*(recorder.record(message(one)) for one in ids(3)))
            assert during == [False, False, False]
            assert recorder.unrecorded == 3

            locking.execute("ROLLBACK")
            while not await recorder.record(message("ffffffffffff")):  # the writer may still be at the first
                pass

    asyncio.run(run())

    assert "ffffffffffff" in stored(sqlite_store)


def test_a_record_that_had_to_wait_too_long_is_withdrawn(
    sqlite_store: Store, locking: sqlite3.Connection
) -> None:
    """Also when the writer had taken it: its client comes again with what was to be quarantined."""

    async def run() -> None:
        async with recording(sqlite_store, timeout_seconds=0.3) as recorder:
            locking.execute("BEGIN EXCLUSIVE")
            being_written = asyncio.create_task(recorder.record(message("aaaaaaaaaaaa")))
            while recorder._waiting or not recorder._task:  # noqa: ASYNC110  until the writer has taken it
                await asyncio.sleep(0)
            waiting = await recorder.record(message("bbbbbbbbbbbb"))
            assert (await being_written, waiting) == (False, False)
            locking.execute("ROLLBACK")

    asyncio.run(run())

    assert stored(sqlite_store) == set()


def test_facts_count_what_was_recorded_and_nothing_else(store: Store) -> None:
    async def run() -> None:
        async with recording(store) as recorder:
            await asyncio.gather(*(recorder.record(message(one)) for one in ids(20)))
            await recorder.record(replace(message("ffffffffffff"), for_reports=False))

    asyncio.run(run())

    with store.read() as connection:
        [group] = facts.policy_groups(connection, DAY_BEGIN, DAY_END)
        [(_, count)] = facts.aggregate_rows(connection, group, DAY_BEGIN, DAY_END)
    assert count == 20


def test_closing_writes_what_still_waits_and_takes_no_more(store: Store) -> None:
    async def run() -> None:
        recorder = Recorder(store)
        under_way = [asyncio.create_task(recorder.record(message(one))) for one in ids(10)]
        await asyncio.sleep(0)
        await recorder.close()
        assert await asyncio.gather(*under_way) == [True] * 10
        assert await recorder.record(message("ffffffffffff")) is False
        assert recorder.unrecorded == 1

    asyncio.run(run())

    assert stored(store) == set(ids(10))
    assert not [thread for thread in threading.enumerate() if thread.name == "recorder"]


def test_closing_a_recorder_that_never_recorded_is_no_error(store: Store) -> None:
    asyncio.run(Recorder(store).close())


def test_a_caller_that_gave_up_does_not_disturb_the_others(store: Store) -> None:
    async def run() -> None:
        async with recording(store) as recorder:
            gone = asyncio.create_task(recorder.record(message("aaaaaaaaaaaa")))
            stays = asyncio.create_task(recorder.record(message("bbbbbbbbbbbb")))
            await asyncio.sleep(0)
            gone.cancel()
            assert await stays

    asyncio.run(run())

    assert "bbbbbbbbbbbb" in stored(store)


def test_sessions_that_the_server_ended_are_replaced_unnoticed(postgresql_url: str) -> None:
    upgrade(postgresql_url)
    store, other = open_store(postgresql_url), open_store(postgresql_url)
    end_others = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )

    async def run() -> None:
        async with recording(store) as recorder:
            assert await recorder.record(message("aaaaaaaaaaaa"))
            with other.begin() as connection:
                connection.execute(end_others)
            assert await recorder.record(message("bbbbbbbbbbbb"))

    asyncio.run(run())

    assert stored(store) == {"aaaaaaaaaaaa", "bbbbbbbbbbbb"}
    store.close()
    other.close()


@pytest.mark.system
def test_F9_a_stopped_server_costs_its_messages_nothing_but_their_record(  # noqa: N802
    requires: Callable[[str], Path],
) -> None:
    postgres = requires("postgres")
    with postgresql_server(requires("initdb"), postgres, unused_port()) as server:
        server.create_database("gate")
        upgrade(server.url("gate"))
        store = open_store(server.url("gate"))
        data = server.folder / "data"
        troubles: list[str] = []

        async def run() -> None:
            recorder = Recorder(store, on_trouble=troubles.append)
            assert await recorder.record(message("aaaaaaaaaaaa"))

            stop(data)
            assert await recorder.record(message("bbbbbbbbbbbb")) is False
            assert recorder.unrecorded == 1

            command = [*unprivileged(server.folder), str(postgres), "-D", str(data), *server_options(server)]
            with running(command, server.folder / "log-again") as process:
                await asyncio.to_thread(wait_until_ready, server, process)
                assert await recorder.record(message("cccccccccccc"))
                assert stored(store) == {"aaaaaaaaaaaa", "cccccccccccc"}
                await recorder.close()
                store.close()

        asyncio.run(run())

    assert len(troubles) == 1
    assert troubles[0].startswith("the database gate on 127.0.0.1 can't be used: ")


def stop(data: Path) -> None:
    """Stop the server of this folder, and return when it is gone."""
    pid_file = data / "postmaster.pid"
    os.kill(int(pid_file.read_text().split()[0]), signal.SIGINT)
    while pid_file.exists():
        time.sleep(0.01)
