"""``python -m tests.reporting.dying …``: sends reports, each run in a process of its own that is killed at a chosen call.

A line on its input is one run: how many calls of the system the process lives to see, or ``all``. The answer is a line
of JSON: the exit status, and with ``all`` the names of the calls. Runs are forked, since starting Python takes longer
than what is tested.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from appliance import log
from appliance.store.engine import open_store
from reporting import jobs

NODE = "dying.example"


class Act:
    """What a run does, as the calls that it made so far."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.names: list[str] = []
        self.statement = ""

    def call(self, name: str) -> None:
        self.names.append(name)
        if self.left is None:
            return
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1


ACT = Act()


def watch(owner: Any, name: str, label: Callable[..., str]) -> None:
    """Count each call of *owner*'s function before it is made; *label* gives its name, or ``""`` for none of interest."""
    real: Callable[..., Any] = getattr(owner, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is threading.main_thread() and (said := label(*args)):
            ACT.call(said)
        return real(*args, **kwargs)

    setattr(owner, name, counted)


def watch_all() -> None:
    execute: Callable[..., None] = DefaultDialect.do_execute

    def remembering(self: DefaultDialect, cursor: Any, statement: str, *rest: Any) -> None:
        if not statement.startswith(("SELECT", "PRAGMA", "BEGIN")):
            ACT.statement = " ".join(statement.replace("INTO ", "").split()[:2])
        execute(self, cursor, statement, *rest)

    DefaultDialect.do_execute = remembering  # type: ignore[method-assign]

    def commit(*_: Any) -> str:
        said, ACT.statement = ACT.statement, ""
        return f"commit {said}" if said else ""  # reading changes nothing

    watch(DefaultDialect, "do_commit", commit)
    watch(socket.socket, "connect", lambda it, *_: "connect" if it.type == socket.SOCK_STREAM else "")
    watch(socket.socket, "sendall", lambda _, octets: f"send {octets[:4].decode('ascii', 'replace').strip()}")
    watch(socket.socket, "recv_into", lambda *_: "receive")
    for name in ("send", "sendto"):
        watch(socket.socket, name, lambda it, *_: "ask" if it.type == socket.SOCK_DGRAM else "")


def run(store_url: str, nameserver: str, port: str, log_file: str, now: str) -> None:
    """One run, in a process of its own."""
    with contextlib.closing(open_store(store_url)) as store:
        jobs.send_pending(
            store,
            nameserver=nameserver,
            listener=("127.0.0.1", int(port)),
            now=datetime.fromisoformat(now),
            node=NODE,
            log=Path(log_file),
        )


def main() -> None:
    log.configure()
    watch_all()
    jobs.SENT_AT_ONCE = 1  # a run that is killed then leaves one lease behind
    for line in sys.stdin:
        wish = line.strip()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            ACT.left = None if wish == "all" else int(wish)
            ACT.names.clear()
            status = 1
            try:
                run(*sys.argv[1:])
                status = 0
            finally:
                os.write(writing, json.dumps(ACT.names).encode())
                os._exit(status)
        os.close(writing)
        with open(reading, "rb") as pipe:  # noqa: PTH123  a pipe has no path
            said = pipe.read()
        _, ended = os.waitpid(pid, 0)
        print(json.dumps([os.waitstatus_to_exitcode(ended), json.loads(said or "[]")]), flush=True)


if __name__ == "__main__":
    main()
