"""One message: authenticate, decide, keep, record, reply."""

import asyncio
import secrets
from time import monotonic
from typing import Protocol

from appliance.checks.authenticate import authenticate
from appliance.checks.options import CheckOptions, options_of
from appliance.checks.spf_memory import SpfMemory
from appliance.filter.breaker import Failures
from appliance.filter.budget import MAX_CPU_SECONDS, BudgetExceeded, CpuBudget
from appliance.filter.judged import Judged, unjudged_marks
from appliance.log import get_logger
from appliance.mail.author import find_author
from appliance.mail.message import Message
from appliance.mail.origin import effective_client
from appliance.milter.replies import Accept, Discard, Refuse, Reply
from appliance.policy import LocalPolicy, Outcome, Skip, Verdict
from appliance.quarantine import Quarantine
from appliance.resolver import Resolver
from appliance.settings import EngineFailureAction
from appliance.store.quarantine import QuarantineRow
from appliance.store.recorder import Recorder

_FAILED = "451 4.7.1 The mail filter could not check this message, try again later"
_CANNOT_KEEP = "451 4.3.0 The message cannot be kept now, try again later"


class PolicySource(Protocol):
    """The local policy in force now; each message is judged under exactly one."""

    def current(self) -> LocalPolicy: ...


class Handler:
    """Judges messages one by one; several at a time may be under way.

    *authserv_id*, when given, goes before the stored setting; *node* is the name used when neither is there.
    """

    def __init__(
        self,
        *,
        node: str,
        authserv_id: str | None,
        policies: PolicySource,
        resolver: Resolver,
        recorder: Recorder,
        quarantine: Quarantine,
        failures: Failures | None = None,
        cpu_seconds: float = MAX_CPU_SECONDS,
    ) -> None:
        self._cpu_seconds = cpu_seconds
        self._failures = failures or Failures.alone()
        self._node = node
        self._authserv_id = authserv_id
        self._policies = policies
        self._resolver = resolver
        self._spf_memory = SpfMemory(resolver.cached)
        self._recorder = recorder
        self._quarantine = quarantine
        self._log = get_logger()
        self._options: tuple[LocalPolicy, CheckOptions] | None = None

    async def handle(self, message: Message) -> Reply:
        """Judge *message* and say what the MTA is to do with it. Never raises: a failure has its own setting."""
        started = monotonic()
        policy = self._policies.current()
        budget = CpuBudget(self._cpu_seconds)
        try:
            judged = await self._judge(message, policy, budget)
            reply, recorded = await self._carry_out(judged, budget)
        except BudgetExceeded:
            budget.stop()
            self._log.error("engine-failure", qid=message.envelope.queue_id, exceeded="cpu")
            return self._after_failure(policy, message)
        except MemoryError:
            raise  # a matter of the process, which ends
        except Exception:  # noqa: BLE001  one message must not take the others with it
            self._log.exception("engine-failure", qid=message.envelope.queue_id)
            return self._after_failure(policy, message)
        self._report(judged, reply, recorded=recorded, started=started)
        return reply

    async def _judge(self, message: Message, policy: LocalPolicy, budget: CpuBudget) -> Judged:
        event_id = secrets.token_hex(6)
        with budget:
            origin = effective_client(message, policy.known_hosts)
            verdict = policy.skip_client(message.envelope, origin.client_ip)
            if verdict is not None:
                return Judged(event_id, message, policy, origin, verdict)
            author = find_author(message)
            domains = policy.triage(author, origin.client_ip, message.envelope.received_at)
        if isinstance(domains, Verdict):
            return Judged(event_id, message, policy, origin, domains)
        assessment = await authenticate(
            message,
            client_ip=origin.client_ip,
            helo=origin.helo,
            author_domains=domains,
            resolver=self._resolver,
            now=message.envelope.received_at,
            options=self._options_of(policy),
            guard=budget,
            spf_memory=self._spf_memory,
        )
        with budget:
            verdict = policy.decide(
                assessment.evaluations,
                message,
                origin.client_ip,
                authentication=assessment.authentication,
                author=author,
            )
        return Judged(event_id, message, policy, origin, verdict, assessment)

    async def _carry_out(self, judged: Judged, budget: CpuBudget) -> tuple[Reply, bool]:
        """The reply, after everything it promises is on disk; and whether the event was recorded."""
        authserv_id = self._our_name(judged.policy)
        with budget:
            marks = judged.marks(authserv_id)
        if judged.verdict.skip is Skip.OFF:
            return marks, False
        kept = None
        if judged.verdict.outcome is Outcome.QUARANTINE:
            try:  # in a thread: the disk must not hold up other messages
                kept = await asyncio.to_thread(self._keep, judged, marks)
            except OSError as error:
                self._log.error("quarantine-failed", qid=judged.message.envelope.queue_id, error=str(error))
                return Refuse(_CANNOT_KEEP), False
        recorded = await self._recorder.record(judged.record(self._node, authserv_id), kept)
        if kept is not None and not recorded:
            return Refuse(_CANNOT_KEEP), False
        return _reply(judged, marks), recorded

    def _keep(self, judged: Judged, marks: Accept) -> QuarantineRow:
        """Write the message as it would have been delivered, synced; its row is still to be recorded."""
        kept = judged.as_delivered(marks)
        return judged.quarantine_row(self._node, kept, self._quarantine.write(judged.event_id, kept))

    def _options_of(self, policy: LocalPolicy) -> CheckOptions:
        """What the checks accept under *policy*; made once a revision."""
        if self._options is None or self._options[0] is not policy:
            self._options = policy, options_of(policy.settings)
        return self._options[1]

    def _our_name(self, policy: LocalPolicy) -> str:
        return self._authserv_id or policy.settings.identity.authserv_id or self._node

    def _after_failure(self, policy: LocalPolicy, message: Message) -> Reply:
        wanted = policy.settings.verification.engine_failure is EngineFailureAction.DELIVER
        if not self._failures.lets_through(message.envelope.queue_id, wanted=wanted):
            return Refuse(_FAILED)
        return unjudged_marks(message, self._our_name(policy))

    def _report(self, judged: Judged, reply: Reply, *, recorded: bool, started: float) -> None:
        """The one log line of the message."""
        verdict = judged.verdict
        first = verdict.judgements[0] if verdict.judgements else None
        self._log.info(
            "dmarc",
            qid=judged.message.envelope.queue_id,
            id=judged.event_id,
            author_domain=",".join(j.evaluation.author_domain for j in verdict.judgements) or None,
            skipped=verdict.skip,
            result=judged.result if verdict.verified else None,
            policy=first.evaluation.policy if first else None,
            action=verdict.outcome,
            override=",".join(override.type for override in first.overrides) or None if first else None,
            note=verdict.note or None,
            client=judged.origin.client_ip,
            revision=judged.policy.revision,
            reply=reply.smtp_reply[:3] if isinstance(reply, Refuse) else None,
            unrecorded=True if not recorded and verdict.skip is not Skip.OFF else None,
            ms=round((monotonic() - started) * 1000),
        )


def _reply(judged: Judged, marks: Accept) -> Reply:
    texts = judged.policy.settings.verification
    match judged.verdict.outcome:
        case Outcome.DELIVER:
            return marks
        case Outcome.QUARANTINE:
            return Discard()
        case Outcome.REJECT:
            return Refuse("550 5.7.26 " + judged.reply_text(texts.reject_text))
        case Outcome.DEFER:
            return Refuse("451 4.7.0 " + judged.reply_text(texts.defer_text))
