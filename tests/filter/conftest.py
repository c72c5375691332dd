"""A filter of its own, without Postfix: its socket is spoken to directly."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from appliance.settings import from_document
from appliance.store import settings as store_settings
from appliance.store.engine import open_store
from tests.filter.client import MilterClient
from tests.processes import children_of

Start = Callable[..., "RunningFilter"]


class RunningFilter:
    """``dmarcgate filter`` as anyone can start it by hand; with *limits* by the launcher for tests."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        limits: Mapping[str, float] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.socket_path = folder / "f.sock"
        self.log_path = folder / "filter.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(
                        sys.executable,
                        "-m",
                        "appliance" if limits is None else "tests.filter.launcher",
                        "filter",
                    ),
                    *("--listen", f"unix:{self.socket_path}", "--store", f"sqlite:///{folder}/gate.db"),
                    *("--resolver", "127.0.0.1:9", "--workers", "2", *options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "LIMITS": json.dumps(limits or {}), **(environment or {})},
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    @property
    def workers(self) -> set[int]:
        return children_of(self.process.pid)

    def wait_for(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 60
        while not is_so():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, f"{what} did not come; log:\n{self.log}"
            time.sleep(0.02)

    def wait_until_ready(self) -> Self:
        """Return when a worker answers."""
        self.wait_for(self.socket_path.exists, "the socket")
        with MilterClient(self.socket_path):
            return self

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(str(self.socket_path))
        return client

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(20)


def enable_verification(url: str) -> None:
    store = open_store(url, create=True)
    with store.begin() as connection:
        based_on = store_settings.current(connection).number
        document = from_document({"verification": {"enabled": True}})
        store_settings.save(connection, document, based_on=based_on, author="test", comment="")
    store.close()


@pytest.fixture
def start_filter(tmp_path: Path) -> Iterator[Start]:
    """Starts filters, each below a folder of its own; they are ended with the test."""
    started: list[RunningFilter] = []

    def start(*options: str, **others: Any) -> RunningFilter:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(RunningFilter(folder, *options, **others))
        return started[-1].wait_until_ready()

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


@pytest.fixture
def running_filter(tmp_path: Path) -> Iterator[RunningFilter]:
    running = RunningFilter(tmp_path)
    try:
        running.wait_for(running.socket_path.exists, "the socket")
        yield running
    finally:
        running.process.kill()
        running.process.wait()
