"""``python -m tests.filter.launcher filter …``: the real filter with limits of a test's, that fails where a message says so.

The environment variable LIMITS holds the limits as JSON. A client name, HELO name or sender like ``kill-helo.example``
or ``hang-body@faults.example`` makes the worker fail at that stage, by a real means: SIGKILL to itself, an event loop
that stands still, memory without end, an exception.
"""

import json
import os
import re
import signal
import sys
import time
from functools import partial
from typing import NoReturn

from appliance.cli import main
from appliance.filter import server
from appliance.filter.limits import Limits
from appliance.milter.connection import MilterConnection
from appliance.milter.wire import Command
from appliance.store.quarantine import QuarantineRow
from appliance.store.recorder import Recorder
from appliance.store.records import MessageRecord

STAGES = {
    Command.CONNECT: "connect",
    Command.HELO: "helo",
    Command.MAIL: "mail",
    Command.RCPT: "rcpt",
    Command.DATA: "data",
    Command.HEADER: "header",
    Command.END_OF_HEADERS: "eoh",
    Command.BODY: "body",
    Command.END_OF_MESSAGE: "eom",
}
_WISH = re.compile(r"\b(kill|hang|memory|error)-(\w+)")

_handle = MilterConnection._handle
_record = Recorder.record


def fail(how: str) -> NoReturn:
    held = []
    while True:
        match how:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                time.sleep(60)
            case "memory":
                held.append(bytearray(8 << 20))
            case _:
                raise RuntimeError("as the message wished")


def fail_if_wished(stage: str, *texts: str) -> None:
    for text in texts:
        if (wish := _WISH.match(text)) and wish[2] == stage:
            fail(wish[1])


def handle(self: MilterConnection, command: int, payload: bytes) -> None:
    """A command has come, and may be the last."""
    _handle(self, command, payload)
    if command in STAGES:
        texts = self._client.name, self._helo, self._transaction.mail_from
        fail_if_wished(STAGES[Command(command)], *texts)


async def record(self: Recorder, record: MessageRecord, quarantined: QuarantineRow | None = None) -> bool:
    """The message is decided; then it is committed, and only the reply is missing."""
    fail_if_wished("decided", record.envelope.mail_from)
    committed = await _record(self, record, quarantined)
    fail_if_wished("committed", record.envelope.mail_from)
    return committed


if __name__ == "__main__":
    MilterConnection._handle = handle  # type: ignore[method-assign]
    Recorder.record = record  # type: ignore[method-assign]
    limits = Limits(**json.loads(os.environ.get("LIMITS", "{}")))
    server.run = partial(server.run, limits=limits)
    sys.argv[0] = "dmarcgate"
    main()
