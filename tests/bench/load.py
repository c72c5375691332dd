"""A milter client that sends a corpus as Postfix does: a connection for each message, each awaited reply read."""

import itertools
import multiprocessing
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from appliance.mail.message import split_message
from appliance.milter.wire import Command, Protocol, encode_frame
from tests.bench.corpus import CLIENT_IP, RECIPIENT, Corpus, Kind, Mail

_OFFER = struct.Struct("!III")
_VERSION, _ACTIONS, _PROTOCOL = 6, 0x1FF, 0x1FFFFF  # what Postfix offers
_SKIP = {Command.CONNECT: 0x1, Command.HELO: 0x2, Command.MAIL: 0x4, Command.RCPT: 0x8, Command.BODY: 0x10}
_SKIP |= {Command.HEADER: 0x20, Command.END_OF_HEADERS: 0x40, Command.DATA: 0x200}
_NO_REPLY = {
    Command.CONNECT: Protocol.NO_REPLY_CONNECT,
    Command.HELO: Protocol.NO_REPLY_HELO,
    Command.MAIL: Protocol.NO_REPLY_MAIL,
    Command.RCPT: Protocol.NO_REPLY_RCPT,
    Command.DATA: Protocol.NO_REPLY_DATA,
    Command.HEADER: Protocol.NO_REPLY_HEADER,
    Command.END_OF_HEADERS: Protocol.NO_REPLY_END_OF_HEADERS,
    Command.BODY: Protocol.NO_REPLY_BODY,
}
_BODY_OCTETS = 65_535
_MODIFICATIONS = b"hmibe+-p2q"  # come before the reply at end-of-message
_ADDED_FIELD = b"hi"
_GO_ON = b"cs"
_WORD = re.compile(rb"\b(dkim|dmarc)=([a-z]+)")


class Verdict(NamedTuple):
    """What a filter said about a message of a kind: its reply's code, and the words of the field it added."""

    kind: Kind
    reply: str
    dkim: str | None = None
    dmarc: str | None = None


@dataclass(slots=True)
class Outcome:
    """What came of a run of messages."""

    latencies: list[float] = field(default_factory=list)
    """Seconds of each message, from connecting to the last reply."""
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    seconds: float = 0.0
    """Of the whole run, by the clock."""

    @property
    def messages(self) -> int:
        return len(self.latencies)

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def send(listening: Path, corpus: Corpus, mails: Sequence[Mail], messages: int, connections: int) -> Outcome:
    """Send *messages* of *mails* (again from the first when they run out) over *connections* at a time."""
    share = max(1, messages // connections)
    context = multiprocessing.get_context("fork")
    with context.Pool(connections) as pool:
        started = time.perf_counter()
        parts = pool.starmap(
            _send_share,
            [(listening, corpus, mails, number * share, share) for number in range(connections)],
            chunksize=1,
        )
        total = Outcome(seconds=time.perf_counter() - started)
    for part in parts:
        total.latencies += part.latencies
        total.verdicts += part.verdicts
    return total


def _send_share(listening: Path, corpus: Corpus, mails: Sequence[Mail], first: int, count: int) -> Outcome:
    sender = _Sender(listening, corpus)
    outcome = Outcome()
    for number in range(first, first + count):
        mail = mails[number % len(mails)]
        started = time.perf_counter()
        verdict = sender.send(mail, f"{number:X}")
        outcome.latencies.append(time.perf_counter() - started)
        outcome.verdicts[verdict] += 1
    return outcome


class _Step(NamedTuple):
    command: Command
    frame: bytes


class _Sender:
    def __init__(self, listening: Path, corpus: Corpus) -> None:
        self._listening = listening
        self._corpus = corpus
        self._steps: dict[tuple[str, bool], list[_Step]] = {}

    def send(self, mail: Mail, queue_id: str) -> Verdict:
        with _Connection(self._listening) as connection:
            verdict = self._converse(connection, mail, queue_id)
            connection.send(encode_frame(Command.ABORT) + encode_frame(Command.QUIT))
            return verdict

    def _converse(self, connection: "_Connection", mail: Mail, queue_id: str) -> Verdict:
        macros = encode_frame(Command.MACROS, bytes([Command.DATA]) + b"i\0" + queue_id.encode() + b"\0")
        for command, frame in self._steps_of(mail, leading_space=connection.leading_space):
            if connection.is_skipped(command):
                continue
            connection.send(macros + frame if command is Command.DATA else frame)
            if connection.is_answered(command):
                code, _ = connection.reply()
                if code not in _GO_ON:
                    return Verdict(mail.kind, code.decode("latin-1"))
        connection.send(macros.replace(b"T", b"E", 1))
        connection.send(encode_frame(Command.END_OF_MESSAGE))
        code, added = connection.reply()
        words = {
            key.decode(): word.decode() for field in added for key, word in reversed(_WORD.findall(field))
        }
        return Verdict(mail.kind, code.decode("latin-1"), words.get("dkim"), words.get("dmarc"))

    def _steps_of(self, mail: Mail, *, leading_space: bool) -> list[_Step]:
        known = self._steps.get((mail.file, leading_space))
        if known is None:
            known = list(_steps(mail, self._corpus.read(mail), leading_space=leading_space))
            self._steps[mail.file, leading_space] = known
        return known


def _steps(mail: Mail, octets: bytes, *, leading_space: bool) -> Iterator[_Step]:
    fields, body = split_message(octets)
    client = struct.pack("!cH", b"4", 40_000) + CLIENT_IP.encode()
    plain = [
        (Command.CONNECT, mail.helo.encode() + b"\0" + client + b"\0"),
        (Command.HELO, mail.helo.encode() + b"\0"),
        (Command.MAIL, f"<{mail.mail_from}>\0".encode()),
        (Command.RCPT, f"<{RECIPIENT}>\0".encode()),
        (Command.DATA, b""),
    ]
    for each in fields:
        value = each.value if leading_space else each.value.removeprefix(b" ")
        plain.append((Command.HEADER, each.name + b"\0" + value.replace(b"\r\n", b"\n") + b"\0"))
    plain.append((Command.END_OF_HEADERS, b""))
    plain += [(Command.BODY, body[at : at + _BODY_OCTETS]) for at in range(0, len(body), _BODY_OCTETS)]
    return itertools.starmap(lambda command, payload: _Step(command, encode_frame(command, payload)), plain)


class _Connection:
    """The MTA's end of a milter connection."""

    def __init__(self, listening: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(str(listening))
        self._input = self._socket.makefile("rb")
        self.send(encode_frame(Command.NEGOTIATE, _OFFER.pack(_VERSION, _ACTIONS, _PROTOCOL)))
        code, payload = self._read()
        if code != b"O":
            raise ConnectionError(f"{listening} answered the negotiation with {code!r}")
        _, _, self._protocol = _OFFER.unpack_from(payload)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._input.close()
        self._socket.close()

    @property
    def leading_space(self) -> bool:
        return bool(self._protocol & Protocol.LEADING_SPACE)

    def is_skipped(self, command: Command) -> bool:
        return bool(self._protocol & _SKIP[command])

    def is_answered(self, command: Command) -> bool:
        return not self._protocol & _NO_REPLY[command]

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def reply(self) -> tuple[bytes, list[bytes]]:
        """The code of the next reply, and the fields that were added before it."""
        added: list[bytes] = []
        while True:
            code, payload = self._read()
            if code not in _MODIFICATIONS:
                return code, added
            if code in _ADDED_FIELD and b"Authentication-Results\0" in payload:
                added.append(payload)

    def _read(self) -> tuple[bytes, bytes]:
        start = self._input.read(4)
        if len(start) < 4:
            raise ConnectionError("the filter closed the connection")
        frame = self._input.read(int.from_bytes(start, "big"))
        return frame[:1], frame[1:]
