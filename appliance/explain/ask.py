"""Ask for what a pure function of recorded answers is missing, until it is content."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from appliance.checks.answers import Answers, Missing
from appliance.resolver import Answer, Question, Status

MAX_QUESTIONS = 200  # for one explanation: a hostile SPF record or signature list must not make us a flood
TOO_MANY = "too many questions for one explanation"

T = TypeVar("T")


class Resolves(Protocol):
    """What is needed of a resolver."""

    async def resolve(self, question: Question, deadline: float) -> Answer: ...


async def answered(build: Callable[[Answers], T], resolver: Resolves, deadline: float) -> T:
    """What *build* returns when all it reads is known. Trouble and what is asked after *deadline* are temporary answers.

    *deadline* is of ``time.monotonic``.
    """
    answers, left = Answers(), MAX_QUESTIONS
    while True:
        try:
            return build(answers)
        except Missing as missing:
            questions = missing.questions
        asked, over = questions[:left], questions[left:]
        left -= len(asked)
        found = await asyncio.gather(*(resolver.resolve(question, deadline) for question in asked))
        for question, answer in zip(asked, found, strict=True):
            answers.add(question, answer)
        for question in over:
            answers.add(question, Answer(Status.TEMPORARY, reason=TOO_MANY))
