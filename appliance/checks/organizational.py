"""Find a domain's Organizational Domain by asking the resolver, outside the judging of a message."""

import asyncio
from typing import Protocol

from appliance.checks.dmarc import dmarc_questions
from appliance.dmarc.discovery import LookupFailed, organizational_domain
from appliance.dmarc.record import DmarcRecord, select_record
from appliance.resolver import Answer, Question, RecordType, Status


class Asks(Protocol):
    """What is needed of a resolver."""

    async def resolve(self, question: Question, deadline: float) -> Answer: ...


async def find_organizational_domain(domain: str, resolver: Asks, deadline: float) -> str:
    """The Organizational Domain of *domain* (RFC 9989 section 4.10.2); the whole walk is asked in one round.

    *deadline* is of ``time.monotonic``. Raises ``LookupFailed`` when a name that decides can't be looked up.
    """
    questions = dmarc_questions(domain)
    answers = await asyncio.gather(*(resolver.resolve(question, deadline) for question in questions))
    known = dict(zip(questions, answers, strict=True))

    def lookup(name: str) -> DmarcRecord | None:
        answer = known.get(Question(f"_dmarc.{name}", RecordType.TXT))
        if answer is None:
            return None  # no room for the prefix
        if answer.status is Status.TEMPORARY:
            raise LookupFailed(answer.reason)
        return select_record(answer.records)

    return organizational_domain(domain, lookup)
