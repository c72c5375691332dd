"""Local policy: what the administrator's settings make of an evaluation. Pure; one ``LocalPolicy`` a revision."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.record import Policy
from appliance.dmarc.vouching import chain_comment, vouched
from appliance.mail.authentication import ArcResult
from appliance.mail.message import Envelope, IPAddress, Message
from appliance.settings import (
    ExceptionMode,
    ExceptionRecord,
    Mode,
    Scope,
    Settings,
    TemporaryErrorAction,
)
from appliance.settings.records import DomainSet, NetworkMap


class Skip(StrEnum):
    """Why a message is not verified, in the order in which it is asked."""

    OFF = "off"
    AUTHENTICATED = "authenticated"
    INTERNAL = "internal"
    EXCEPTION = "exception"
    SCOPE = "scope"


class Outcome(StrEnum):
    """What is done with the message, mildest first."""

    DELIVER = "deliver"
    DEFER = "defer"
    QUARANTINE = "quarantine"
    REJECT = "reject"

    @property
    def severity(self) -> int:
        return tuple(Outcome).index(self)


class Row(StrEnum):
    """The line of the action table that a message meets."""

    PASS = "pass"
    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"
    NO_RECORD = "no_record"
    TEMPORARY_ERROR = "temporary_error"
    UNUSABLE_FROM = "unusable_from"
    UNVERIFIED = "unverified"


class Disposition(StrEnum):
    """What a report says we did (RFC 9990 section 3.1.1.9)."""

    NONE = "none"
    PASS = "pass"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class OverrideType(StrEnum):
    """Why we did other than the policy asks (RFC 9990 section 3.1.6)."""

    LOCAL_POLICY = "local_policy"
    MAILING_LIST = "mailing_list"
    OTHER = "other"
    POLICY_TEST_MODE = "policy_test_mode"
    TRUSTED_FORWARDER = "trusted_forwarder"


@dataclass(frozen=True, slots=True)
class Override:
    """*comment* is ours: short, ASCII, nothing personal."""

    type: OverrideType
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Local policy on one Author Domain's evaluation."""

    evaluation: Evaluation
    row: Row
    outcome: Outcome
    overrides: tuple[Override, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is done with a message, and why; *judgements* has one for each Author Domain."""

    outcome: Outcome
    row: Row
    skip: Skip | None = None
    judgements: tuple[Judgement, ...] = ()
    note: str = ""
    """Which list entry, or what is wrong with From: short, for the log and the pages."""
    incomplete: bool = False
    """There were more Author Domains than were evaluated."""

    @property
    def verified(self) -> bool:
        return self.skip is None

    def disposition(self, judgement: Judgement) -> Disposition:
        """What a report says we did about *judgement*'s domain: the message had one fate for all of them."""
        match judgement.evaluation.result:
            case DmarcWord.PASS:
                enforcing = judgement.evaluation.requested not in {None, Policy.NONE}
                return Disposition.PASS if enforcing else Disposition.NONE
            case DmarcWord.FAIL if self.outcome in {Outcome.QUARANTINE, Outcome.REJECT}:
                return Disposition(self.outcome.value)
            case _:
                return Disposition.NONE


class LocalPolicy:
    """A settings revision made ready for judging; look-ups in its lists take constant time."""

    def __init__(self, settings: Settings, revision: int) -> None:
        self.settings = settings
        self.revision = revision
        self.known_hosts = NetworkMap((r.network, r) for r in settings.network.known_hosts)
        self._internal = NetworkMap((r.network, r) for r in settings.network.internal)
        self._forwarders = NetworkMap((r.network, r) for r in settings.network.trusted_forwarders)
        self._exceptions = NetworkMap((r.network, r) for r in settings.verification.exceptions)
        self._domains = DomainSet(settings.verification.domains)
        self._sealers = DomainSet(settings.network.trusted_sealers)

    def skip_client(self, envelope: Envelope, client_ip: IPAddress | None) -> Verdict | None:
        """The verdict on mail that isn't verified because of who hands it in (behaviour S16), else ``None``.

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
        exception = self.exception(client_ip, envelope.received_at)
        if exception is not None and exception.mode is ExceptionMode.SKIP:
            return _skipped(Skip.EXCEPTION, exception.key)
        return None

    def exception(self, client_ip: IPAddress | None, now: datetime) -> ExceptionRecord | None:
        """The exception entry that holds for *client_ip* today."""
        entry = self._exceptions.get(client_ip)
        if entry is None or (entry.until is not None and now.date() > entry.until):
            return None
        return entry

    def in_scope(self, domains: Sequence[str]) -> tuple[str, ...]:
        """Those of *domains* that are to be verified."""
        if self.settings.verification.scope is Scope.ALL:
            return tuple(domains)
        return tuple(domain for domain in domains if domain in self._domains)

    def out_of_scope(self) -> Verdict:
        return _skipped(Skip.SCOPE)

    def decide_unusable_from(self, reason: str, client_ip: IPAddress | None, now: datetime) -> Verdict:
        """The verdict on a message whose Author Domain can't be told."""
        outcome = Outcome(self.settings.verification.actions.unusable_from.value)
        if self._spares(client_ip, now):
            outcome = Outcome.DELIVER
        return Verdict(outcome, Row.UNUSABLE_FROM, note=reason)

    def decide(
        self,
        evaluations: Sequence[Evaluation],
        message: Message,
        client_ip: IPAddress | None,
        *,
        arc: ArcResult | None = None,
        incomplete: bool = False,
    ) -> Verdict:
        """The verdict on a verified message: the strictest outcome among its Author Domains.

        *incomplete*: there are more of them than were evaluated; such a message is at least quarantined.
        """
        signs = _indirect_signs(message)
        if self._forwarders.get(client_ip) is not None:
            signs = (Override(OverrideType.TRUSTED_FORWARDER, "trusted forwarder"), *signs)
        spared = self._spares(client_ip, message.envelope.received_at)
        judgements = tuple(self._judge(evaluation, signs, spared, arc) for evaluation in evaluations)
        strictest = max(judgements, key=lambda j: (j.outcome.severity, j.row is not Row.PASS))
        outcome = strictest.outcome
        if incomplete and spared is None and outcome.severity < Outcome.QUARANTINE.severity:
            outcome = Outcome.QUARANTINE
        return Verdict(outcome, strictest.row, judgements=judgements, incomplete=incomplete)

    def _spares(self, client_ip: IPAddress | None, now: datetime) -> Override | None:
        """Why no action may be taken whatever the result: Monitor only, or an exception to be evaluated."""
        if self.exception(client_ip, now) is not None:
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
