"""Whether a message makes its Author Domain's record ask for failure reports, and of which kinds (RFC 9989 section 4.7)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.record import AlignmentMode, Psd
from appliance.mail.authentication import DkimResult, DkimWord, SpfResult, SpfWord
from appliance.mail.domain import is_below

_FAILED_DKIM = frozenset({DkimWord.FAIL, DkimWord.PERMERROR})
FAILED_SPF = frozenset({SpfWord.FAIL, SpfWord.SOFTFAIL, SpfWord.PERMERROR})


class FailureKind(StrEnum):
    """What failed, in the words of ``Auth-Failure`` (RFC 6591 section 3.2, RFC 9991 section 4)."""

    DMARC = "dmarc"
    SIGNATURE = "signature"
    BODY_HASH = "bodyhash"
    REVOKED = "revoked"
    SPF = "spf"


_DKIM_KINDS = {"body hash": FailureKind.BODY_HASH, "key revoked": FailureKind.REVOKED}


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure report that is asked for."""

    kind: FailureKind
    signature: DkimResult | None = None
    """A failed signature: for the DMARC kind an aligned one, if there is any."""


def failures_asked_for(
    evaluation: Evaluation, spf: SpfResult, dkim: Sequence[DkimResult]
) -> tuple[Failure, ...]:
    """The failure reports that ``fo`` asks for about this message; none without ``ruf`` or from a suffix's record."""
    if evaluation.published is None:
        return ()
    record = evaluation.published.record
    if not record.ruf or record.psd is Psd.YES:
        return ()
    failed = sorted(  # aligned ones first, else in the message's order
        (signature for signature in dkim if signature.result in _FAILED_DKIM),
        key=lambda signature: not is_aligned(signature.domain, evaluation, record.adkim),
    )
    return tuple(_asked_for(evaluation, spf, failed, frozenset(record.fo.split(":"))))


def unaligned(evaluation: Evaluation) -> tuple[str, ...]:
    """The mechanisms that did not yield an aligned identity: the words of ``Identity-Alignment``."""
    aligned = {"dkim": evaluation.dkim_aligned, "spf": evaluation.spf_aligned}
    return tuple(mechanism for mechanism, is_so in aligned.items() if not is_so)


def is_aligned(domain: str, evaluation: Evaluation, mode: AlignmentMode) -> bool:
    """Whether *domain* is aligned with the Author Domain, as far as that is known without another walk."""
    if domain == evaluation.author_domain:
        return True
    top = evaluation.organizational_domain or evaluation.policy_domain
    if not domain or not top or mode is AlignmentMode.STRICT:
        return False
    return domain == top or is_below(domain, top)


def _asked_for(
    evaluation: Evaluation, spf: SpfResult, failed: Sequence[DkimResult], options: frozenset[str]
) -> Iterator[Failure]:
    every_one_failed = evaluation.result is DmarcWord.FAIL
    one_failed = evaluation.result in {DmarcWord.PASS, DmarcWord.FAIL} and bool(unaligned(evaluation))
    if ("0" in options and every_one_failed) or ("1" in options and one_failed):
        yield Failure(FailureKind.DMARC, _aligned_one(evaluation, failed))
    if "d" in options and failed:
        yield Failure(_DKIM_KINDS.get(failed[0].reason, FailureKind.SIGNATURE), failed[0])
    if "s" in options and spf.result in FAILED_SPF:
        yield Failure(FailureKind.SPF)


def _aligned_one(evaluation: Evaluation, failed: Sequence[DkimResult]) -> DkimResult | None:
    assert evaluation.published, "asked for by its record"
    mode = evaluation.published.record.adkim
    return next((one for one in failed if is_aligned(one.domain, evaluation, mode)), None)
