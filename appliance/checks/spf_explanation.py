"""Fetch what a domain owner has to say about an SPF failure: for ``verify`` and ``explain``, never for the filter (T15)."""

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime

from appliance.checks.answers import Answers, Missing
from appliance.checks.authenticate import ResolverPort
from appliance.checks.spf import explain_failure
from appliance.mail.message import IPAddress
from appliance.resolver import Answer, Question

MAX_QUESTIONS = 20  # one for the text; its macros may ask for the client's names
MAX_SECONDS = 10.0


async def find_explanation(
    client_ip: IPAddress | None,
    helo: str,
    mail_from: str,
    *,
    answers: Mapping[Question, Answer],
    resolver: ResolverPort,
    now: datetime,
) -> str | None:
    """The explanation of a ``fail`` that *answers* led to, as ``explain_failure`` describes it.

    What more it needs is asked for; ``None`` when that is too much.
    """
    known = Answers(answers)
    deadline = time.monotonic() + MAX_SECONDS
    left = MAX_QUESTIONS
    while True:
        try:
            return explain_failure(client_ip, helo, mail_from, known, now=now)
        except Missing as missing:
            questions = missing.questions
        left -= len(questions)
        if left < 0:
            return None
        found = await asyncio.gather(*(resolver.resolve(question, deadline) for question in questions))
        for question, answer in zip(questions, found, strict=True):
            known.add(question, answer)
