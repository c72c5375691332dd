"""What is kept of a message for failure reports: nothing while they are off, and never of mail that programs write.

That mail (bounces, reports, automatic answers) and mail of our own report host cause no report keeps two systems that
report to each other from going on for ever (RUF-09, T24).
"""

import re
from collections.abc import Iterator

from appliance.checks.authenticate import Assessment
from appliance.dmarc.evaluation import Evaluation
from appliance.dmarc.failure import Failure, FailureKind, failures_asked_for, is_aligned, unaligned
from appliance.mail.authentication import DkimResult, SpfWord
from appliance.mail.automatic import is_automatic
from appliance.mail.domain import InvalidDomain, domain_of, to_a_label
from appliance.mail.message import Envelope, IPAddress, Message
from appliance.mail.origin import HowFound, Origin
from appliance.mail.redaction import marked_address, plain, plain_header, pruned_header
from appliance.policy import Outcome, Verdict
from appliance.resolver import RecordType
from appliance.settings import Reports, Settings
from appliance.store.failure_samples import FailedSignature, FailureSample

MAX_SPF_RECORDS = 11  # the first and the ten that RFC 7208 section 4.6.4 allows
MAX_SPF_RECORD = 2000  # characters
MAX_SUBJECT = 200
ROOM_FOR_EACH_REPORT = 10
"""Many failures are of domains that get no report in the end: so many more are kept than may be sent."""

_SPF_RECORD = re.compile(rb"v=spf1(?: |$)", re.IGNORECASE)
_OTHER_RECORD = re.compile(r"(?:include:|redirect=)([^\s%]+)(?:\s|$)", re.IGNORECASE)
_DELIVERIES = {
    Outcome.DELIVER: "delivered",
    Outcome.QUARANTINE: "policy",
    Outcome.REJECT: "reject",
}


def wants_failures(settings: Settings) -> bool:
    """Whether failure reports may go out at all."""
    reports = settings.reports
    return reports.enabled and reports.failure_enabled and reports.failure_per_day > 0


def failures_room(settings: Settings) -> int:
    """How many different failures a UTC day may keep."""
    return ROOM_FOR_EACH_REPORT * settings.reports.failure_per_day


def failure_samples(
    message: Message,
    origin: Origin,
    verdict: Verdict,
    assessment: Assessment | None,
    settings: Settings,
    *,
    event_id: str,
    node: str,
    authserv_id: str,
) -> tuple[FailureSample, ...]:
    """One sample for each failure report that the records of *message*'s Author Domains ask for.

    Nothing of what was not verified (T48), or is deferred and comes again.
    """
    delivery = _DELIVERIES.get(verdict.outcome)
    if not wants_failures(settings) or not verdict.verified or assessment is None or delivery is None:
        return ()
    authentication, client_ip = assessment.authentication, origin.client_ip
    asked_for = [
        (judgement.evaluation, failure)
        for judgement in verdict.judgements
        for failure in failures_asked_for(judgement.evaluation, authentication.spf, authentication.dkim)
        if not _is_report_host(judgement.evaluation.author_domain, settings)
    ]
    if not asked_for or client_ip is None or _may_loop(message, settings):
        return ()
    sampling = _Sampling(
        message, origin, client_ip, assessment, settings.reports, event_id, node, authserv_id, delivery
    )
    return tuple(sampling.sample(*one) for one in asked_for)


class _Sampling:
    """Makes the samples of one message; its header is read once."""

    def __init__(
        self,
        message: Message,
        origin: Origin,
        client_ip: IPAddress,
        assessment: Assessment,
        reports: Reports,
        event_id: str,
        node: str,
        authserv_id: str,
        delivery: str,
    ) -> None:
        self._envelope = message.envelope
        self._source = client_ip, self._envelope.client_port if origin.found is HowFound.PEER else None
        self._assessment = assessment
        self._names = event_id, node, authserv_id
        self._delivery = delivery
        self._redacted = reports.failure_redaction
        self._subject = "" if self._redacted else plain(message.text("subject"), MAX_SUBJECT)
        self._header = (pruned_header if self._redacted else plain_header)(message.fields)

    def sample(self, evaluation: Evaluation, failure: Failure) -> FailureSample:
        event_id, node, authserv_id = self._names
        client_ip, client_port = self._source
        spf = self._assessment.authentication.spf
        return FailureSample(
            event_id=event_id,
            policy_domain=evaluation.policy_domain or "",
            author_domain=evaluation.author_domain,
            kind=failure.kind,
            unaligned=unaligned(evaluation),
            source_ip=str(client_ip),
            source_port=client_port,
            received_at=self._envelope.received_at,
            queue_id=plain(self._envelope.queue_id, 64),
            node=node,
            authserv_id=authserv_id,
            result=self._result(evaluation, failure),
            policy=evaluation.policy.value if evaluation.policy else "",
            delivery=self._delivery,
            mail_from=_mail_from(self._envelope, redacted=self._redacted),
            mail_from_domain=spf.domain,
            signature=_signature(failure.signature, redacted=self._redacted),
            spf_records=tuple(self._spf_records()) if self._must_name_spf(evaluation, failure) else (),
            subject=self._subject,
            header=self._header,
            redacted=self._redacted,
        )

    def _result(self, evaluation: Evaluation, failure: Failure) -> str:
        if failure.kind is FailureKind.DMARC:
            return evaluation.result.value
        if failure.kind is FailureKind.SPF:
            return self._assessment.authentication.spf.result.value
        assert failure.signature, "the other kinds are about one"
        return failure.signature.result.value

    def _must_name_spf(self, evaluation: Evaluation, failure: Failure) -> bool:
        """Where SPF failed for a domain that is aligned, or is what the report is about."""
        spf = self._assessment.authentication.spf
        if failure.kind is FailureKind.SPF:
            return True
        assert evaluation.published, "its record asked for the report"
        mode = evaluation.published.record.aspf
        has_failed = spf.result not in {SpfWord.PASS, SpfWord.NONE}
        return failure.kind is FailureKind.DMARC and has_failed and is_aligned(spf.domain, evaluation, mode)

    def _spf_records(self) -> Iterator[tuple[str, str]]:
        """Each record that SPF used, in the order of use; none whose name was made of the sender's address by a macro."""
        named, found = {self._assessment.authentication.spf.domain}, 0
        for question, answer in self._assessment.answers.items():
            if question.rdtype is not RecordType.TXT or question.name not in named:
                continue
            for text in answer.records:
                if _SPF_RECORD.match(text) and found < MAX_SPF_RECORDS:
                    found += 1
                    shown = plain(text.decode("utf-8", "replace"), MAX_SPF_RECORD)
                    named.update(name.lower().rstrip(".") for name in _OTHER_RECORD.findall(shown))
                    yield question.name, shown


def _may_loop(message: Message, settings: Settings) -> bool:
    """Whether a report about *message* might be answered by another one, and so on."""
    recipients = message.envelope.recipients
    return (
        is_automatic(message)
        or any(settings.reports.is_ours(recipient.address) for recipient in recipients)
        or _is_report_host(domain_of(message.envelope.mail_from).lower(), settings)
    )


def _is_report_host(domain: str, settings: Settings) -> bool:
    """Whether mail of *domain* is our reports' own."""
    return bool(domain) and domain in {domain_of(settings.reports.address), settings.reports.bounce_host}


def _mail_from(envelope: Envelope, *, redacted: bool) -> str:
    domain = domain_of(envelope.mail_from)
    local_part = envelope.mail_from[: len(envelope.mail_from) - len(domain)].removesuffix("@")
    if redacted:
        return marked_address(local_part, domain)
    try:
        return f"{plain(local_part, 64)}@{to_a_label(domain)}"
    except (InvalidDomain, UnicodeError):
        return ""


def _signature(signature: DkimResult | None, *, redacted: bool) -> FailedSignature | None:
    if signature is None or not signature.domain:
        return None
    identity = signature.identity or f"@{signature.domain}"
    local_part, _, domain = identity.rpartition("@")
    if redacted and local_part:
        identity = marked_address(local_part, domain)
    return FailedSignature(signature.domain, signature.selector, identity, signature.reason)
