"""A private Postfix instance below one folder: written, started, watched and stopped without touching the system's own."""

import contextlib
import os
import pty
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from appliance.lab.ports import LOOPBACK, require_free
from appliance.lab.postfix_config import PrivateConfig
from appliance.lab.postfix_programs import PostfixError, PostfixPrograms, clean_environment, find_postfix

_START_SECONDS = 20.0
_STOP_SECONDS = 8.0
_LOG_LINES = 15

_QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "incoming", "active")
"""In the order in which mail moves, so that none is missed; a retry goes back to the start."""


class PostfixInstance:
    """A private Postfix; as a context manager it runs from entry to exit."""

    def __init__(self, config: PrivateConfig, programs: PostfixPrograms | None = None) -> None:
        """*programs* are the system's, when not given; raises ``PostfixMissing`` without any."""
        self.config = config
        self.programs = programs or find_postfix()
        directory = config.directory.resolve()
        if any(character.isspace() or character in "${}=,;" for character in str(directory)):
            raise PostfixError(
                f"Postfix cannot work below {directory}: choose a folder without spaces and signs like $ in its path"
            )
        self.directory = directory

    @property
    def configuration_directory(self) -> Path:
        return self.directory / "etc"

    @property
    def queue_directory(self) -> Path:
        return self.directory / "queue"

    @property
    def log_path(self) -> Path:
        return self.directory / "maillog"

    @property
    def inside_maildir(self) -> Path:
        """Where mail for the inside domains ends."""
        return self.queue_directory / "mailbox" / "inside"

    @property
    def outside_maildir(self) -> Path:
        """Where all other mail ends: reports, bounces."""
        return self.queue_directory / "mailbox" / "outside"

    @property
    def filter_socket(self) -> Path:
        """Where the filter is to listen for the default endpoint.

        Its folder hands its group, Postfix's, to what is made there: a socket of mode 0660 can be reached.
        """
        return self.queue_directory / "dmarcgate" / "filter.sock"

    def write(self) -> None:
        """Write configuration and folders; what is there is replaced, mail and log are kept."""
        _require_root()
        owner = self.programs.mail_owner
        for folder, uid, gid, mode in (
            (self.directory, 0, 0, None),
            (self.configuration_directory, 0, 0, 0o755),
            (self.queue_directory, 0, 0, 0o755),
            (self.queue_directory / "data", owner.pw_uid, owner.pw_gid, 0o700),
            (self.queue_directory / "mailbox", owner.pw_uid, owner.pw_gid, 0o700),
            (self.filter_socket.parent, 0, owner.pw_gid, 0o2750),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            if mode is not None:
                os.chown(folder, uid, gid)
                folder.chmod(mode)
        link = self.directory / "mailbox"
        if not link.is_symlink():
            link.symlink_to("queue/mailbox")
        for name, text in (
            ("main.cf", self.config.main_cf(self.programs)),
            ("master.cf", self.config.master_cf()),
            ("bounces", self.config.bounces()),
        ):
            path = self.configuration_directory / name
            path.write_text(text, encoding="utf-8")
            path.chmod(0o644)

    def start(self) -> None:
        """Start, and return when every port answers; after an exception nothing runs. The ports must be free."""
        _require_root()
        if self.running:
            raise PostfixError(
                f"a Postfix already runs below {self.directory}: stop it with {self._command_text('stop')}"
            )
        for purpose, port in self.config.ports.items():
            require_free(port, purpose)
        deadline = time.monotonic() + _START_SECONDS
        try:
            self._command("start")
            for port in self.config.ports.values():
                self._await_greeting(port, deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop, and return when no process of the instance is left; nothing happens when none runs."""
        if not self.running:
            return
        with contextlib.suppress(PostfixError):
            self._command("stop")
        if not self._await_end():
            for pid in self._processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not self._await_end():
                raise self._trouble(f"Postfix below {self.directory} cannot be stopped")

    def reload(self) -> None:
        """Have a running instance read what ``write`` has changed."""
        self._command("reload")

    def __enter__(self) -> Self:
        self.write()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return bool(self._processes())

    def queue_length(self) -> int:
        """Messages that wait for delivery. Files that Postfix has not finished writing do not count."""
        found: set[str] = set()
        for queue in _QUEUES:
            for folder, _, names in os.walk(self.queue_directory / queue):
                found.update(name for name in names if _is_finished(Path(folder, name)))
        return len(found)

    def log_tail(self, lines: int = _LOG_LINES) -> str:
        """The last lines of Postfix's log."""
        try:
            text = self.log_path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])

    def _command_text(self, verb: str) -> str:
        return f"{self.programs.postfix} -c {self.configuration_directory} {verb}"

    def _command(self, verb: str) -> None:
        try:
            # No pipes: Postfix's master process would keep them open. What it has to say goes to its log.
            done = self._run(verb, subprocess.DEVNULL)
        except subprocess.TimeoutExpired as late:
            raise self._trouble(
                f"{self._command_text(verb)} did not end within {_START_SECONDS:.0f} s"
            ) from late
        if done.returncode != 0:
            raise self._trouble(f"{self._command_text(verb)} failed {self._complaint()}".strip())

    def _complaint(self) -> str:
        """What Postfix says to a terminal, and only there, of a configuration that keeps it from its log."""
        ours, theirs = pty.openpty()
        os.set_blocking(ours, False)
        try:
            self._run("check", theirs)
            return f"({os.read(ours, 2000).decode('utf-8', 'replace').strip()})"
        except (OSError, subprocess.TimeoutExpired):
            return ""
        finally:
            os.close(ours)
            os.close(theirs)

    def _run(self, verb: str, stderr: int) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self.programs.postfix, "-c", self.configuration_directory, verb],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=clean_environment(),
            cwd="/",
            timeout=_START_SECONDS,
            check=False,
        )

    def _await_greeting(self, port: int, deadline: float) -> None:
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(
                    (LOOPBACK, port), timeout=max(0.1, deadline - time.monotonic())
                ) as client:
                    if client.recv(1000).startswith(b"220 "):
                        client.sendall(b"QUIT\r\n")
                        return
            except OSError:
                pass
            time.sleep(0.05)
        raise self._trouble(f"Postfix does not answer on port {port}")

    def _trouble(self, what: str) -> PostfixError:
        return PostfixError(f"{what}; the end of {self.log_path}:\n{self.log_tail()}")

    def _await_end(self) -> bool:
        deadline = time.monotonic() + _STOP_SECONDS
        while self.running:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _processes(self) -> list[int]:
        """The instance's running processes: of its master's group and standing in its queue.

        So a stale file of the master's number harms nobody who has the number now.
        """
        try:
            master = int((self.queue_directory / "pid" / "master.pid").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return []
        return [pid for pid in _processes_in(self.queue_directory) if _group_of(pid) == master]


def _require_root() -> None:
    if os.geteuid() != 0:
        raise PostfixError("a Postfix of our own can be run by root only: run the same command with sudo")


def _is_finished(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o100)  # Postfix sets this bit when a queue file is complete
    except FileNotFoundError:
        return False


def _processes_in(folder: Path) -> Iterator[int]:
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if link.readlink() == folder:
                yield int(link.parent.name)


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
