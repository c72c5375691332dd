"""What a domain publishes about its mail: DMARC, SPF and the keys of given selectors, and what is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from appliance.checks.answers import Answers, Missing
from appliance.checks.dmarc import dmarc_questions, evaluate_author
from appliance.checks.options import CheckOptions
from appliance.checks.spf_trace import MAX_LOOKUPS, MAX_VOID_LOOKUPS, Survey, survey_spf
from appliance.dmarc.evaluation import Evaluation
from appliance.dmarc.record import DmarcRecord, Policy
from appliance.explain.findings import Finding, of_dmarc, of_key, of_reports, of_spf
from appliance.explain.model import SpfStep, Walk
from appliance.explain.signatures import describe_keys
from appliance.explain.spf_steps import tell_steps
from appliance.explain.visible import visible
from appliance.explain.walk import tell_walk
from appliance.mail.authentication import SpfResult, SpfWord
from appliance.mail.domain import to_u_label
from appliance.resolver import Question, RecordType, Status, TemporaryDnsError

MAX_SELECTORS = 20
_OPTIONS = CheckOptions()


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a record asks receivers to do with mail that fails, for each kind of name; after ``t=y``."""

    record: str
    policy_domain: str
    itself: str
    below: str
    """Existing names below the record's own."""
    nonexistent: str


@dataclass(frozen=True, slots=True)
class ReportTag:
    """Where reports go. *tag* is ``rua`` or ``ruf``."""

    tag: str
    published: tuple[str, ...]
    permitted: tuple[str, ...]
    refused: tuple[str, ...]
    postponed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SpfRecord:
    """*text* is ``""`` without a record."""

    text: str
    steps: tuple[SpfStep, ...]
    lookups: int
    max_lookups: int
    void_lookups: int
    max_void_lookups: int
    problem: str


@dataclass(frozen=True, slots=True)
class SelectorKey:
    selector: str
    name: str
    key: str
    records: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LookedUp:
    """A domain, fit to be shown."""

    domain: str
    unicode: str
    exists: str
    """``yes``, ``no``, or why that can't be told."""
    walk: Walk
    applied: str
    """What is asked for mail from the domain, in a word; ``""`` when nothing is."""
    wishes: Wishes | None
    spf: SpfRecord
    keys: tuple[SelectorKey, ...]
    reports: tuple[ReportTag, ...]
    findings: tuple[Finding, ...]


def look_up(domain: str, selectors: Sequence[str], answers: Answers) -> tuple[LookedUp, Evaluation]:
    """All but the report addresses, see ``with_reports``; raises ``Missing``.

    The evaluation is of mail from *domain* that fails.
    """
    _need(domain, selectors, answers)
    evaluation = evaluate_author(domain, SpfResult(SpfWord.NONE, ""), (), answers)
    survey = survey_spf(domain, answers)
    known = answers.used
    walk = tell_walk(domain, known)
    keys = tuple(_key(domain, selector, answers) for selector in selectors[:MAX_SELECTORS])
    shown = to_u_label(domain)
    texts = _texts(answers, Question(domain, RecordType.TXT))
    findings = (
        *of_dmarc(walk, evaluation),
        *of_spf(domain, survey, texts),
        *(finding for key in keys for finding in of_key(key.name, key.key)),
    )
    looked_up = LookedUp(
        domain=domain,
        unicode=visible(shown) if shown != domain else "",
        exists=_exists(domain, answers),
        walk=walk,
        applied=evaluation.requested.value if evaluation.requested else "",
        wishes=_wishes(evaluation),
        spf=_spf(survey),
        keys=keys,
        reports=(),
        findings=findings,
    )
    return looked_up, evaluation


def with_reports(looked_up: LookedUp, reports: tuple[ReportTag, ...]) -> LookedUp:
    """*looked_up* with what became of the report addresses of the record that applies."""
    record = looked_up.wishes is not None
    findings = (*looked_up.findings, *(f for tag in reports for f in of_reports(tag.refused, tag.postponed)))
    if record and not any(tag.published for tag in reports if tag.tag == "rua"):
        findings += (Finding.advice("the record has no rua tag, so nobody learns which mail fails"),)
    return replace(looked_up, reports=reports, findings=findings)


def _need(domain: str, selectors: Sequence[str], answers: Answers) -> None:
    """Let everything known to be needed be asked in one round."""
    wanted = (
        *dmarc_questions(domain),
        Question(domain, RecordType.A),
        Question(domain, RecordType.TXT),
        *(_key_question(domain, selector) for selector in selectors[:MAX_SELECTORS]),
    )
    unknown = [question for question in wanted if question not in answers]
    if unknown:
        raise Missing(unknown)
    for question in wanted:
        _texts(answers, question)  # so that all of them count as used


def _texts(answers: Answers, question: Question) -> tuple[bytes, ...]:
    try:
        return answers.get(question).records
    except TemporaryDnsError:
        return ()


def _exists(domain: str, answers: Answers) -> str:
    try:
        return "no" if answers.get(Question(domain, RecordType.A)).status is Status.NXDOMAIN else "yes"
    except TemporaryDnsError as trouble:
        return f"cannot be told: {trouble}"


def _wishes(evaluation: Evaluation) -> Wishes | None:
    if evaluation.published is None:
        return None
    record = evaluation.published.record
    own = record.p or Policy.NONE
    below = record.sp or own
    return Wishes(
        visible(record.text, 1000),
        evaluation.published.domain,
        _asked(record, own),
        _asked(record, below),
        _asked(record, record.np or below),
    )


def _asked(record: DmarcRecord, policy: Policy) -> str:
    return (policy.one_step_down if record.testing else policy).value


def _spf(survey: Survey) -> SpfRecord:
    steps = tell_steps(survey.steps)
    text = steps[0].target if steps else ""
    return SpfRecord(
        text,
        steps,
        survey.lookups,
        MAX_LOOKUPS,
        survey.void_lookups,
        MAX_VOID_LOOKUPS,
        visible(survey.problem),
    )


def _key_question(domain: str, selector: str) -> Question:
    return Question(f"{selector}._domainkey.{domain}", RecordType.TXT)


def _key(domain: str, selector: str, answers: Answers) -> SelectorKey:
    question = _key_question(domain, selector)
    try:
        records = answers.get(question).records
    except TemporaryDnsError as trouble:
        return SelectorKey(selector, question.name, f"the DNS could not tell: {trouble}", ())
    kind = "ed25519" if any(b"ed25519" in record for record in records) else "rsa"
    key = describe_keys(records, kind, _OPTIONS)
    return SelectorKey(selector, question.name, key, tuple(visible(record, 1000) for record in records[:5]))
