"""Check SPF for the MAIL FROM identity (RFC 7208): pyspf, fed with recorded answers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from appliance.checks.answers import Answers, Missing
from appliance.checks.spf_query import SpfIdentity, SpfQuery
from appliance.log import get_logger
from appliance.mail.authentication import SpfResult, SpfScope, SpfWord
from appliance.mail.domain import InvalidDomain, domain_of, to_a_label
from appliance.mail.message import NULL_PATH, IPAddress
from appliance.resolver import Answer, Question, RecordType

_log = get_logger()

# What no two programs could read in two ways (T6). A blank is against RFC 5321, but does no harm.
_LOCAL_PART = re.compile(
    r"""[^\x00-\x1f\x7f"(),:;<>@\[\]\\]+ | "(?:[^\x00-\x1f\x7f"\\]|\\[\x20-\x7e])*" """, re.VERBOSE
)


@dataclass(frozen=True, slots=True)
class SpfOutcome:
    """What ``evaluate_spf`` found."""

    result: SpfResult
    shareable: bool
    """Whether every message of this client, domain and scope gets the same result from the same answers: no macro
    of the sender's local part or HELO name was expanded, and nothing was temporary."""
    used: Mapping[Question, Answer]
    """The answers that were read, in the order of their first use."""


def check_spf(client_ip: IPAddress | None, helo: str, mail_from: str, answers: Answers) -> SpfResult:
    """SPF of MAIL FROM, or of HELO for the null reverse path (RFC 7208 section 2.4).

    ``none`` when there is no client address, or no domain name of two labels or more to check (section 4.3). Raises
    ``Missing``. The explanation (``exp=``) is never fetched.
    """
    return evaluate_spf(client_ip, helo, mail_from, answers).result


def evaluate_spf(client_ip: IPAddress | None, helo: str, mail_from: str, answers: Answers) -> SpfOutcome:
    """What ``check_spf`` finds, and whether it may be shared."""
    identity = spf_identity(helo, mail_from)
    if client_ip is None:
        return _nothing_to_check(identity, "no client address")
    if "." not in identity.domain:
        return _nothing_to_check(identity, "no domain to check")
    query = SpfQuery(client_ip, identity, helo, answers)
    try:
        word = SpfWord(query.check()[0])
        result = SpfResult(word, identity.domain, identity.scope, query.reason(word))
    except Missing:
        raise
    except Exception:  # noqa: BLE001  what pyspf lets through must not stop the mail
        _log.exception("spf_check_failed", domain=identity.domain)
        result = SpfResult(SpfWord.PERMERROR, identity.domain, identity.scope, "internal error")
    shareable = not query.asked_for_sender and not query.met_trouble
    return SpfOutcome(result, shareable, query.used)


def explain_failure(
    client_ip: IPAddress | None,
    helo: str,
    mail_from: str,
    answers: Answers,
    *,
    now: datetime,
    receiver: str = "",
) -> str | None:
    """The domain owner's explanation of a ``fail`` (``exp=``, section 6.2): printable ASCII, theirs, hostile.

    ``None`` for other results, and when there is none or it can't be used. Raises ``Missing``. Never for the filter:
    its macros let a domain learn about our clients, and its text is for a sender (T15). *receiver* is our name, for
    those whose explanation asks for it.
    """
    identity = spf_identity(helo, mail_from)
    if client_ip is None or "." not in identity.domain:
        return None
    query = SpfQuery(client_ip, identity, helo, answers)
    try:
        if query.check()[0] != SpfWord.FAIL:
            return None
        query.t = str(int(now.timestamp()))
        query.r = receiver or "unknown"
        return query.explanation()
    except Missing:
        raise
    except Exception:  # noqa: BLE001  as above
        _log.exception("spf_explanation_failed", domain=identity.domain)
        return None


def spf_questions(client_ip: IPAddress | None, helo: str, mail_from: str) -> tuple[Question, ...]:
    """What ``check_spf`` asks first."""
    domain = spf_identity(helo, mail_from).domain
    if client_ip is None or "." not in domain:
        return ()
    return (Question(domain, RecordType.TXT),)


@lru_cache(maxsize=256)  # each message asks some times
def spf_identity(helo: str, mail_from: str) -> SpfIdentity:
    """The identity of MAIL FROM, or of HELO for the null reverse path."""
    if mail_from == NULL_PATH:
        return SpfIdentity(SpfScope.HELO, "postmaster", _a_label(helo))
    domain = domain_of(mail_from)
    local_part = mail_from[: len(mail_from) - len(domain)].removesuffix("@")
    if not local_part and domain:
        local_part = "postmaster"  # section 4.3
    if not _LOCAL_PART.fullmatch(local_part):
        return SpfIdentity(SpfScope.MAIL_FROM, "", "")
    return SpfIdentity(SpfScope.MAIL_FROM, local_part, _a_label(domain))


def _a_label(text: str) -> str:
    try:
        return to_a_label(text)
    except InvalidDomain:
        return ""


def _nothing_to_check(identity: SpfIdentity, reason: str) -> SpfOutcome:
    return SpfOutcome(
        SpfResult(SpfWord.NONE, identity.domain, identity.scope, reason), shareable=False, used={}
    )
