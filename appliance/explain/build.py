"""Build an explanation from a case. Pure: what is not known is told as unknown."""

from collections.abc import Iterator

from appliance.checks.answers import Answers
from appliance.checks.dmarc import dmarc_questions
from appliance.checks.spf_trace import MAX_LOOKUPS, MAX_VOID_LOOKUPS, trace_spf
from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.explain import local, reasons
from appliance.explain.advice import advise
from appliance.explain.alignment import tell_alignment
from appliance.explain.case import Case
from appliance.explain.model import (
    Asked,
    AuthorDomain,
    Explanation,
    Identities,
    Mail,
    Spf,
    Walk,
)
from appliance.explain.published import tell_published
from appliance.explain.signatures import key_name, key_question, tell_arc, tell_signatures
from appliance.explain.spf_steps import tell_steps
from appliance.explain.visible import visible
from appliance.explain.walk import NOT_RECORDED, tell_walk
from appliance.mail import results_header
from appliance.mail.authentication import Authentication, SpfResult, SpfScope
from appliance.mail.domain import to_u_label
from appliance.mail.origin import HowFound, Origin
from appliance.policy import Judgement
from appliance.resolver import Question

MAX_WALKS = 12  # told of identifiers that are no Author Domains
MAX_KEYS = 12
MAX_SHOWN_RECORDS = 20

_HOW = {
    HowFound.PEER: "it connected to us itself",
    HowFound.RECEIVED: "behind known hosts, from their Received fields",
    HowFound.UNKNOWN: "unknown: a known host connected, and does not say from where it had the message",
}


def further_questions(
    author_domains: tuple[str, ...], authentication: Authentication
) -> tuple[Question, ...]:
    """What an explanation needs besides the answers the verdict rests on.

    Whole walks from all domains involved, and the keys of signatures that failed before their keys were needed.
    """
    domains = (*author_domains, *_identifiers(author_domains, authentication))
    walks = (question for domain in domains for question in dmarc_questions(domain))
    keys = (key_question(one) for one in authentication.dkim[:MAX_KEYS] if key_name(one))
    return tuple(dict.fromkeys((*walks, *keys)))


def explain(case: Case) -> Explanation:
    """Tell *case* in full."""
    authentication = case.authentication
    judgements = {judgement.evaluation.author_domain: judgement for judgement in case.verdict.judgements}
    authors = tuple(_author(case, e, judgements.get(e.author_domain)) for e in case.evaluations)
    spf = _spf(case, authentication.spf) if authentication else None
    signatures = (
        tell_signatures(authentication.dkim, case.message, case.answers, case.options)
        if authentication
        else ()
    )
    result, because = _result(case)
    return Explanation(
        result=result,
        because=because,
        evaluated_at=case.now,
        mail=_mail(case),
        identities=_identities(case),
        authors=authors,
        spf=spf,
        dkim=signatures,
        arc=tell_arc(authentication.arc, case.message) if authentication else None,
        local=local.tell_local(case),
        walks=tuple(_walks(case)),
        advice=advise(case, authors, spf, signatures),
        questions=tuple(_asked(case)),
        notes=tuple(_notes(case)),
    )


def _identifiers(author_domains: tuple[str, ...], authentication: Authentication) -> tuple[str, ...]:
    """The authenticated domains, or those that were meant to be, besides the Author Domains."""
    found = (authentication.spf.domain, *(signature.domain for signature in authentication.dkim))
    others = dict.fromkeys(d for d in found if "." in d and d not in author_domains)
    return tuple(others)[:MAX_WALKS]


def _walks(case: Case) -> Iterator[Walk]:
    if case.authentication is None:
        return
    authors = tuple(evaluation.author_domain for evaluation in case.evaluations)
    for domain in _identifiers(authors, case.authentication):
        walk = tell_walk(domain, case.answers)
        if any(step.found != NOT_RECORDED for step in walk.steps):
            yield walk


def _author(case: Case, evaluation: Evaluation, judgement: Judgement | None) -> AuthorDomain:
    domain = evaluation.author_domain
    walk = tell_walk(domain, case.answers)
    authentication = case.authentication
    shown = to_u_label(domain)
    return AuthorDomain(
        domain=domain,
        unicode=visible(shown) if shown != domain else "",
        result=evaluation.result.value,
        because=_because(evaluation),
        walk=walk,
        alignment=tell_alignment(evaluation, authentication, case.answers) if authentication else (),
        published=tell_published(evaluation, walk),
        row=local.row(judgement) if judgement else "",
        action=local.action(judgement) if judgement else "",
        overrides=local.overrides(judgement) if judgement else (),
    )


def _because(evaluation: Evaluation) -> str:
    domain = evaluation.author_domain
    match evaluation.result:
        case DmarcWord.PASS:
            by = ["SPF"] * evaluation.spf_aligned + ["DKIM"] * evaluation.dkim_aligned
            return f"{' and '.join(by) or 'a mechanism'} passed for a domain aligned with {domain}"
        case DmarcWord.FAIL:
            return f"neither SPF nor DKIM passed for a domain aligned with {domain}"
        case DmarcWord.NONE if evaluation.reason:
            return f"no usable DMARC record speaks for {domain}: {visible(evaluation.reason)}"
        case DmarcWord.NONE:
            return f"no DMARC record speaks for {domain}"
        case _:
            return f"cannot be told for {domain} now: {visible(evaluation.reason)}"


def _result(case: Case) -> tuple[str, str]:
    if case.author.unusable:
        return "permerror", f"the Author Domain cannot be told: {visible(case.author.unusable)}"
    if not case.evaluations:
        return "", "the message was not verified"
    word = results_header.overall_word(case.evaluations, incomplete=case.author.incomplete)
    several = "several Author Domains never pass together: " if len(case.evaluations) > 1 else ""
    return word, several + "; ".join(_because(evaluation) for evaluation in case.evaluations)


def _mail(case: Case) -> Mail:
    message = case.message
    return Mail(
        header_from=visible(case.header_from),
        subject=visible(case.subject),
        message_id=visible(case.message_id),
        date=visible(message.text("date"), 100) if message else "",
        size_octets=case.size_octets,
        event_id=case.event_id,
        queue_id=visible(case.envelope.queue_id),
    )


def _identities(case: Case) -> Identities:
    origin = case.origin
    return Identities(
        client_ip=str(origin.client_ip) if origin.client_ip else "",
        how=_how(case, origin),
        relays=tuple(str(hop.ip) for hop in origin.relays),
        helo=visible(origin.helo),
        mail_from=visible(case.envelope.mail_from),
        guessed=case.guessed,
    )


def _how(case: Case, origin: Origin) -> str:
    if origin.client_ip is None and origin.found is HowFound.PEER:
        return "not known" if not case.event_id else "submitted on this machine"
    return _HOW[origin.found]


def _spf(case: Case, result: SpfResult) -> Spf:
    helo = result.domain if result.scope is SpfScope.HELO else case.origin.helo
    trace = trace_spf(case.origin.client_ip, helo, case.envelope.mail_from, Answers(case.answers))
    return Spf(
        result=result.result.value,
        domain=visible(result.domain),
        identity="HELO" if result.scope is SpfScope.HELO else "MAIL FROM",
        reason=visible(result.reason),
        because=reasons.of_spf(result),
        steps=tell_steps(trace.steps),
        lookups=trace.lookups,
        max_lookups=MAX_LOOKUPS,
        void_lookups=trace.void_lookups,
        max_void_lookups=MAX_VOID_LOOKUPS,
        note=f"the steps end where no answer was recorded: {visible(trace.missing)}" if trace.missing else "",
    )


def _asked(case: Case) -> Iterator[Asked]:
    for question, answer in ({**case.used, **case.others}).items():
        shown = tuple(visible(record, 1000) for record in answer.records[:MAX_SHOWN_RECORDS])
        if len(answer.records) > MAX_SHOWN_RECORDS:
            shown += (f"… ({len(answer.records)} records)",)
        yield Asked(
            visible(question.name),
            question.rdtype.value,
            answer.status.value,
            shown,
            answer.ttl_seconds,
            visible(answer.reason),
            answer.authenticated,
            question in case.used,
        )


def _notes(case: Case) -> Iterator[str]:
    yield from case.notes
    if case.exceeded:
        yield f"the message used up its share of {case.exceeded} for the DNS; what was cut off counts as temporary"
    if case.author.incomplete:
        yield "the message has more Author Domains than are evaluated"
    if case.author.trailing_dot:
        yield "a domain in From was written with a dot at its end"
