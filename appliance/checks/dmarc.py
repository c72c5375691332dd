"""Evaluate DMARC for a message's Author Domains with the answers known so far."""

from collections.abc import Sequence

from appliance.checks.answers import Answers, Missing
from appliance.dmarc.discovery import LookupFailed, tree_walk_names
from appliance.dmarc.evaluation import Evaluation, evaluate
from appliance.dmarc.record import DmarcRecord, select_record
from appliance.mail.authentication import DkimResult, SpfResult
from appliance.mail.domain import MAX_NAME_OCTETS
from appliance.resolver import Question, RecordType, Status, TemporaryDnsError


def dmarc_questions(author_domain: str) -> tuple[Question, ...]:
    """What the discovery of a policy may need: a record for each name of the walk, eight at most (DISC-17)."""
    return tuple(filter(None, map(_question, tree_walk_names(author_domain))))


def evaluate_authors(
    author_domains: Sequence[str], spf: SpfResult, dkim: tuple[DkimResult, ...], answers: Answers
) -> tuple[Evaluation, ...]:
    """``evaluate_author`` for each; raises one ``Missing`` for all of them."""
    evaluations: list[Evaluation] = []
    missing: list[Question] = []
    for author_domain in author_domains:
        try:
            evaluations.append(evaluate_author(author_domain, spf, dkim, answers))
        except Missing as more:
            missing += more.questions
    if missing:
        raise Missing(missing)
    return tuple(evaluations)


def evaluate_author(
    author_domain: str, spf: SpfResult, dkim: tuple[DkimResult, ...], answers: Answers
) -> Evaluation:
    """Raises ``Missing``, with all names of a walk at once."""

    def lookup(domain: str) -> DmarcRecord | None:
        question = _question(domain)
        if question is None:
            return None
        if question not in answers:
            answers.ask_together(dmarc_questions(domain))
        try:
            return select_record(answers.get(question).records)
        except TemporaryDnsError as trouble:
            raise LookupFailed(str(trouble)) from None

    def exists() -> bool:
        """NXDOMAIN at the Author Domain itself; what ``_dmarc.`` below it says doesn't matter (DISC-32)."""
        try:
            return answers.get(Question(author_domain, RecordType.A)).status is not Status.NXDOMAIN
        except TemporaryDnsError as trouble:
            raise LookupFailed(str(trouble)) from None

    return evaluate(author_domain, spf, dkim, lookup, exists)


def _question(domain: str) -> Question | None:
    """``None`` for a name that has no room for the prefix: it counts as empty (DISC-28)."""
    name = f"_dmarc.{domain}"
    return Question(name, RecordType.TXT) if len(name) <= MAX_NAME_OCTETS else None
