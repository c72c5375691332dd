"""What an aggregate report says about one message and Author Domain (RFC 9990). No local part of an address (T27)."""

import re
from dataclasses import dataclass
from functools import lru_cache

from appliance.dmarc.discovery import Found
from appliance.mail.authentication import DkimResult, DkimWord, SpfScope
from appliance.mail.domain import InvalidDomain, domain_of, is_below, to_a_label
from appliance.mail.message import Envelope
from appliance.policy import Judgement, Outcome
from appliance.store.records import MessageRecord

MAX_SIGNATURES = 100  # AGG-12
MAX_COMMENT = 200  # AGG-15
MAX_ERROR = 1000

_NOT_PLAIN = re.compile(r"[^ -?A-~]")  # all but printable ASCII, and the @ of an address
_WORD = re.compile(r"[^\s<>@]+(@)?")  # with the @ after a local part


@dataclass(frozen=True, slots=True)
class PublishedPolicy:
    """A policy configuration, with default values filled in (AGG-08)."""

    p: str
    sp: str
    np: str
    adkim: str
    aspf: str
    fo: str
    testing: bool
    error: str = ""
    """Why p, sp and np are ``none`` in place of what is published (DISC-12)."""


@dataclass(frozen=True, slots=True)
class ReportRow:
    """Every field of a report's record but the count."""

    policy_domain: str
    published: PublishedPolicy
    rua_present: bool
    source_ip: str
    disposition: str
    dkim_aligned: bool
    spf_aligned: bool
    reasons: tuple[tuple[str, str], ...]
    """``(type, comment)``."""
    header_from: str
    envelope_from: str
    """The domain; ``""`` for the null reverse path."""
    envelope_to: str
    """The recipients' domain when they share one, else ``""``."""
    dkim: tuple[tuple[str, str, str, str], ...]
    """``(domain, selector, result, human_result)``, in the order of AGG-12."""
    spf_domain: str
    """``""`` when neither MAIL FROM nor HELO named a domain."""
    spf_scope: str
    """Always ``mfrom``: HELO stands in for the null reverse path only (AGG-13)."""
    spf_result: str
    causes_report: bool = True
    """Whether this message may cause the report that counts it; no part of the report."""


def row_of(record: MessageRecord, judgement: Judgement) -> ReportRow | None:
    """``None`` for what reports don't count: not verified, no usable record, client unknown, or deferred (AGG-07)."""
    verdict, evaluation = record.verdict, judgement.evaluation
    authentication, found = record.authentication, evaluation.published
    if not verdict.verified or authentication is None or found is None or record.client_ip is None:
        return None
    if verdict.outcome is Outcome.DEFER:
        return None
    policy_domain, published, rua_present = _published(found)
    return ReportRow(
        policy_domain=policy_domain,
        published=published,
        rua_present=rua_present,
        source_ip=str(record.client_ip),
        disposition=verdict.disposition(judgement).value,
        dkim_aligned=evaluation.dkim_aligned,
        spf_aligned=evaluation.spf_aligned,
        reasons=tuple((o.type.value, plain(o.comment, MAX_COMMENT)) for o in judgement.overrides),
        header_from=evaluation.author_domain,
        envelope_from=_a_label(domain_of(record.envelope.mail_from)),
        envelope_to=_recipients_domain(record.envelope) if record.recipient_domain else "",
        dkim=_signatures(authentication.dkim, judgement),
        spf_domain=authentication.spf.domain,
        spf_scope=SpfScope.MAIL_FROM.value,
        spf_result=authentication.spf.result.value,
        causes_report=record.causes_report,
    )


@lru_cache(maxsize=4096)
def _published(found: Found) -> tuple[str, PublishedPolicy, bool]:
    record = found.record
    p = (record.p or "none").lower()
    sp = (record.sp or p).lower()
    published = PublishedPolicy(
        p=p,
        sp=sp,
        np=(record.np or sp).lower(),
        adkim=record.adkim.value,
        aspf=record.aspf.value,
        fo=record.fo,
        testing=record.testing,
        error=plain("; ".join(record.problems), MAX_ERROR) if record.misstates_policy else "",
    )
    return found.domain, published, bool(record.rua)


def _signatures(
    signatures: tuple[DkimResult, ...], judgement: Judgement
) -> tuple[tuple[str, str, str, str], ...]:
    """Strictly aligned passes first, then relaxed ones, other passes, failures; those without a domain can't be named."""
    evaluation = judgement.evaluation

    def rank(signature: DkimResult) -> int:
        if signature.result is not DkimWord.PASS:
            return 3
        if signature.domain == evaluation.author_domain:
            return 0
        organizational = evaluation.organizational_domain
        inside = signature.domain == organizational or is_below(signature.domain, organizational)
        return 1 if evaluation.dkim_aligned and organizational and inside else 2

    named = [signature for signature in signatures if signature.domain]
    if len(named) > 1:
        named.sort(key=rank)
    return tuple(
        (s.domain, s.selector, s.result.value, plain(s.reason, MAX_COMMENT)) for s in named[:MAX_SIGNATURES]
    )


def _recipients_domain(envelope: Envelope) -> str:
    domains = {_a_label(domain_of(recipient.address)) for recipient in envelope.recipients}
    return domains.pop() if len(domains) == 1 else ""


def _a_label(domain: str) -> str:
    try:
        return to_a_label(domain)
    except InvalidDomain:
        return ""


def plain(text: str, limit: int) -> str:
    """Printable ASCII only, and no address, not even its local part: whatever it was made from, none gets into a report."""
    shown = text[: 2 * limit]
    if "@" in shown:
        shown = _WORD.sub(lambda word: "?" if word[1] else word[0], shown)
    return _NOT_PLAIN.sub("?", shown[:limit])
