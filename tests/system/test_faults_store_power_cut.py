"""The power fails: what was answered has its event and its quarantined file when the machine comes up again (F12)."""

import contextlib
import ctypes
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.services import wait_for
from tests.processes import children_of
from tests.system.conftest import INSIDE
from tests.system.faults import mounted, prepare
from tests.system.mixed_mail import NONE, PASS, QUARANTINE, REJECT, SEVERAL, UNUSABLE, Mail, Pace

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

SENDERS = 6
MESSAGES_A_SECOND = 80.0
KINDS = (PASS, QUARANTINE, REJECT, NONE, UNUSABLE, SEVERAL)
DISK_OCTETS = 300_000_000  # Postfix wants room for one and a half of the largest message
CACHESTAT = 451  # the same number on all architectures


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory, requires: Callable[[str], Path]) -> Iterator[Path]:
    """The image of a disk whose file system writes by itself so seldom that only what is synced is there."""
    folder: Path = tmp_path_factory.mktemp("disk")
    with mounted("-t", "tmpfs", "tmpfs", at=folder / "probe"):
        make = requires("mkfs.ext4")
    image = folder / "disk.img"
    with image.open("wb") as file:
        file.truncate(DISK_OCTETS)
    subprocess.run([make, "-q", "-F", image], check=True)
    with mounted("-o", "loop,commit=300", str(image), at=folder / "disk"):
        yield image


@pytest.fixture(scope="module")
def gateway(disk: Path, requires_postfix: None) -> Iterator[Gateway]:
    """All of it on *disk*."""
    with Gateway(disk.parent / "disk" / "gateway", inside_domains=(INSIDE,), page=False) as running:
        prepare(running)
        yield running


@contextlib.contextmanager
def frozen(gateway: Gateway) -> Iterator[None]:
    """No process of the gateway does anything, nor any system call of theirs."""
    supervisor = gateway.service("filter").pid
    stopped = [*gateway.postfix._processes(), supervisor, *children_of(supervisor)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_for("the standstill", lambda: all(map(stands_still, stopped)))
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def stands_still(pid: int) -> bool:
    states = [
        stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")
    ]
    return all(state in "TtZ" for state in states)


def copy_when_silent(disk: Path, sent: list[Mail], copy: Path) -> list[Mail]:
    """What the clients have heard of until now, and what is on the disk at this moment."""
    heard = -1
    while heard != len(sent):  # replies that were on their way
        heard = len(sent)
        time.sleep(0.3)
    subprocess.run(["cp", "--sparse=always", disk, copy], check=True)
    return sent[:heard]


def test_f12_what_was_answered_is_there_after_a_power_cut(
    gateway: Gateway, disk: Path, tmp_path: Path, long_run: bool
) -> None:
    answered: list[Mail] = []
    over = threading.Event()
    pace = Pace(MESSAGES_A_SECOND)

    def send_on(sender: int) -> None:
        number = sender
        while not over.is_set():
            pace.wait()
            mail = Mail(number, KINDS[number // SENDERS % len(KINDS)])
            if not 400 <= mail.send(gateway).code < 500:
                answered.append(mail)
            number += SENDERS

    with ThreadPoolExecutor(SENDERS) as pool:
        sending = [pool.submit(send_on, sender) for sender in range(SENDERS)]
        try:
            for cut in range(5 if long_run else 1):
                enough = len(answered) + 150
                wait_for("some mail", lambda enough=enough: len(answered) >= enough, seconds=60)  # type: ignore[misc]
                with frozen(gateway):
                    told = copy_when_silent(disk, answered, tmp_path / "copy.img")
                with mounted("-o", "loop", str(tmp_path / "copy.img"), at=tmp_path / f"after-{cut}"):
                    assert_everything_told_is_there(told, tmp_path / f"after-{cut}" / "gateway")
        finally:
            over.set()
    for each in sending:
        each.result()


def assert_everything_told_is_there(told: list[Mail], state: Path) -> None:
    with contextlib.closing(sqlite3.connect(state / "dmarcgate.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        recorded = {one for (one,) in connection.execute("SELECT message_id FROM event")}
        held = {
            message_id: (event_id, digest)
            for message_id, event_id, digest in connection.execute(
                "SELECT message_id, event_id, sha256 FROM quarantine"
            )
        }
    assert {mail.final.code for mail in told} == {250, 550}
    assert {mail.message_id for mail in told} <= recorded
    quarantined = [mail for mail in told if mail.kind in (QUARANTINE, UNUSABLE, SEVERAL)]
    assert quarantined
    files = {file.stem: file for file in (state / "quarantine").rglob("*.eml")}
    for mail in quarantined:
        event_id, digest = held[mail.message_id]
        assert sha256(files[event_id].read_bytes()).hexdigest() == digest


# ---- without a disk of our own --------------------------------------------------


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("octets", ctypes.c_uint64))


class _Cached(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64) for name in ("cached", "dirty", "writeback", "evicted", "recently_evicted")
    )


def unwritten_pages(path: Path) -> int:
    """How much of a file is in memory only, by cachestat(2). ``OSError`` on a kernel before 6.5."""
    libc, found = ctypes.CDLL(None, use_errno=True), _Cached()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if libc.syscall(CACHESTAT, descriptor, ctypes.byref(_Range(0, 0)), ctypes.byref(found), 0):
            raise OSError(ctypes.get_errno(), "cachestat")
    finally:
        os.close(descriptor)
    return int(found.dirty + found.writeback)


@pytest.fixture
def kernel_that_tells(tmp_path: Path) -> None:
    """Skips where the kernel, or the file system of the tests, doesn't tell what is still to be written."""
    probe = tmp_path / "probe"
    with probe.open("wb") as file:
        file.write(bytes(8192))
        file.flush()
        try:
            before = unwritten_pages(probe)
        except OSError as error:
            pytest.skip(f"this kernel can't tell what is not on disk yet: {error}")
        os.fsync(file.fileno())
    if not before or unwritten_pages(probe):
        pytest.skip("this file system doesn't tell what is not on disk yet")


@pytest.fixture
def plain_gateway(tmp_path: Path, kernel_that_tells: None, requires_postfix: None) -> Iterator[Gateway]:
    with Gateway(tmp_path / "g", inside_domains=(INSIDE,), page=False) as running:
        prepare(running)
        yield running
    shutil.rmtree(tmp_path / "g")


def test_f12_nothing_that_was_answered_is_still_to_be_written(plain_gateway: Gateway) -> None:
    """Each is looked at several times, since another worker may just be writing its own."""
    log = plain_gateway.directory / "dmarcgate.db-wal"
    unwritten: dict[str, list[int]] = {}

    for number, kind in enumerate((PASS, QUARANTINE, REJECT) * 4):
        mail = Mail(number, kind)
        mail.send(plain_gateway)
        files = [log, *(plain_gateway.directory / "quarantine").rglob("*.eml")]
        unwritten.setdefault(kind.name, []).append(sum(map(unwritten_pages, files)))
        assert mail.final.code in {250, 550}

    assert {name: min(pages) for name, pages in unwritten.items()} == {
        "pass": 0,
        "quarantine": 0,
        "reject": 0,
    }
