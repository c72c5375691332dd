"""Which authenticated identifiers speak for an Author Domain, and why the others don't (RFC 9989 section 4.4)."""

from collections.abc import Iterator

from appliance.dmarc.evaluation import Evaluation
from appliance.dmarc.record import AlignmentMode, DmarcRecord
from appliance.explain.model import Aligned, Alignment
from appliance.explain.visible import visible
from appliance.explain.walk import Answers, known_organizational
from appliance.mail.authentication import Authentication, DkimWord, SpfWord
from appliance.mail.domain import is_below

_MODES = {AlignmentMode.RELAXED: "relaxed", AlignmentMode.STRICT: "strict"}


def tell_alignment(
    evaluation: Evaluation, authentication: Authentication, answers: Answers
) -> tuple[Alignment, ...]:
    """One row for each identifier: SPF's, then the signatures' from the top of the message."""
    return tuple(_rows(evaluation, authentication, answers))


def _rows(evaluation: Evaluation, authentication: Authentication, answers: Answers) -> Iterator[Alignment]:
    record = evaluation.published.record if evaluation.published else DmarcRecord("")
    compare = _Comparison(evaluation, answers)
    spf = authentication.spf
    yield compare.row(
        "SPF",
        spf.domain,
        spf.result.value,
        record.aspf,
        spf.reason,
        counted=evaluation.spf_aligned and spf.result is SpfWord.PASS,
    )
    signers = {s.domain for s in authentication.dkim if s.result is DkimWord.PASS}
    only_one = evaluation.dkim_aligned and len(signers) == 1
    for number, signature in enumerate(authentication.dkim, start=1):
        yield compare.row(
            f"DKIM {number}",
            signature.domain,
            signature.result.value,
            record.adkim,
            signature.reason,
            counted=only_one and signature.result is DkimWord.PASS,
        )


class _Comparison:
    """Compares identifiers with one Author Domain."""

    def __init__(self, evaluation: Evaluation, answers: Answers) -> None:
        self._author = evaluation.author_domain
        self._answers = answers
        self._organizational = evaluation.organizational_domain or known_organizational(self._author, answers)

    def row(
        self, check: str, domain: str, result: str, mode: AlignmentMode, reason: str, *, counted: bool
    ) -> Alignment:
        """*counted*: the evaluation found it aligned, also where the answers at hand don't tell why."""
        aligned, because = self._compare(domain, mode)
        if counted and aligned is Aligned.UNKNOWN:
            aligned, because = Aligned.YES, "found so when the message came"
        if aligned is Aligned.YES and result != "pass":
            because = f"{because}; but it is no pass" + (f": {visible(reason)}" if reason else "")
        return Alignment(check, visible(domain), result, aligned, _MODES[mode], because)

    def _compare(self, domain: str, mode: AlignmentMode) -> tuple[Aligned, str]:
        if domain == self._author:
            return Aligned.YES, "the same name"
        if not domain:
            return Aligned.NO, "no usable domain"
        if mode is AlignmentMode.STRICT:
            return Aligned.NO, "not the same name, which strict mode asks for"
        if domain.rpartition(".")[2] != self._author.rpartition(".")[2]:
            return Aligned.NO, "under another top-level domain"
        return self._compare_organizational(domain)

    def _compare_organizational(self, domain: str) -> tuple[Aligned, str]:
        ours, theirs = self._organizational, known_organizational(domain, self._answers)
        if ours and theirs == ours:
            return Aligned.YES, f"both have the Organizational Domain {ours}"
        if ours and theirs:
            return Aligned.NO, f"its Organizational Domain is {theirs}, not {ours}"
        if ours and domain != ours and not is_below(domain, ours):
            return Aligned.NO, f"not within the Organizational Domain {ours}"
        return (
            Aligned.UNKNOWN,
            f"the Organizational Domain of {domain if ours else self._author} cannot be told",
        )
