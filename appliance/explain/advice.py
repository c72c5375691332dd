"""What the sender should fix, so that the next message passes."""

from collections.abc import Iterator, Sequence
from itertools import chain

from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.explain.case import Case
from appliance.explain.model import Advice, Aligned, Alignment, AuthorDomain, Signature, Spf
from appliance.explain.reasons import remedy_of_signature
from appliance.explain.visible import visible
from appliance.mail.authentication import Authentication, DkimWord, SpfWord
from appliance.mail.domain import domain_of

_SPF_ERRORS = {
    "more than 10 terms with DNS lookups": "keep the SPF record of {domain} within 10 look-ups: drop include, a, mx and "
    "ptr terms, or write ip4 and ip6 in their place (dmarcgate lookup {domain} counts them)",
    "more than 2 void lookups": "remove terms from the SPF record of {domain} that name hosts without addresses: only "
    "2 are allowed",
    "more than 10 MX": "remove the mx term from the SPF record of {domain}: it names a domain with more than 10 MX hosts",
    "several SPF records": "keep one v=spf1 record at {domain}: with several, none counts",
    "include of a domain without record": "remove the include from the SPF record of {domain}: there is no SPF record "
    "where it points",
    "redirect to a domain without record": "correct redirect= in the SPF record of {domain}: there is no SPF record "
    "where it points",
    "record includes itself": "remove the include of the record itself from the SPF record of {domain}",
}


def advise(
    case: Case, authors: tuple[AuthorDomain, ...], spf: Spf | None, signatures: tuple[Signature, ...]
) -> tuple[Advice, ...]:
    """Most urgent first; each once."""
    if case.author.unusable:
        domain = visible(domain_of(case.envelope.mail_from))
        return (Advice(domain, f"write one From field with a valid address ({case.author.unusable})"),)
    if case.authentication is None or spf is None:
        return ()
    found: list[Iterator[Advice]] = []
    for told, evaluation in zip(authors, case.evaluations, strict=True):
        found.append(_of_record(told, evaluation))
        if evaluation.result is not DmarcWord.PASS:
            found.append(_of_author(told, evaluation, case.authentication, case.origin.client_ip))
    found += [_of_spf(spf), _of_signatures(authors, signatures), _of_forgeries(case.evaluations)]
    return tuple(dict.fromkeys(chain.from_iterable(found)))


def _of_record(told: AuthorDomain, evaluation: Evaluation) -> Iterator[Advice]:
    """Mistakes in what is published."""
    own = told.walk.steps[0]
    if evaluation.published is not None:
        where = f"_dmarc.{evaluation.published.domain}"
        for problem in told.published.problems if told.published else ():
            yield Advice(evaluation.published.domain, f"correct the record at {where}: {problem}")
    elif own.is_record:
        yield Advice(told.domain, f"correct the record at {own.name}: without p and rua it says nothing")
    elif evaluation.result is DmarcWord.NONE:
        if own.discarded:
            yield Advice(told.domain, f"correct what stands at {own.name}: {own.found}")
        else:
            yield Advice(
                told.domain,
                f"publish a DMARC record, to begin with: {own.name} TXT "
                f'"v=DMARC1; p=none; rua=mailto:postmaster@{told.domain}"',
            )


def _of_author(
    told: AuthorDomain, evaluation: Evaluation, authentication: Authentication, client_ip: object
) -> Iterator[Advice]:
    """What keeps the message from passing for this domain."""
    if evaluation.result is DmarcWord.TEMPERROR:
        yield Advice(told.domain, f"make its name servers answer ({visible(evaluation.reason)})")
        return
    if evaluation.result is not DmarcWord.FAIL:
        return
    spf, *dkim = told.alignment
    passing = [row for row in dkim if row.result == DkimWord.PASS]
    if not any(row.aligned is not Aligned.NO for row in dkim):
        yield Advice(told.domain, _sign(told.domain, passing))
    if spf.aligned is Aligned.NO and spf.result == SpfWord.PASS:
        yield Advice(
            told.domain,
            f"send with a MAIL FROM within {told.walk.organizational_domain or told.domain}: SPF passes, but for "
            f"{spf.domain}",
        )
    elif spf.aligned is Aligned.YES and authentication.spf.result in {
        SpfWord.FAIL,
        SpfWord.SOFTFAIL,
        SpfWord.NEUTRAL,
        SpfWord.NONE,
    }:
        yield Advice(
            told.domain,
            f"if {client_ip} sends mail for {told.domain}, add it to the SPF record of {spf.domain}",
        )


def _sign(domain: str, passing: list[Alignment]) -> str:
    if not passing:
        return f"sign mail with DKIM, d={domain}, and publish the key below _domainkey.{domain}"
    signers = ", ".join(dict.fromkeys(row.domain for row in passing))
    return f"have mail signed with d={domain} as well: it is signed by {signers} only"


def _of_spf(spf: Spf) -> Iterator[Advice]:
    if spf.result == SpfWord.PERMERROR:
        text = _SPF_ERRORS.get(spf.reason, "correct the SPF record of {domain}: " + spf.reason)
        wrong = [step for step in spf.steps if step.term and step.outcome == spf.reason]
        at = f" (at {wrong[-1].term} in the record of {wrong[-1].domain})" if wrong else ""
        yield Advice(spf.domain, text.format(domain=spf.domain) + at)
    elif spf.result == SpfWord.TEMPERROR:
        yield Advice(spf.domain, f"make the name servers behind its SPF record answer ({spf.reason})")


def _of_signatures(authors: tuple[AuthorDomain, ...], signatures: tuple[Signature, ...]) -> Iterator[Advice]:
    """Signatures of the author that don't verify; others' concern others."""
    ours = {row.check for told in authors for row in told.alignment if row.aligned is not Aligned.NO}
    for signature in signatures:
        if f"DKIM {signature.number}" not in ours or signature.result in {DkimWord.PASS, DkimWord.TEMPERROR}:
            continue
        remedy = remedy_of_signature(signature.reason, signature.key_name)
        yield Advice(signature.domain, f"DKIM {signature.number}: {remedy}")


def _of_forgeries(evaluations: Sequence[Evaluation]) -> Iterator[Advice]:
    for evaluation in evaluations:
        if evaluation.result is DmarcWord.FAIL:
            text = "if the message is not theirs, nothing: then it is forged, and DMARC did its work"
            yield Advice(evaluation.author_domain, text)
