"""A judged message, and what the filter writes about it: header fields, reply text, store records."""

from dataclasses import dataclass, replace
from functools import cached_property

from appliance.checks.answers import to_json
from appliance.checks.authenticate import Assessment
from appliance.dmarc.evaluation import Evaluation
from appliance.filter.samples import failure_samples, failures_room
from appliance.mail import results_header
from appliance.mail.automatic import is_automatic
from appliance.mail.message import HeaderField, Message
from appliance.mail.origin import Origin
from appliance.milter.replies import Accept
from appliance.policy import LocalPolicy, Row, Skip, Verdict
from appliance.quarantine.text import readable
from appliance.store.events import MessageRecord
from appliance.store.quarantine import QuarantineRow

MAX_REPLY_TEXT = 490  # with the codes in front one SMTP reply line (RFC 5321 section 4.5.3.1.5)

_RESULTS_FIELD = results_header.FIELD_NAME.encode("ascii")


@dataclass(frozen=True)
class Judged:
    """A message and all that was found out about it. *assessment* is ``None`` where nothing was authenticated."""

    event_id: str
    message: Message
    policy: LocalPolicy
    origin: Origin
    verdict: Verdict
    assessment: Assessment | None = None

    @cached_property
    def result(self) -> str:
        """One word for the whole message."""
        return results_header.overall_word(
            self._evaluations, unusable=self._unusable, incomplete=self.verdict.incomplete
        )

    def marks(self, authserv_id: str) -> Accept:
        """The header fields to take away and to add, should the message be delivered or quarantined.

        Fields that claim to be ours are taken away from all mail from outside (behaviour S30, RFC 8601 section 5).
        """
        if self.verdict.skip in {Skip.OFF, Skip.INTERNAL}:
            return Accept()
        verification = self.policy.settings.verification
        forged = {
            *results_header.forged_results(self.message, authserv_id),
            *self.message.places_named(verification.x_header_name.lower().encode("ascii")),
        }
        added: tuple[HeaderField, ...] = ()
        if self.verdict.verified:
            added = (HeaderField(_RESULTS_FIELD, self._results_value(authserv_id)),)
            if verification.x_header:
                added += (HeaderField(verification.x_header_name.encode("ascii"), self._x_header_value()),)
        return Accept(tuple(sorted(forged)), added)

    def reply_text(self, template: str) -> str:
        """*template* with its placeholders filled in; both values are printable ASCII by construction."""
        strictest = max(self.verdict.judgements, key=lambda j: j.outcome.severity, default=None)
        domain = strictest.evaluation.author_domain if strictest else "the author"
        text = template.replace("%{id}", self.event_id).replace("%{domain}", domain)
        return text[:MAX_REPLY_TEXT]

    def as_delivered(self, marks: Accept) -> Message:
        """The message with *marks* applied."""
        left = (field for at, field in enumerate(self.message.fields) if at not in marks.delete)
        return replace(self.message, fields=(*marks.insert, *left))

    def record(self, node: str, authserv_id: str) -> MessageRecord:
        message, assessment = self.message, self.assessment
        return MessageRecord(
            event_id=self.event_id,
            node=node,
            revision=self.policy.revision,
            envelope=message.envelope,
            client_ip=self.origin.client_ip,
            message_id=message.text("message-id"),
            subject=message.text("subject"),
            header_from=message.text("from"),
            size_octets=message.size_octets,
            authentication=assessment.authentication if assessment else None,
            verdict=self.verdict,
            answers=to_json(assessment.answers) if assessment else b"",
            for_reports=self._counts_in_reports(),
            causes_report=not is_automatic(message),
            recipient_domain=self.policy.settings.reports.recipient_domain,
            exception=self.verdict.exception,
            failures=failure_samples(
                message,
                self.origin,
                self.verdict,
                assessment,
                self.policy.settings,
                event_id=self.event_id,
                node=node,
                authserv_id=authserv_id,
            ),
            failures_room=failures_room(self.policy.settings),
        )

    def quarantine_row(self, node: str, kept: Message, digest: str) -> QuarantineRow:
        """The row of *kept*, whose file on *node* has the SHA-256 *digest*."""
        message, verdict = self.message, self.verdict
        return QuarantineRow(
            event_id=self.event_id,
            node=node,
            held_at=message.envelope.received_at,
            envelope=message.envelope,
            client_ip=str(self.origin.client_ip or ""),
            message_id=message.text("message-id"),
            subject=readable(message.text("subject")),
            header_from=readable(message.text("from")),
            author_domain=self._evaluations[0].author_domain if self._evaluations else "",
            reason=verdict.note or verdict.row.value,
            size_octets=kept.size_octets,
            sha256=digest,
        )

    def _counts_in_reports(self) -> bool:
        """Only while reports are sent or collected (behaviour S31), and no mail about reports: none about those (AGG-20)."""
        reports = self.policy.settings.reports
        if not (reports.enabled or reports.collect_only):
            return False
        recipients = self.message.envelope.recipients
        return not (recipients and all(reports.is_ours(recipient.address) for recipient in recipients))

    @cached_property
    def _evaluations(self) -> tuple[Evaluation, ...]:
        return tuple(judgement.evaluation for judgement in self.verdict.judgements)

    @property
    def _unusable(self) -> str:
        return self.verdict.note if self.verdict.row is Row.UNUSABLE_FROM else ""

    def _results_value(self, authserv_id: str) -> bytes:
        return results_header.write(
            authserv_id,
            self.assessment.authentication if self.assessment else None,
            self._evaluations,
            client_ip=self.origin.client_ip,
            dispositions=[self.verdict.disposition(judgement) for judgement in self.verdict.judgements],
            unusable=self._unusable,
            incomplete=self.verdict.incomplete,
        )

    def _x_header_value(self) -> bytes:
        return results_header.x_header_value(
            self._evaluations,
            action=self.verdict.outcome.value,
            unusable=self._unusable,
            incomplete=self.verdict.incomplete,
        )


def unjudged_marks(message: Message, authserv_id: str) -> Accept:
    """The marks of a message that the filter failed on and lets through: temperror, and no forged results."""
    field = HeaderField(_RESULTS_FIELD, results_header.write(authserv_id, None, ()))
    return Accept(results_header.forged_results(message, authserv_id), (field,))
