"""``python -m tests.quarantine.dying …``: the real ``dmarcgate``, killed by SIGKILL at a chosen call of the system.

The environment variable DYING names a folder. A file ``wish`` there holds how many calls the next act lives to see, or
``all``, and then the names of its calls go into a file ``calls``. The act is one message that the filter quarantines,
from the first call for its file to its reply; with DYING_AT_ONCE it is all that the command does.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from appliance.cli.root import main

FOLDER = Path(os.environ["DYING"])
_THREADS = {"MainThread", "recorder"}
"""Beside those of a pool: where the calls of an act are made. The settings are followed in another."""


class Act:
    """What is under way, as the calls that it made so far."""

    def __init__(self) -> None:
        self.under_way = False
        self._left: int | None = None

    def begin(self) -> None:
        """Take the wish, if there is one: no other worker gets it then."""
        taken = FOLDER / f"taken-{os.getpid()}"
        try:
            (FOLDER / "wish").rename(taken)
        except FileNotFoundError:
            return
        wish = taken.read_text()
        taken.unlink()
        self.under_way = True
        self._left = None if wish == "all" else int(wish)

    def call(self, name: str) -> None:
        if not self.under_way:
            return
        if self._left is None:
            with (FOLDER / "calls").open("a") as calls:
                calls.write(f"{name}\n")
        elif self._left:
            self._left -= 1
        else:
            os.kill(os.getpid(), signal.SIGKILL)


ACT = Act()


def watch(owner: Any, name: str, *, begins: bool = False, ends: bool = False) -> None:
    """Count each call of *owner*'s function, before it is made."""
    real: Callable[..., Any] = getattr(owner, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        if begins and "/quarantine/" in str(args[0]) and not ACT.under_way:
            ACT.begin()
        thread = threading.current_thread().name
        ours = thread in _THREADS or thread.startswith("asyncio_")
        if ours:
            ACT.call(name)
        result = real(*args, **kwargs)
        if ends and ours and ACT.under_way and thread == "MainThread":
            ACT.call(f"after {name}")
            ACT.under_way = False
        return result

    setattr(owner, name, counted)


def send_in_main_thread_only(owner: Any) -> None:
    """Other threads send to wake the event loop; what goes to Postfix is sent by the loop itself."""
    counted = owner.send

    def send(self: socket.socket, *args: Any) -> int:
        in_main = threading.current_thread() is threading.main_thread()
        sent: int = counted(self, *args) if in_main else socket.SocketType.send(self, *args)
        return sent

    owner.send = send


if __name__ == "__main__":
    at_once = "DYING_AT_ONCE" in os.environ
    for function in ("mkdir", "open"):
        watch(os, function, begins=not at_once)
    for function in ("chmod", "fchmod", "fsync", "unlink"):
        watch(os, function)
    watch(DefaultDialect, "do_commit")
    if at_once:
        for function in ("connect", "sendall", "recv_into"):
            watch(socket.socket, function)
        ACT.begin()
    else:
        watch(socket.socket, "send", ends=True)
        send_in_main_thread_only(socket.socket)
    try:
        main()
    except SystemExit:
        ACT.call("exit")
        sys.stdout.flush()
        raise
