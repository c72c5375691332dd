"""A filter of its own, without Postfix: its socket is spoken to directly."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes import children_of

Start = Callable[..., "RunningFilter"]


class RunningFilter:
    """``dmarcgate filter`` as anyone can start it by hand."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.socket_path = folder / "f.sock"
        self.log_path = folder / "filter.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "appliance", "filter"),
                    *("--listen", f"unix:{self.socket_path}", "--store", f"sqlite:///{folder}/gate.db"),
                    *("--resolver", "127.0.0.1:9", "--workers", "2", *options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    @property
    def workers(self) -> set[int]:
        return children_of(self.process.pid)

    def wait_for(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 20
        while not is_so():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, f"{what} did not come; log:\n{self.log}"
            time.sleep(0.02)

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(str(self.socket_path))
        return client

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(20)


@pytest.fixture
def running_filter(tmp_path: Path) -> Iterator[RunningFilter]:
    running = RunningFilter(tmp_path)
    try:
        running.wait_for(running.socket_path.exists, "the socket")
        yield running
    finally:
        running.process.kill()
        running.process.wait()
