"""What is done with a message, and why, in words that events and reports keep."""

from dataclasses import dataclass
from enum import StrEnum

from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.record import Policy


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
    exception: str = ""
    """The key of the entry of the exception list that held, whether or not it changed anything."""

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
