"""A settings revision made ready for judging."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.vouching import chain_comment, vouched
from appliance.mail.authentication import ArcResult, Authentication, DkimWord
from appliance.mail.author import Author
from appliance.mail.message import Envelope, IPAddress, Message
from appliance.policy.verdict import Judgement, Outcome, Override, OverrideType, Row, Skip, Verdict
from appliance.settings import (
    ExceptionMode,
    ExceptionRecord,
    Mode,
    Scope,
    Settings,
    TemporaryErrorAction,
)
from appliance.settings.exceptions import ExceptionList
from appliance.settings.records import DomainSet, NetworkMap


class LocalPolicy:
    """A settings revision made ready for judging; look-ups in its lists take constant time."""

    def __init__(self, settings: Settings, revision: int) -> None:
        self.settings = settings
        self.revision = revision
        self.known_hosts = NetworkMap((r.network, r) for r in settings.network.known_hosts)
        self._internal = NetworkMap((r.network, r) for r in settings.network.internal)
        self._forwarders = NetworkMap((r.network, r) for r in settings.network.trusted_forwarders)
        self._exceptions = ExceptionList(settings.verification.exceptions)
        self._domains = DomainSet(settings.verification.domains)
        self._sealers = DomainSet(settings.network.trusted_sealers)

    def skip_client(self, envelope: Envelope, client_ip: IPAddress | None) -> Verdict | None:
        """The verdict on mail that isn't verified because DMARC is off or its client is one of ours, else ``None``.

        *client_ip* is the effective client; ``None`` where it could not be found.
        """
        verification = self.settings.verification
        if not verification.enabled:
            return _skipped(Skip.OFF)
        if envelope.authenticated_as is not None and verification.skip_authenticated:
            return _skipped(Skip.AUTHENTICATED)
        if envelope.client_ip is None:
            return _skipped(Skip.INTERNAL, "local submission")
        if (internal := self._internal.get(client_ip)) is not None:
            return _skipped(Skip.INTERNAL, internal.key)
        return None

    def triage(self, author: Author, client_ip: IPAddress | None, now: datetime) -> Verdict | tuple[str, ...]:
        """The Author Domains to evaluate, or the verdict on mail that needs no evaluation (behaviour S16, S23)."""
        exception = self._exceptions.find(client_ip, now.date(), authors=_all_authors(author))
        if exception is not None and exception.mode is ExceptionMode.SKIP:
            return replace(_skipped(Skip.EXCEPTION, exception.key), exception=exception.key)
        if author.unusable:
            return self._unusable(author.unusable, exception)
        domains = author.domains
        if self.settings.verification.scope is Scope.LISTED:
            domains = tuple(domain for domain in domains if domain in self._domains)
        return domains or _skipped(Skip.SCOPE)

    def decide(
        self,
        evaluations: Sequence[Evaluation],
        message: Message,
        client_ip: IPAddress | None,
        *,
        author: Author,
        authentication: Authentication | None = None,
    ) -> Verdict:
        """The verdict on a verified message: the strictest outcome among its Author Domains.

        A message with more of them than were evaluated is at least quarantined (FROM-05).
        """
        signs = _indirect_signs(message)
        if self._forwarders.get(client_ip) is not None:
            signs = (Override(OverrideType.TRUSTED_FORWARDER, "trusted forwarder"), *signs)
        exception = self._exceptions.find(
            client_ip,
            message.envelope.received_at.date(),
            authors=_all_authors(author),
            signers=_signers(authentication),
        )
        spared = self._spared(exception)
        arc = authentication.arc if authentication is not None else None
        judgements = tuple(self._judge(evaluation, signs, spared, arc) for evaluation in evaluations)
        strictest = max(judgements, key=lambda j: (j.outcome.severity, j.row is not Row.PASS))
        outcome = strictest.outcome
        if author.incomplete and spared is None and outcome.severity < Outcome.QUARANTINE.severity:
            outcome = Outcome.QUARANTINE
        return Verdict(
            outcome,
            strictest.row,
            judgements=tuple(_told(judgement, outcome) for judgement in judgements),
            incomplete=author.incomplete,
            exception=exception.key if exception is not None else "",
        )

    def _unusable(self, reason: str, exception: ExceptionRecord | None) -> Verdict:
        """The verdict on a message whose Author Domain can't be told."""
        outcome = Outcome(self.settings.verification.actions.unusable_from.value)
        if self._spared(exception):
            outcome = Outcome.DELIVER
        key = exception.key if exception is not None else ""
        return Verdict(outcome, Row.UNUSABLE_FROM, note=reason, exception=key)

    def _spared(self, exception: ExceptionRecord | None) -> Override | None:
        """Why no action may be taken whatever the result: Monitor only, or an exception to be evaluated."""
        if exception is not None:
            return Override(OverrideType.LOCAL_POLICY, "exception list")
        if self.settings.verification.mode is Mode.MONITOR:
            return Override(OverrideType.LOCAL_POLICY, "monitor only")
        return None

    def _judge(
        self,
        evaluation: Evaluation,
        signs: tuple[Override, ...],
        spared: Override | None,
        arc: ArcResult | None,
    ) -> Judgement:
        row = _row(evaluation)
        wanted = self._wanted(row)
        overrides: tuple[Override, ...] = ()
        if evaluation.broken_aligned_signature:
            signs = (*signs, Override(OverrideType.LOCAL_POLICY, "broken aligned signature"))
        if row is Row.TEMPORARY_ERROR:
            overrides = (Override(OverrideType.OTHER, "temporary DNS error"),)
        elif wanted is Outcome.REJECT and signs and self.settings.verification.actions.soften_indirect:
            wanted, overrides = Outcome.QUARANTINE, signs[:1]  # RFC 9989 section 7.4
        elif wanted is not _PUBLISHED.get(row, wanted):
            overrides = (Override(OverrideType.LOCAL_POLICY, f"action for p={row.value}: {wanted.value}"),)
        if wanted is not Outcome.DELIVER and arc is not None and vouched(evaluation, arc, self._sealers):
            wanted, overrides = Outcome.DELIVER, (Override(OverrideType.LOCAL_POLICY, chain_comment(arc)),)
        if spared is not None and row is not Row.PASS and wanted is not Outcome.DELIVER:
            wanted, overrides = Outcome.DELIVER, (spared,)
        if evaluation.result is DmarcWord.FAIL and evaluation.testing:
            overrides = (Override(OverrideType.POLICY_TEST_MODE, "t=y"), *overrides)
        return Judgement(evaluation, row, wanted, overrides)

    def _wanted(self, row: Row) -> Outcome:
        actions = self.settings.verification.actions
        match row:
            case Row.NONE:
                return Outcome(actions.none.value)
            case Row.QUARANTINE:
                return Outcome(actions.quarantine.value)
            case Row.REJECT:
                return Outcome(actions.reject.value)
            case Row.NO_RECORD:
                return Outcome(actions.no_record.value)
            case Row.TEMPORARY_ERROR:
                defer = actions.temporary_error is TemporaryErrorAction.DEFER
                return Outcome.DEFER if defer else Outcome.DELIVER
            case _:
                return Outcome.DELIVER


_PUBLISHED = {Row.NONE: Outcome.DELIVER, Row.QUARANTINE: Outcome.QUARANTINE, Row.REJECT: Outcome.REJECT}
"""What the owner asks for in each row; other rows have no owner's wish."""


def _row(evaluation: Evaluation) -> Row:
    match evaluation.result:
        case DmarcWord.PASS:
            return Row.PASS
        case DmarcWord.TEMPERROR:
            return Row.TEMPORARY_ERROR
        case DmarcWord.FAIL if evaluation.requested is not None:
            return Row(evaluation.requested.value)
        case _:
            return Row.NO_RECORD


def _told(judgement: Judgement, outcome: Outcome) -> Judgement:
    """*judgement* with a reason, where the message met a fate that another Author Domain brought about (ENF-03)."""
    if judgement.evaluation.result is not DmarcWord.FAIL or judgement.outcome is outcome:
        return judgement
    because = Override(OverrideType.LOCAL_POLICY, "several author domains")
    return replace(judgement, overrides=(*judgement.overrides, because))


def _all_authors(author: Author) -> tuple[str, ...]:
    """All Author Domains; none where there are more than are known."""
    return () if author.incomplete else author.domains


def _signers(authentication: Authentication | None) -> Collection[str]:
    """The domains whose signatures verified."""
    if authentication is None:
        return ()
    return {signature.domain for signature in authentication.dkim if signature.result is DkimWord.PASS}


def _skipped(skip: Skip, note: str = "") -> Verdict:
    return Verdict(Outcome.DELIVER, Row.UNVERIFIED, skip=skip, note=note)


def _indirect_signs(message: Message) -> tuple[Override, ...]:
    """Header signs of a list or forwarder. They soften a reject, never lead to delivery, so forging them gains nothing."""
    signs = []
    for header in message.fields:
        name = header.name.lower()
        if name.startswith(b"list-") or (name == b"precedence" and header.value.strip().lower() == b"list"):
            signs.append(Override(OverrideType.MAILING_LIST, "list header fields"))
        elif name == b"arc-seal":
            signs.append(Override(OverrideType.LOCAL_POLICY, "ARC set"))
        elif name.startswith(b"resent-"):
            signs.append(Override(OverrideType.LOCAL_POLICY, "Resent fields"))
    return tuple(dict.fromkeys(signs))
