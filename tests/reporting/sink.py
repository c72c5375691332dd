"""Postfix's smtp-sink as the receiver of reports: takes everything, or fails at chosen commands."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Taken:
    """One message that the sink took."""

    mail_from: str
    recipient: str
    octets: bytes


@dataclass(frozen=True, slots=True)
class Sink:
    folder: Path
    port: int

    @property
    def place(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def taken(self) -> list[Taken]:
        """All messages so far, by recipient."""
        return sorted((_read(path) for path in self.folder.glob("mail.*")), key=lambda taken: taken.recipient)


StartSink = Callable[..., Sink]
"""Starts a sink for the rest of a test; the arguments are smtp-sink's options."""


@contextlib.contextmanager
def running(program: Path, port: int, *options: str) -> Iterator[Sink]:
    """A sink on *port*; *options* are smtp-sink's."""
    folder = Path(tempfile.mkdtemp(prefix="dmarcgate-sink-"))  # where an unprivileged user may write
    as_user: list[str] = []
    if os.geteuid() == 0:
        account = pwd.getpwnam("nobody")
        os.chown(folder, account.pw_uid, account.pw_gid)
        as_user = ["-u", "nobody"]
    command = [str(program), *as_user, "-c", "-d", "mail.", *options, f"127.0.0.1:{port}", "100"]
    try:
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process,
        ):
            try:
                _await_listener(port, process)
                yield Sink(folder, port)
            finally:
                process.kill()
    finally:
        shutil.rmtree(folder)


def _await_listener(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError(f"smtp-sink does not listen on port {port}: exit status {process.poll()}")


def _read(path: Path) -> Taken:
    """Undo the format of smtp-sink's dumps: X- lines about the envelope, a Received field, LF line ends."""
    lines = path.read_bytes().split(b"\n")
    envelope = dict(line.split(b": ", 1) for line in lines[:6] if line.startswith(b"X-"))
    while lines[0].startswith((b"X-Client-", b"X-Helo-", b"X-Mail-", b"X-Rcpt-")):
        del lines[0]
    assert lines[0].startswith(b"Received: ")
    del lines[0]
    while lines[0].startswith(b"\t"):
        del lines[0]
    message = b"\r\n".join(lines)
    return Taken(_path(envelope[b"X-Mail-Args"]), _path(envelope[b"X-Rcpt-Args"]), message)


def _path(argument: bytes) -> str:
    return argument.decode().removeprefix("<").rpartition(">")[0]  # parameters may follow
