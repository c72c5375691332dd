"""The settings page as a service of its own process."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STARTUP_SECONDS = 30.0

_SCRIPT = """
import sys
from pathlib import Path
from appliance.web.server import serve

store, listen, key = sys.argv[1:]
serve(store, listen, secret_key_file=Path(key), secure_cookies=False)
"""


@contextmanager
def running_service(store_url: str, listen: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yields once it answers; what it logs goes to ``web.log`` in *folder*."""
    command = [sys.executable, "-c", _SCRIPT, store_url, listen, str(folder / "session.key")]
    with (folder / "web.log").open("wb") as log, subprocess.Popen(command, stderr=log) as service:
        try:
            wait_until_it_answers(service, listen, folder / "web.log")
            yield service
        finally:
            service.terminate()
            try:
                service.wait(timeout=20)
            except subprocess.TimeoutExpired:
                service.kill()


def wait_until_it_answers(
    service: subprocess.Popen[bytes], listen: str, log: Path, *, but_not: int | None = None
) -> None:
    """*but_not*: a worker process that does not count any more."""
    give_up_at = time.monotonic() + STARTUP_SECONDS
    while (but_not is not None and Path(f"/proc/{but_not}").exists()) or not _answers(listen):
        if service.poll() is not None or time.monotonic() > give_up_at:
            raise AssertionError(f"the service did not start: {log.read_text()}")
        time.sleep(0.05)


def _answers(listen: str) -> bool:
    """Whether a whole HTTP answer comes back: the listener is there long before the worker."""
    try:
        with _connected(listen) as client:
            client.sendall(b"GET /static/icon.svg HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return client.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


@contextmanager
def _connected(listen: str) -> Iterator[socket.socket]:
    if listen.startswith("unix:"):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(listen.removeprefix("unix:"))
            yield client
        return
    host, _, port = listen.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        yield client
