"""Quarantined messages for tests: held with file and row, and a listener that plays Postfix by a script."""

import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from appliance.mail.message import Envelope, Message, split_message
from appliance.quarantine import Desk, Quarantine
from appliance.store import audit
from appliance.store import quarantine as rows
from appliance.store.engine import Store
from appliance.store.quarantine import HoldState, QuarantineRow
from tests.store.samples import ENVELOPE, held

NODE = "gateway.example"
EVENT_ID = "0123456789ab"
OCTETS = (
    b"Received: from mx.sender.example by gateway.example; Wed, 4 Mar 2026 10:20:30 +0000\r\n"
    b"From: Alice <alice@sender.example>\r\n"
    b"Subject: caf\xc3\xa9\r\n"
    b" folded\r\n"
    b"Message-ID: <1@sender.example>\r\n"
    b"\r\n"
    b".a line with a dot\r\n"
    b".\r\n"
    b"..two dots, caf\xe9, trailing space \r\n"
    b"\r\n"
    b"the end\r\n"
)
CAPABLE = "250-sink\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-XFORWARD NAME ADDR IDENT\r\n250 DSN"


def message(raw: bytes = OCTETS, envelope: Envelope = ENVELOPE) -> Message:
    fields, body = split_message(raw)
    return Message(envelope, fields, body)


def desk_below(directory: Path, store: Store, smtp: tuple[str, int] = ("127.0.0.1", 1)) -> Desk:
    folder = directory / "quarantine"
    folder.mkdir(exist_ok=True)
    return Desk(store, Quarantine(folder), NODE, smtp, directory / "maillog")


def hold(
    desk: Desk,
    raw: bytes = OCTETS,
    envelope: Envelope = ENVELOPE,
    *,
    event_id: str = EVENT_ID,
    held_at: datetime | None = None,
    node: str = NODE,
) -> QuarantineRow:
    digest = desk.files.write(event_id, message(raw, envelope))
    row = replace(held(event_id, envelope, digest), size_octets=len(raw), node=node)
    row = replace(row, held_at=held_at or row.held_at)
    with desk.store.begin() as connection:
        rows.add(connection, row)
    return row


def state(desk: Desk, event_id: str = EVENT_ID) -> HoldState:
    return desk.find(event_id).state


def audited(desk: Desk) -> list[tuple[str, str, str, str]]:
    """Newest first."""
    with desk.store.read() as connection:
        return [(e.actor, e.action, e.subject, e.detail) for e in audit.recent(connection)]


def files_below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


class Conversation(socketserver.StreamRequestHandler):
    """Speaks SMTP by the server's script: a reply to each verb, ``None`` closes the connection."""

    def handle(self) -> None:
        server = self.server
        assert isinstance(server, Sink)
        self.wfile.write(b"220 sink\r\n")
        in_data = False
        while line := self.rfile.readline():
            if in_data and line != b".\r\n":
                continue
            verb = "." if in_data else line.split()[0].decode().upper()
            server.heard.append(line.strip().decode("utf-8", "replace"))
            reply = server.script.get(verb, "250 ok")
            if reply is None:
                return
            in_data = reply.startswith("354")
            self.wfile.write(reply.encode() + b"\r\n")


class Sink(socketserver.TCPServer):
    """*heard* is what clients said, without messages."""

    allow_reuse_address = True

    def __init__(self, script: Mapping[str, str | None]) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.script: dict[str, str | None] = {
            "EHLO": CAPABLE,
            "DATA": "354 go on",
            "QUIT": "221 bye",
            **script,
        }
        self.heard: list[str] = []

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.server_address[:2]
        return str(host), int(port)


@contextmanager
def sink(script: Mapping[str, str | None]) -> Iterator[Sink]:
    with Sink(script) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
