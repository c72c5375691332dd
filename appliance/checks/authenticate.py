"""Authenticate one message: run every check on the answers known so far, ask for what is missing, go on."""

import asyncio
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Protocol, TypeVar

from appliance.checks.answers import Answers, Missing
from appliance.checks.arc import ArcCheck
from appliance.checks.canonical import CanonicalMessage
from appliance.checks.dkim import DkimCheck
from appliance.checks.dmarc import dmarc_questions, evaluate_authors
from appliance.checks.options import CheckOptions
from appliance.checks.spf import evaluate_spf, spf_questions
from appliance.checks.spf_memory import SpfMemory
from appliance.dmarc.evaluation import Evaluation
from appliance.mail.authentication import Authentication, SpfResult
from appliance.mail.message import IPAddress, Message
from appliance.resolver import DEADLINE_PASSED, Answer, Question, Status

QUERY_LIMIT = "too many DNS questions in one message"
"""The reason of answers that were not asked for, because the message had used up its share."""

DEFAULT_OPTIONS = CheckOptions()
_NO_GUARD = nullcontext()

_EXCEEDED = {QUERY_LIMIT: "queries", DEADLINE_PASSED: "seconds"}
MAX_WALK_QUESTIONS = 8  # DISC-17

T = TypeVar("T")

_SHARE_OF_IDENTIFIERS = 0.75  # of the time; the rest is the policy's, or a slow signer could hide a failure


class ResolverPort(Protocol):
    """What the checks need of a resolver."""

    def cached(self, question: Question) -> Answer | None: ...

    async def resolve(self, question: Question, deadline: float) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Assessment:
    """What was found out about one message, before local policy."""

    authentication: Authentication
    evaluations: tuple[Evaluation, ...]
    """One for each Author Domain, in the order given."""
    answers: Mapping[Question, Answer]
    """The DNS answers that led here: ``assess`` comes to the same result from them."""
    exceeded: str
    """The cap that was hit: ``queries``, ``seconds``, or ``""``."""


async def authenticate(
    message: Message,
    *,
    client_ip: IPAddress | None,
    helo: str,
    author_domains: Sequence[str],
    resolver: ResolverPort,
    now: datetime,
    options: CheckOptions = DEFAULT_OPTIONS,
    guard: AbstractContextManager[object] = _NO_GUARD,
    spf_memory: SpfMemory | None = None,
) -> Assessment:
    """Check SPF, DKIM, ARC and DMARC. *client_ip* and *helo* are the effective ones, behind known relays.

    Never raises for DNS trouble; what a cap cuts off counts as temporary trouble. Doesn't give up control while all
    answers are in the resolver's cache. *guard* is entered for each stretch of work between two rounds of questions.
    *spf_memory*, of the same resolver, saves work and changes no result.
    """
    answers = Answers()
    fetch = _Fetch(resolver, answers, options, len(author_domains))
    steps = _steps(message, client_ip, helo, author_domains, now, options, answers, fetch, spf_memory)
    while True:
        with guard:
            step = next(steps)
        if isinstance(step, Assessment):
            return step
        await fetch(step)


def assess(
    message: Message,
    *,
    client_ip: IPAddress | None,
    helo: str,
    author_domains: Sequence[str],
    answers: Mapping[Question, Answer],
    now: datetime,
    options: CheckOptions = DEFAULT_OPTIONS,
) -> Assessment:
    """What ``authenticate`` finds, from recorded *answers* alone; raises ``Missing`` when they don't suffice."""
    for step in _steps(message, client_ip, helo, author_domains, now, options, Answers(answers)):
        if isinstance(step, Assessment):
            return step
        if step.stage is not _Stage.FIRST:
            raise Missing(step.questions)
    raise AssertionError("the steps end with an assessment")


class _Stage(Enum):
    FIRST = auto()
    """What is likely to be needed; not all of it may be used."""
    SPF = auto()
    DKIM = auto()
    DMARC = auto()
    ARC = auto()


@dataclass(frozen=True, slots=True)
class _Need:
    """The checks can't go on without answers to these."""

    questions: tuple[Question, ...]
    stage: _Stage


def _steps(
    message: Message,
    client_ip: IPAddress | None,
    helo: str,
    author_domains: Sequence[str],
    now: datetime,
    options: CheckOptions,
    answers: Answers,
    fetch: "_Fetch | None" = None,
    spf_memory: SpfMemory | None = None,
) -> Iterator[_Need | Assessment]:
    """Every check as soon as its answers are there; ends with the assessment."""
    mail_from = message.envelope.mail_from
    canonical = CanonicalMessage(message)
    dkim_check = DkimCheck(canonical, author_domains, now, options)
    arc_check = ArcCheck(canonical, now, options)
    first = [question for author_domain in author_domains for question in dmarc_questions(author_domain)]
    first += (*spf_questions(client_ip, helo, mail_from), *dkim_check.questions)
    yield _Need(tuple(dict.fromkeys(first)), _Stage.FIRST)
    spf = yield from _check_spf(client_ip, helo, mail_from, answers, fetch, spf_memory)
    dkim = yield from _complete(_Stage.DKIM, lambda: dkim_check.results(answers))
    evaluations = yield from _complete(
        _Stage.DMARC, lambda: evaluate_authors(author_domains, spf, dkim, answers)
    )
    # ARC comes last: no other result waits for it, so a long chain can't use up what they need.
    arc = yield from _complete(_Stage.ARC, lambda: arc_check.result(answers))
    yield Assessment(Authentication(spf, dkim, arc), evaluations, answers.used, _exceeded(answers.used))


def _check_spf(
    client_ip: IPAddress | None,
    helo: str,
    mail_from: str,
    answers: Answers,
    fetch: "_Fetch | None",
    memory: SpfMemory | None,
) -> Generator[_Need, None, SpfResult]:
    """The result, from *memory* if it is there. Costs the message the same questions either way."""
    remembered = None if memory is None else memory.recall(client_ip, helo, mail_from)
    if remembered is not None:
        yield _Need(remembered.asked, _Stage.SPF)
        if remembered.holds(answers.peek):  # not if the message's share of questions was used up
            answers.use(remembered.used)
            return remembered.result
    asked: list[Question] = []

    def supply(questions: Sequence[Question]) -> bool:
        asked.extend(questions)
        return fetch is not None and fetch.at_once(questions, _Stage.SPF)

    answers.supply = supply
    outcome = yield from _complete(_Stage.SPF, lambda: evaluate_spf(client_ip, helo, mail_from, answers))
    answers.supply = None
    if memory is not None:
        memory.keep(client_ip, helo, mail_from, outcome, asked)
    return outcome.result


def _complete(stage: _Stage, check: Callable[[], T]) -> Generator[_Need, None, T]:
    """The result of *check*, after as many needs as it takes."""
    while True:
        try:
            return check()
        except Missing as missing:
            need = _Need(missing.questions, stage)
        yield need


def _exceeded(answers: Mapping[Question, Answer]) -> str:
    reasons = {answer.reason for answer in answers.values() if answer.status is Status.TEMPORARY}
    return next((cap for reason, cap in _EXCEEDED.items() if reason in reasons), "")


class _Fetch:
    """Fills in answers within one message's share of questions and time."""

    def __init__(self, resolver: ResolverPort, answers: Answers, options: CheckOptions, authors: int) -> None:
        started = time.monotonic()
        self._resolver = resolver
        self._answers = answers
        self._identifiers_until = started + options.max_seconds * _SHARE_OF_IDENTIFIERS
        self._until = started + options.max_seconds
        self._left = options.max_questions + MAX_WALK_QUESTIONS * max(0, authors - 1)
        self._left_for_spf = options.max_spf_questions

    async def __call__(self, need: _Need) -> None:
        """Every question of *need* has an answer afterwards, if only that there was no room for it."""
        waiting = []
        for question in need.questions:
            if question in self._answers:
                continue
            if not self._take(need.stage):
                self._answers.add(question, Answer(Status.TEMPORARY, reason=QUERY_LIMIT))
            elif known := self._resolver.cached(question):
                self._answers.add(question, known)
            else:
                waiting.append(question)
        if waiting:
            until = self._until if need.stage in {_Stage.DMARC, _Stage.ARC} else self._identifiers_until
            found = await asyncio.gather(*(self._resolver.resolve(question, until) for question in waiting))
            for question, answer in zip(waiting, found, strict=True):
                self._answers.add(question, answer)

    def at_once(self, questions: Sequence[Question], stage: _Stage) -> bool:
        """Give *questions* the answers that they would get from the cache, if there is room and an answer for each."""
        if len(questions) > (min(self._left, self._left_for_spf) if stage is _Stage.SPF else self._left):
            return False
        found = [self._resolver.cached(question) for question in questions]
        for question, answer in zip(questions, found, strict=True):
            if answer is None:
                return False
            self._take(stage)
            self._answers.add(question, answer)
        return True

    def _take(self, stage: _Stage) -> bool:
        """Whether there is room for one more question; cached answers count as well, see ``CheckOptions``."""
        if not self._left or (stage is _Stage.SPF and not self._left_for_spf):
            return False
        self._left -= 1
        if stage is _Stage.SPF:
            self._left_for_spf -= 1
        return True
