"""SQLite in trouble under a running gateway: mail goes on by its verdicts, and the store comes back by itself (F7, F8)."""

import contextlib
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.services import wait_for
from appliance.store import audit
from appliance.store.engine import upgrade
from tests.processes import children_of
from tests.system.conftest import INSIDE
from tests.system.faults import (
    RECORDED,
    UNRECORDED,
    await_recovery,
    held,
    kill_all_workers,
    logged,
    mounted,
    prepare,
    send_round,
    unrecorded_counted,
    unrecorded_lines,
)
from tests.system.mixed_mail import KINDS, Mail, judgements

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]


@pytest.fixture(scope="module", autouse=True)
def _prepared(gateway: Gateway) -> None:
    prepare(gateway)


def database_of(gateway: Gateway) -> Path:
    return Path(gateway.store_url.removeprefix("sqlite:///"))


@contextlib.contextmanager
def beside(gateway: Gateway) -> Iterator[sqlite3.Connection]:
    """Another program's connection."""
    connection = sqlite3.connect(database_of(gateway), isolation_level=None, check_same_thread=False)
    with contextlib.closing(connection):
        yield connection


# ---- F7: no space ---------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path, requires_postfix: None) -> Iterator[Gateway]:
    """A gateway whose database has a disk of its own."""
    disk = tmp_path / "disk"
    with (
        mounted("-t", "tmpfs", "-o", "size=6m", "tmpfs", at=disk),
        Gateway(
            tmp_path / "g",
            inside_domains=(INSIDE,),
            store_url=f"sqlite:///{disk}/dmarcgate.db",
            page=False,
        ) as gateway,
    ):
        prepare(gateway)
        yield gateway


def fill(ballast: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(bytes(20_000_000))


def test_f7_a_full_disk_stops_no_mail_but_what_would_be_quarantined(small_disk: Gateway) -> None:
    before = send_round(small_disk)
    ballast = database_of(small_disk).with_name("ballast")

    fill(ballast)
    full = send_round(small_disk)
    kill_all_workers(small_disk)
    with_new_workers = send_round(small_disk)
    ballast.unlink()
    after = await_recovery(small_disk)

    assert (before.codes, full.codes, with_new_workers.codes) == (RECORDED, UNRECORDED, UNRECORDED)
    for sent in (before, full, with_new_workers, after):
        sent.assert_filtered()
    assert full.recorded() == with_new_workers.recorded() == set()
    assert held(small_disk) == {
        sent.mails[name].message_id for sent in (before, after) for name in ("quarantine", "unusable From")
    }
    assert "can't be written because its disk is full: make room there" in logged(small_disk)
    wait_for("the counters", lambda: unrecorded_counted(small_disk) >= 10, seconds=30)


@contextlib.contextmanager
def files_limited(gateway: Gateway, octets: int) -> Iterator[None]:
    """No process of the filter may make a file larger than this."""
    supervisor = gateway.service("filter").pid
    before, hard = resource.prlimit(supervisor, resource.RLIMIT_FSIZE)

    def limit(soft: int) -> None:
        for pid in (supervisor, *children_of(supervisor)):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))

    limit(octets)
    try:
        yield
    finally:
        limit(before)


def test_f7_a_database_that_can_not_grow_stops_no_mail_but_what_would_be_quarantined(
    gateway: Gateway,
) -> None:
    """The same without a mount: the filter may write its log and small files, but not the end of the database's log."""
    with gateway.store.begin() as connection:
        for number in range(400):
            audit.write(connection, "test", "ballast", str(number), "x" * 4000)
    octets = database_of(gateway).with_name("dmarcgate.db-wal").stat().st_size - 4096
    assert octets > len(logged(gateway)) + 100_000

    with files_limited(gateway, octets):
        full = send_round(gateway)
        kill_all_workers(gateway)
        with_new_workers = send_round(gateway)
    after = await_recovery(gateway)

    assert (full.codes, with_new_workers.codes) == (UNRECORDED, UNRECORDED)
    for sent in (full, with_new_workers, after):
        sent.assert_filtered()
    assert full.recorded() == with_new_workers.recorded() == set()
    assert "can't be read or written (disk I/O error): look at its disk" in logged(gateway)


# ---- F8: locked, slow, damaged --------------------------------------------------


def test_f8_a_locked_database_stops_no_mail_but_what_would_be_quarantined(
    gateway: Gateway, long_run: bool
) -> None:
    counted, listed = unrecorded_counted(gateway), unrecorded_lines(gateway)
    rounds = []

    with beside(gateway) as other:
        until = time.monotonic() + (60 if long_run else 12)
        other.execute("BEGIN EXCLUSIVE")
        while time.monotonic() < until:
            rounds.append(send_round(gateway))
        other.execute("ROLLBACK")
    after = await_recovery(gateway)

    assert [sent.codes for sent in rounds] == [UNRECORDED] * len(rounds)
    for sent in (*rounds, after):
        sent.assert_filtered()
    assert [sent.recorded() for sent in rounds] == [set()] * len(rounds)
    assert "stays locked by another program" in logged(gateway)
    assert unrecorded_lines(gateway) - listed >= 5 * len(rounds)
    wait_for("the counters", lambda: unrecorded_counted(gateway) - counted >= 5 * len(rounds), seconds=30)


def test_f8_a_slow_database_records_or_counts_every_message_and_holds_none_twice(gateway: Gateway) -> None:
    """Another program's long transactions, one after the other."""
    listed = unrecorded_lines(gateway)
    over = threading.Event()
    mails = [Mail(2_000_000 + number, KINDS[number % len(KINDS)]) for number in range(88)]

    def hold_again_and_again() -> None:
        with beside(gateway) as other:
            while not over.wait(0.05):
                other.execute("BEGIN IMMEDIATE")
                over.wait(0.8)
                other.execute("ROLLBACK")

    slow = threading.Thread(target=hold_again_and_again)
    slow.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda mail: mail.send_until_answered(gateway), mails))
    finally:
        over.set()
        slow.join()

    assert {reply.code for reply in replies} == {250, 550}
    attempts = sum(len(mail.replies) for mail in mails)
    assert judgements(gateway, *mails) + unrecorded_lines(gateway) - listed == attempts
    quarantined = [mail for mail in mails if mail.kind.name == "quarantine"]
    assert held(gateway) >= {mail.message_id for mail in quarantined}


@pytest.fixture
def own_gateway(tmp_path: Path, requires_postfix: None) -> Iterator[Gateway]:
    """For damage that is not to be repaired."""
    with Gateway(tmp_path / "g", inside_domains=(INSIDE,), page=False) as gateway:
        prepare(gateway)
        yield gateway


def damage(path: Path) -> None:
    """Flip every octet behind the first page's header, in place."""
    with path.open("r+b") as file:
        file.seek(100)
        octets = file.read()
        file.seek(100)
        file.write(bytes(octet ^ 0xFF for octet in octets))


def move_aside(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(path.with_name("aside" + suffix))


def test_f8_a_damaged_database_stops_no_mail_and_a_restored_one_is_used_without_a_restart(
    own_gateway: Gateway,
) -> None:
    path = database_of(own_gateway)
    backup = path.with_name("backup.db")
    with beside(own_gateway) as other, contextlib.closing(sqlite3.connect(backup)) as target:
        other.backup(target)
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    damage(path)
    kill_all_workers(own_gateway)  # those that run may live on what they read before
    damaged = send_round(own_gateway)
    octets = path.read_bytes()
    move_aside(path)
    missing = send_round(own_gateway)
    shutil.move(backup, path)
    after = await_recovery(own_gateway)

    assert (damaged.codes, missing.codes) == (UNRECORDED, UNRECORDED)
    for sent in (damaged, missing, after):
        sent.assert_filtered()
    assert "restore a backup" in logged(own_gateway)
    assert path.with_name("aside").read_bytes() == octets
    assert held(own_gateway) == {after.mails[name].message_id for name in ("quarantine", "unusable From")}


def test_f8_a_new_database_made_under_a_running_filter_is_used_by_it(own_gateway: Gateway) -> None:
    """Its settings are the defaults: DMARC is off until somebody switches it on again."""
    path = database_of(own_gateway)
    send_round(own_gateway)
    move_aside(path)

    upgrade(own_gateway.store_url)
    prepare(own_gateway)
    after = await_recovery(own_gateway)

    after.assert_filtered()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_f8_a_database_that_is_damaged_at_start_is_named_with_the_remedy_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "dmarcgate.db"
    upgrade(f"sqlite:///{path}")
    damage(path)
    octets = path.read_bytes()
    node_file = tmp_path / "node.toml"
    node_file.write_text(
        f'name = "gateway.example"\nstore = "sqlite:///{path}"\nstate = "{tmp_path}"\n'
        f'resolver = "127.0.0.1:1"\n[filter]\nlisten = "unix:{tmp_path}/filter.sock"\n'
    )
    node_file.chmod(0o600)

    ended = subprocess.run(
        [sys.executable, "-m", "appliance", "filter", "--config", str(node_file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 75
    assert f"the database {path} is damaged (" in ended.stderr
    assert "restore a backup" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert path.read_bytes() == octets
