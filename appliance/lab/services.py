"""The gateway's own services as child processes: started from a node file, watched, stopped."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_STOP_SECONDS = 15.0
_LOG_LINES = 8


class ServiceFailed(Exception):
    """A service did not start or ended by itself; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Command:
    """A ``dmarcgate`` command line, without the command itself, and the folder to run it in."""

    name: str
    arguments: tuple[str, ...]
    folder: Path
    module: str = "appliance"
    """What is run in its place, for tests."""


class Service:
    """One running command; its output goes to a file."""

    def __init__(self, command: Command, log: Path) -> None:
        self.name = command.name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", command.module, *command.arguments],
                cwd=command.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C stops the lab, which then stops its services in order
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raise ``ServiceFailed`` when the process has ended."""
        status = self._process.poll()
        if status is not None:
            raise ServiceFailed(
                f"{self.name} ended with status {status}; the end of {self.log}:\n{self.log_tail()}"
            )

    def log_tail(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:])

    def stop(self) -> None:
        """End the process and whatever it has started."""
        if self._process.poll() is None:
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def wait_for(what: str, is_there: Callable[[], bool], *services: Service, seconds: float = 20.0) -> None:
    """Wait until *is_there*; a service that ends meanwhile, or too much time, raises ``ServiceFailed``."""
    deadline = time.monotonic() + seconds
    while not is_there():
        for service in services:
            service.check()
        if time.monotonic() > deadline:
            logs = "\n".join(f"{service.log}:\n{service.log_tail()}" for service in services)
            raise ServiceFailed(f"{what} did not come within {seconds:.0f} s\n{logs}")
        time.sleep(0.02)
