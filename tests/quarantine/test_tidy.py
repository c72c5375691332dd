"""Keeping the quarantine in order: expiry by age and space, orphans, several that do it at once."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from appliance.quarantine import (
    Desk,
    Fill,
    MissingMessage,
    ReleaseUncertain,
    delete,
    measure,
    release,
    tidy,
    undelete,
)
from appliance.quarantine.usage import show_size
from appliance.settings import Retention, Settings
from appliance.store import quarantine_expiry as expiry
from appliance.store.engine import Store
from appliance.store.quarantine import HoldState, QuarantineRow, Usage
from appliance.store.quarantine_expiry import Removable
from tests.quarantine.samples import OCTETS, audited, desk_below, files_below, hold, sink, state
from tests.store.samples import RECEIVED_AT
from tests.system.faults import mounted

ROOMY = Settings(retention=Retention(quarantine_percent=80))
NOW = RECEIVED_AT + timedelta(hours=1)
TAKING = {".": "250 2.0.0 Ok: queued as 4ZqK1"}


@pytest.fixture
def desk(store: Store, tmp_path: Path) -> Desk:
    """On both databases."""
    return desk_below(tmp_path, store)


def ids(count: int) -> Iterator[str]:
    return (f"{number:012x}" for number in range(count))


def age_file(desk: Desk, row: QuarantineRow, by: timedelta) -> None:
    [file] = desk.files.directory.rglob(f"{row.event_id}.eml")
    moment = (NOW - by).timestamp()
    os.utime(file, (moment, moment))


def there(desk: Desk) -> set[str]:
    return {path.stem for path in files_below(desk.files.directory)}


# ---- age -------------------------------------------------------------------------


def test_s27_messages_expire_after_their_days_and_others_stay(desk: Desk) -> None:
    old = hold(desk, event_id="000000000001", held_at=NOW - timedelta(days=30, seconds=1))
    young = hold(desk, event_id="000000000002", held_at=NOW - timedelta(days=30) + timedelta(seconds=1))

    tidied = tidy(desk, ROOMY, NOW)

    assert tidied.too_old == Usage(1, old.size_octets)
    assert there(desk) == {young.event_id}
    assert state(desk, young.event_id) is HoldState.HELD
    with pytest.raises(MissingMessage, match="it may have expired"):
        desk.find(old.event_id)
    assert audited(desk) == [
        (
            "dmarcgate",
            "quarantine expire",
            "1 messages",
            f"{old.size_octets} octets held for more than 30 days",
        )
    ]


def test_a_deleted_message_is_purged_when_it_can_not_be_brought_back_any_more(desk: Desk) -> None:
    row = hold(desk)
    delete(desk, row.event_id, actor="ada", now=NOW)

    before = tidy(desk, ROOMY, NOW + timedelta(days=7))
    kept = there(desk)
    after = tidy(desk, ROOMY, NOW + timedelta(days=7, seconds=1))

    assert (before.purged.messages, kept) == (0, {row.event_id})
    assert (after.purged.messages, there(desk)) == (1, set())


def test_a_thousand_messages_expire_some_at_a_time(desk: Desk) -> None:
    for event_id in ids(450):
        hold(desk, b"From: a\r\n\r\n", event_id=event_id, held_at=NOW - timedelta(days=31))

    assert tidy(desk, ROOMY, NOW).too_old.messages == 450

    assert there(desk) == set()
    assert [entry[2] for entry in audited(desk)] == ["50 messages", "200 messages", "200 messages"]


def test_messages_of_other_nodes_are_theirs(desk: Desk) -> None:
    hold(desk, node="mx2.example", held_at=NOW - timedelta(days=31))

    tidied = tidy(desk, ROOMY, NOW)

    assert (tidied.too_old.messages, tidied.fill.messages) == (0, 0)


def test_a_row_without_file_expires_like_any_other(desk: Desk) -> None:
    row = hold(desk, held_at=NOW - timedelta(days=31))
    desk.files.delete(row.event_id)

    assert tidy(desk, ROOMY, NOW).too_old.messages == 1


# ---- space -----------------------------------------------------------------------

LARGE = b"Subject: large\r\n\r\n" + b"x" * 99_980 + b"\r\n"


@pytest.fixture
def small_desk(sqlite_store: Store, tmp_path: Path) -> Iterator[Desk]:
    """On a disk of 2 MiB, of which mail may fill 20 percent: four large messages."""
    with mounted("-t", "tmpfs", "-o", "size=2m", "none", at=tmp_path / "disk"):
        yield desk_below(tmp_path / "disk", sqlite_store)


def test_s27_what_is_beyond_the_share_of_the_disk_goes_with_the_least_loss(small_desk: Desk) -> None:
    """Deleted messages first, then released ones, then the oldest."""
    for number, event_id in enumerate(ids(7)):
        hold(small_desk, LARGE, event_id=event_id, held_at=NOW - timedelta(minutes=10 - number))
    delete(small_desk, f"{6:012x}", actor="ada", now=NOW)
    with sink(TAKING) as server:
        release(replace(small_desk, smtp=server.address), f"{5:012x}", actor="ada")

    before = measure(small_desk, Settings())
    tidied = tidy(small_desk, Settings(), NOW)

    assert (before.percent, tidied.fill.percent) == (166, 95)
    assert "is 166 % full" in before.warning
    assert tidied.no_room == Usage(3, 3 * len(LARGE))
    assert there(small_desk) == {f"{number:012x}" for number in (1, 2, 3, 4)}


def test_a_message_that_is_being_released_makes_no_room(small_desk: Desk) -> None:
    now = datetime.now(UTC)
    for number, event_id in enumerate(ids(5)):
        hold(small_desk, LARGE, event_id=event_id, held_at=now - timedelta(minutes=10 - number))
    with sink({".": None}) as breaking, pytest.raises(ReleaseUncertain):
        release(replace(small_desk, smtp=breaking.address), f"{0:012x}", actor="ada")

    tidy(small_desk, Settings(), now)

    assert there(small_desk) == {f"{number:012x}" for number in (0, 2, 3, 4)}


@pytest.mark.parametrize(
    ("fill", "warning"),
    [
        pytest.param(Fill(1, 799, 1000, 5000, 4000), "", id="79 percent"),
        pytest.param(Fill(1, 800, 1000, 5000, 4000), "the quarantine is 80 % full (800 octets of 1.0 kB)", id="80 percent"),
        pytest.param(Fill(1, 10, 1000, 5000, 49), "the disk of the quarantine is full (49 octets are left)", id="full disk"),
        pytest.param(Fill(0, 0, 0, 0, 0), "", id="no disk"),
    ],
)  # fmt: skip
def test_a_quarantine_that_fills_is_told_in_time(fill: Fill, warning: str) -> None:
    assert fill.warning.partition(":")[0] == warning


def test_the_share_is_of_the_disk_that_holds_the_folder(desk: Desk) -> None:
    hold(desk)
    disk = os.statvfs(desk.files.directory)

    fill = measure(desk, Settings())

    assert (fill.messages, fill.octets) == (1, len(OCTETS))
    assert fill.limit_octets == disk.f_blocks * disk.f_frsize * 20 // 100


def test_what_was_done_and_what_is_wrong_stands_in_the_log(small_desk: Desk) -> None:
    for event_id in ids(5):
        hold(small_desk, LARGE, event_id=event_id)

    with capture_logs() as lines:
        tidy(small_desk, Settings(), NOW)

    assert [line["event"] for line in lines] == ["quarantine-tidied", "quarantine-filling"]
    assert (lines[0]["no_room"], lines[0]["orphans"]) == (1, None)
    assert lines[1]["percent"] == 95


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 octets"),
        (999, "999 octets"),
        (1_000, "1.0 kB"),
        (2_100_000, "2.1 MB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_sizes_are_for_people(octets: int, text: str) -> None:
    assert show_size(octets) == text


# ---- orphans ---------------------------------------------------------------------


def test_files_that_nobody_knows_are_swept_after_seven_days(desk: Desk) -> None:
    """What a filter leaves that dies after the file and before the row."""
    known = hold(desk, event_id="000000000001")
    old, young = (hold(desk, event_id=event_id) for event_id in ("000000000002", "000000000003"))
    with desk.store.begin() as connection:
        expiry.remove(connection, [Removable(row.event_id, row.state, 0) for row in (old, young)])
    age_file(desk, known, timedelta(days=8))
    age_file(desk, old, timedelta(days=7, seconds=1))
    age_file(desk, young, timedelta(days=6))

    tidied = tidy(desk, ROOMY, NOW)

    assert (tidied.orphans, there(desk)) == (1, {known.event_id, young.event_id})


def test_without_a_folder_there_is_nothing_to_do(desk: Desk) -> None:
    desk.files.directory.rmdir()

    assert tidy(desk, ROOMY, NOW).orphans == 0


# ---- at once ---------------------------------------------------------------------


def test_several_that_tidy_at_once_count_each_message_once(desk: Desk) -> None:
    for event_id in ids(300):
        hold(desk, b"From: a\r\n\r\n", event_id=event_id, held_at=NOW - timedelta(days=31))
    together = threading.Barrier(4)

    def run(_: int) -> int:
        together.wait()
        return tidy(desk, ROOMY, NOW).too_old.messages

    with ThreadPoolExecutor(4) as pool:
        counted = list(pool.map(run, range(4)))

    assert sum(counted) == 300
    assert sum(int(entry[2].split()[0]) for entry in audited(desk)) == 300
    assert there(desk) == set()


def test_a_message_that_was_brought_back_meanwhile_is_not_purged(desk: Desk) -> None:
    """Between the look at the rows and their removal."""
    row = hold(desk)
    delete(desk, row.event_id, actor="ada", now=NOW)
    with desk.store.read() as connection:
        chosen = expiry.undo_is_over(connection, desk.node, NOW + timedelta(days=8), 10)

    undelete(desk, row.event_id, actor="ada", now=NOW + timedelta(days=1))
    with desk.store.begin() as connection:
        gone = expiry.remove(connection, chosen)

    assert (len(chosen), gone) == (1, [])
    assert state(desk, row.event_id) is HoldState.HELD
