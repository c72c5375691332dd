"""Daemons under measurement: start them, find what they cost in CPU time and memory, end them."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

_START_SECONDS = 90.0  # rspamd compiles patterns for some ten seconds on an idle machine
_STOP_SECONDS = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_OCTETS = os.sysconf("SC_PAGE_SIZE")
_MEGABYTE = 1_000_000


class CannotStart(Exception):
    """A daemon did not come up; the message holds the end of its log."""


class Daemon:
    """A running process with all its descendants; its output goes to a file."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until(self, is_up: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not is_up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:]
                self.stop()
                raise CannotStart("\n".join([f"{self.name} did not start; the end of its log:", *lines]))
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)
        self._process.wait()

    def cpu_seconds(self) -> float:
        """User and system time so far, of this process and its living descendants."""
        return sum(int(stat[11]) + int(stat[12]) for stat in self._stats()) / _TICKS

    def largest_megabytes(self) -> float:
        """The resident memory of the largest of them: a worker, where there are any."""
        return max(int(stat[21]) for stat in self._stats()) * _PAGE_OCTETS / _MEGABYTE

    def _stats(self) -> Iterator[list[str]]:
        """The fields of /proc/PID/stat behind the command's name."""
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop()
            with contextlib.suppress(OSError):  # it may end while we look
                yield Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
                for task in Path(f"/proc/{pid}/task").iterdir():
                    waiting += map(int, (task / "children").read_text(encoding="ascii").split())
