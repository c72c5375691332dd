"""F3: workers that stand still are killed; systemd hears that the filter has begun, and that it lives."""

import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.filter.client import MilterClient
from tests.filter.conftest import RunningFilter, Start

pytestmark = pytest.mark.system

SILENT_SECONDS = 6
"""Beats come every second; a busy machine may hold one up."""


def test_f3_a_stopped_worker_is_killed_and_its_connections_end(
    service_manager: "ServiceManager", start_filter: Start
) -> None:
    running = start_filter(
        limits={"silent_seconds": SILENT_SECONDS}, environment={"NOTIFY_SOCKET": str(service_manager.path)}
    )
    while service_manager.next() != "READY=1":  # one that has not begun is given more time
        pass
    service_manager.socket.close()
    with MilterClient(running.socket_path), MilterClient(running.socket_path):
        stopped = min(running.workers)

        os.kill(stopped, signal.SIGSTOP)

        running.wait_for(lambda: len(running.workers) == 2 and stopped not in running.workers, "a new worker")
    assert re.search(rf"worker-hangs level=error worker=\d pid={stopped}\b", running.log)
    assert running.log.count("worker-died") == 1


def test_f3_a_worker_that_works_is_never_taken_for_one_that_hangs(start_filter: Start) -> None:
    running = start_filter(limits={"silent_seconds": SILENT_SECONDS})
    running.wait_for(lambda: len(running.workers) == 2, "two workers")
    before = running.workers

    time.sleep(SILENT_SECONDS + 3)

    assert running.workers == before


def test_f3_a_supervisor_that_was_held_up_itself_does_not_blame_its_workers(start_filter: Start) -> None:
    running = start_filter(limits={"silent_seconds": SILENT_SECONDS})
    running.wait_for(lambda: len(running.workers) == 2, "two workers")
    everybody = {running.process.pid, *running.workers}

    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(SILENT_SECONDS + 2)
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    time.sleep(2)

    assert "worker-hangs" not in running.log


class ServiceManager:
    """systemd's end of sd_notify(3)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(20)

    def next(self) -> str:
        return self.socket.recv(4096).decode().strip()


@pytest.fixture
def service_manager(tmp_path: Path) -> Iterator[ServiceManager]:
    manager = ServiceManager(tmp_path / "notify.sock")
    with manager.socket:
        yield manager


def start_under(manager: ServiceManager, start_filter: Start) -> RunningFilter:
    return start_filter(
        "--workers",
        "1",
        environment={"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "10000000"},
    )


def test_f3_systemd_is_told_that_the_filter_has_begun_once_and_that_it_lives_again_and_again(
    service_manager: ServiceManager, start_filter: Start
) -> None:
    start_under(service_manager, start_filter)

    told = [service_manager.next() for _ in range(12)]

    assert told.count("READY=1") == 1
    assert told.count("WATCHDOG=1") == 11


def test_f3_systemd_hears_nothing_of_a_main_process_that_stands_still(
    service_manager: ServiceManager, start_filter: Start
) -> None:
    running = start_under(service_manager, start_filter)
    while service_manager.next() != "READY=1":
        pass

    os.kill(running.process.pid, signal.SIGSTOP)

    service_manager.socket.settimeout(3)
    with contextlib.suppress(TimeoutError):
        for _ in range(100):  # what was said before
            service_manager.next()
        pytest.fail("it goes on")
    os.kill(running.process.pid, signal.SIGCONT)
    assert service_manager.next() == "WATCHDOG=1"
