"""What the harnesses make of an input: octets cut into parts, a message around them, and a DNS that answers from them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice

from appliance.checks.answers import Answers, Missing
from appliance.mail.address import parse_ip
from appliance.mail.message import Envelope, Message, Recipient, split_message
from appliance.resolver import Answer, Question, RecordType, Status

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SEPARATOR = b"\n%%\n"
"""Between the parts of an input."""

MAX_QUESTIONS = 60  # above every cap of the checks

_STATUS = {b"!": Status.TEMPORARY, b"~": Status.NXDOMAIN, b"": Status.NO_DATA}


class Answering:
    """A DNS that gives the parts of an input as answers, in the order of the questions, over and over.

    A part holds one record a line. ``!`` alone is a temporary failure, ``~`` says that there is no such name, nothing
    that there are no records of the type.
    """

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts or [b""]
        self._given: dict[Question, Answer] = {}

    def cached(self, question: Question) -> Answer:
        """Stands in for the resolver's: so everything is known, and nobody waits."""
        if question not in self._given:
            part = self._parts[len(self._given) % len(self._parts)]
            self._given[question] = _answer(question, part)
        return self._given[question]

    async def resolve(self, question: Question, deadline: float) -> Answer:  # noqa: ARG002  the resolver's
        raise AssertionError("everything is known")

    def fill(self, answers: Answers, missing: Missing) -> None:
        """Add what *missing* asks for; questions beyond ``MAX_QUESTIONS`` can't be answered now."""
        for question in missing.questions:
            full = len(self._given) >= MAX_QUESTIONS
            answers.add(question, Answer(Status.TEMPORARY) if full else self.cached(question))


def _answer(question: Question, part: bytes) -> Answer:
    status = _STATUS.get(part)
    if status is not None:
        return Answer(status, reason="timeout" if status is Status.TEMPORARY else "")
    records = tuple(filter(None, (_record(question.rdtype, line) for line in islice(part.split(b"\n"), 100))))
    return Answer(Status.RECORDS, records, 60) if records else Answer(Status.NO_DATA)


def _record(rdtype: RecordType, line: bytes) -> bytes:
    """*line* in the form that the resolver gives records of the type; empty when it can't be one."""
    text = line.decode("ascii", "replace").lower()
    match rdtype:
        case RecordType.TXT:
            return line
        case RecordType.A | RecordType.AAAA:
            ip = parse_ip(text)
            wanted = 4 if rdtype is RecordType.A else 6
            return str(ip).encode() if ip and ip.version == wanted else b""
        case RecordType.MX:
            return b"10 " + text.encode("ascii", "replace")
        case _:
            return text.encode("ascii", "replace")


def parts_of(data: bytes) -> list[bytes]:
    return data.split(SEPARATOR)


def message_of(
    octets: bytes, *, client: str = "192.0.2.1", helo: str = "mx.example.org", mail_from: str
) -> Message:
    fields, body = split_message(octets)
    envelope = Envelope(
        client_ip=parse_ip(client),
        client_name="",
        helo=helo,
        mail_from=mail_from,
        recipients=(Recipient("u@corp.example"),),
        queue_id="4ZqK1",
        received_at=NOW,
    )
    return Message(envelope, fields, body)


def in_our_words(trouble: Exception) -> None:
    """What goes into logs and header fields holds nothing of the input."""
    assert str(trouble).isascii()
    assert str(trouble).isprintable()


def text_of(octets: bytes) -> str:
    """As SMTP texts come in: any octets survive."""
    return octets.decode("utf-8", "surrogateescape")
