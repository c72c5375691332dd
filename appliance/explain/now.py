"""Judge a message now, or from recorded answers, as the filter would, for an explanation."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from appliance.checks.authenticate import Assessment, assess, authenticate
from appliance.checks.options import CheckOptions, options_of
from appliance.explain.build import further_questions
from appliance.explain.case import Case
from appliance.mail.author import Author, find_author
from appliance.mail.message import Message
from appliance.mail.origin import Origin, effective_client
from appliance.policy import LocalPolicy, Outcome, Verdict
from appliance.resolver import Answer, Question

FURTHER_SECONDS = 20.0


class Resolves(Protocol):
    """What is needed of a resolver."""

    def cached(self, question: Question) -> Answer | None: ...

    async def resolve(self, question: Question, deadline: float) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Judging:
    """A message, the settings to judge it by (*settings* says which they are) and what had to be guessed about it."""

    message: Message
    policy: LocalPolicy
    settings: str
    guessed: tuple[str, ...] = ()

    @property
    def _options(self) -> CheckOptions:
        return options_of(self.policy.settings)

    async def ask(self, resolver: Resolves) -> Case:
        """The case with the answers that *resolver* gives now."""
        origin, author = effective_client(self.message, self.policy.known_hosts), find_author(self.message)
        assessment = await authenticate(
            self.message,
            client_ip=origin.client_ip,
            helo=origin.helo,
            author_domains=author.domains,
            resolver=resolver,
            now=self.message.envelope.received_at,
            options=self._options,
        )
        further = further_questions(author.domains, assessment.authentication)
        missing = [question for question in further if question not in assessment.answers]
        deadline = time.monotonic() + FURTHER_SECONDS
        answers = await asyncio.gather(*(resolver.resolve(question, deadline) for question in missing))
        return self._case(origin, author, assessment, dict(zip(missing, answers, strict=True)))

    def replay(self, answers: Mapping[Question, Answer]) -> Case:
        """The case with recorded *answers*; raises ``Missing`` when they don't suffice for the verdict."""
        origin, author = effective_client(self.message, self.policy.known_hosts), find_author(self.message)
        assessment = assess(
            self.message,
            client_ip=origin.client_ip,
            helo=origin.helo,
            author_domains=author.domains,
            answers=answers,
            now=self.message.envelope.received_at,
            options=self._options,
        )
        others = {
            question: answer for question, answer in answers.items() if question not in assessment.answers
        }
        return self._case(origin, author, assessment, others)

    def _case(
        self, origin: Origin, author: Author, assessment: Assessment, others: Mapping[Question, Answer]
    ) -> Case:
        verdict = self._verdict(origin, author, assessment)
        message = self.message
        return Case(
            envelope=message.envelope,
            origin=origin,
            author=author,
            header_from=message.text("from"),
            subject=message.text("subject"),
            message_id=message.text("message-id"),
            size_octets=message.size_octets,
            now=message.envelope.received_at,
            authentication=assessment.authentication,
            evaluations=assessment.evaluations,
            verdict=verdict,
            settings=self.settings,
            reply=self._reply(verdict),
            used=assessment.answers,
            others=others,
            message=message,
            exceeded=assessment.exceeded,
            guessed=self.guessed,
            options=self._options,
        )

    def _verdict(self, origin: Origin, author: Author, assessment: Assessment) -> Verdict:
        """What the filter would decide; here the message is explained in any case, also when it isn't verified."""
        policy, envelope = self.policy, self.message.envelope
        if envelope.client_ip is not None and (skipped := policy.skip_client(envelope, origin.client_ip)):
            return skipped
        domains = policy.triage(author, origin.client_ip, envelope.received_at)
        if isinstance(domains, Verdict):
            return domains
        return policy.decide(
            [e for e in assessment.evaluations if e.author_domain in domains],
            self.message,
            origin.client_ip,
            authentication=assessment.authentication,
            author=author,
        )

    def _reply(self, verdict: Verdict) -> str:
        """What the client would be told; the id is given only to messages that arrive."""
        texts = self.policy.settings.verification
        strictest = max(verdict.judgements, key=lambda j: j.outcome.severity, default=None)
        domain = strictest.evaluation.author_domain if strictest else "the author"
        match verdict.outcome:
            case Outcome.REJECT:
                start, text = "550 5.7.26", texts.reject_text
            case Outcome.DEFER:
                start, text = "451 4.7.0", texts.defer_text
            case _:
                return ""
        return f"{start} {text.replace('%{domain}', domain).replace('%{id}', '…')}"
