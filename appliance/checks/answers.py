"""The DNS answers known so far to one message's questions; from them every check can be run, and run again later."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from appliance.resolver import Answer, Question, RecordType, Status, TemporaryDnsError


class Missing(Exception):
    """A check needs answers that are not known yet: all of *questions*."""

    def __init__(self, questions: Iterable[Question]) -> None:
        self.questions = tuple(dict.fromkeys(questions))
        super().__init__(", ".join(f"{q.rdtype} {q.name}" for q in self.questions))


class Answers:
    """Known answers, and which of them were used."""

    def __init__(self, known: Mapping[Question, Answer] | None = None) -> None:
        self._known = dict(known or {})
        self._used: dict[Question, Answer] = {}
        self._groups: dict[Question, tuple[Question, ...]] = {}
        self.supply: Callable[[Sequence[Question]], bool] | None = None
        """Asked before questions are missing: ``True`` when it has added answers to all of them."""

    def __contains__(self, question: Question) -> bool:
        return question in self._known

    @property
    def used(self) -> Mapping[Question, Answer]:
        """The answers that were read, in the order of their first use."""
        return self._used

    def add(self, question: Question, answer: Answer) -> None:
        self._known[question] = answer

    def ask_together(self, questions: Iterable[Question]) -> None:
        """When one of *questions* is read and not known, all of them that are not known are missing: one round."""
        group = tuple(questions)
        for question in group:
            self._groups[question] = group

    def peek(self, question: Question) -> Answer | None:
        """The answer if it is known; doesn't count as use."""
        return self._known.get(question)

    def use(self, questions: Iterable[Question]) -> None:
        """Count *questions*, whose answers are known, as read."""
        for question in questions:
            self._used[question] = self._known[question]

    def get(self, question: Question) -> Answer:
        """The answer: records, NXDOMAIN or no data. Raises ``Missing``, or ``TemporaryDnsError``."""
        answer = self._known.get(question)
        if answer is None:
            group = self._groups.get(question, (question,))
            missing = tuple(member for member in group if member not in self._known)
            if self.supply is None or not self.supply(missing):
                raise Missing(missing)
            answer = self._known[question]
        self._used[question] = answer
        if answer.status is Status.TEMPORARY:
            raise TemporaryDnsError(answer.reason)
        return answer

    def records(self, name: str, rdtype: RecordType) -> tuple[bytes, ...]:
        """The records at *name*; none for NXDOMAIN and no data. Raises like ``get``."""
        return self.get(Question(name, rdtype)).records


def to_json(answers: Mapping[Question, Answer]) -> bytes:
    """*answers* in a compact form that ``from_json`` reads; octets stand as the characters U+0000 to U+00FF."""
    rows = [
        [
            question.name,
            question.rdtype,
            answer.status,
            [record.decode("latin-1") for record in answer.records],
            answer.ttl_seconds,
            answer.reason,
            int(answer.authenticated),
        ]
        for question, answer in answers.items()
    ]
    return json.dumps(rows, separators=(",", ":")).encode("ascii")


def from_json(octets: bytes) -> dict[Question, Answer]:
    """The answers that ``to_json`` wrote; raises ``ValueError`` for anything else."""
    try:
        rows: list[list[Any]] = json.loads(octets)
        return {
            Question(name, RecordType(rdtype)): Answer(
                Status(status),
                tuple(record.encode("latin-1") for record in records),
                ttl_seconds,
                reason,
                bool(authenticated),
            )
            for name, rdtype, status, records, ttl_seconds, reason, authenticated in rows
        }
    except (TypeError, AttributeError) as error:
        raise ValueError(f"these are no recorded answers: {error}") from None
