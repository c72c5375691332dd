"""Check SPF for the MAIL FROM identity (RFC 7208): pyspf, fed with recorded answers."""

import re
from contextvars import ContextVar
from typing import Any

import spf

from appliance.checks.answers import Answers, Missing
from appliance.log import get_logger
from appliance.mail.authentication import SpfResult, SpfScope, SpfWord
from appliance.mail.domain import InvalidDomain, domain_of, to_a_label
from appliance.mail.message import NULL_PATH, IPAddress
from appliance.resolver import Question, RecordType, TemporaryDnsError

_answers: ContextVar[Answers] = ContextVar("spf_answers")
_log = get_logger()

_LOCAL_PART = re.compile(
    r"""[^\x00-\x20\x7f"(),:;<>@\[\]\\]+ | "(?:[^\x00-\x1f\x7f"\\]|\\[\x20-\x7e])*" """, re.VERBOSE
)
_MESSAGES = {
    "Too many DNS lookups": "more than 10 terms with DNS lookups",
    "Void lookup limit": "more than 2 void lookups",
    "More than 10 MX": "more than 10 MX",
    "Two or more type TXT": "several SPF records",
    "No valid SPF record for included": "include of a domain without record",
    "redirect domain has no SPF": "redirect to a domain without record",
    "include has trivial recursion": "record includes itself",
}
"""How pyspf's messages of permanent errors start, and what we say: theirs may quote the DNS."""


def check_spf(client_ip: IPAddress | None, helo: str, mail_from: str, answers: Answers) -> SpfResult:
    """SPF of MAIL FROM, or of HELO for the null reverse path (RFC 7208 section 2.4).

    ``none`` when there is no client address, or no domain name of two labels or more to check (section 4.3). Raises
    ``Missing``. The explanation (``exp=``) is never fetched.
    """
    scope = SpfScope.HELO if mail_from == NULL_PATH else SpfScope.MAIL_FROM
    local_part, domain = _identity(helo, mail_from)
    if client_ip is None:
        return SpfResult(SpfWord.NONE, domain, scope, "no client address")
    if "." not in domain:
        return SpfResult(SpfWord.NONE, domain, scope, "no domain to check")
    token = _answers.set(answers)
    try:
        query = _Query(client_ip, local_part, domain, helo)
        word = SpfWord(query.check()[0])
        return SpfResult(word, domain, scope, query.reason(word))
    except Missing:
        raise
    except Exception:  # noqa: BLE001  what pyspf lets through, such as name and IDNA trouble
        _log.exception("spf_check_failed", domain=domain)
        return SpfResult(SpfWord.PERMERROR, domain, scope, "internal error")
    finally:
        _answers.reset(token)


def spf_questions(client_ip: IPAddress | None, helo: str, mail_from: str) -> tuple[Question, ...]:
    """What ``check_spf`` asks first."""
    _, domain = _identity(helo, mail_from)
    if client_ip is None or "." not in domain:
        return ()
    return (Question(domain, RecordType.TXT),)


def _identity(helo: str, mail_from: str) -> tuple[str, str]:
    """Local part and domain to check; the domain is ``""`` when it is no domain name."""
    if mail_from == NULL_PATH:
        return "postmaster", _a_label(helo)
    domain = domain_of(mail_from)
    local_part = mail_from[: len(mail_from) - len(domain)].removesuffix("@")
    if not _LOCAL_PART.fullmatch(local_part):
        return "", ""
    return local_part, _a_label(domain)


def _a_label(text: str) -> str:
    try:
        return to_a_label(text)
    except InvalidDomain:
        return ""


class _Query(spf.query):  # type: ignore[misc]  # pyspf has no types
    """One check. Overrides what pyspf does otherwise than RFC 7208 says, or one question at a time."""

    def __init__(self, client_ip: IPAddress, local_part: str, domain: str, helo: str) -> None:
        super().__init__(i=str(client_ip), s=f"{local_part}@{domain}", h=helo, strict=True)
        self.l = local_part  # pyspf splits at the first @, which may be a quoted one
        self.o = self.d = domain

    def reason(self, word: SpfWord) -> str:
        if word is SpfWord.TEMPERROR:
            return str(self.prob)  # our own, from the resolver
        if word is not SpfWord.PERMERROR:
            return ""
        return next(
            (ours for start, ours in _MESSAGES.items() if self.prob.startswith(start)), "invalid record"
        )

    def get_explanation(self, spec: str) -> None:
        """Never fetched: its text is for the sender, its macros let a domain spy on recipients' machines."""

    def dns_mx(self, domainname: str) -> list[str]:
        hosts = self.dns(domainname, "MX")
        if len(hosts) <= spf.MAX_MX:
            self._ask_together([host for _, host in hosts])
        return super().dns_mx(domainname)  # type: ignore[no-any-return]

    def validated_ptrs(self) -> list[str]:
        """A DNS error at the PTR record or at a name's address is no match, not an error (section 5.5)."""
        try:
            names = self.dns_ptr(self.i)[: spf.MAX_PTR]
        except spf.TempError:
            return []
        self._ask_together(names)
        return [name for name in names if self._points_back(name)]

    def _points_back(self, name: str) -> bool:
        try:
            return bool(self.cidrmatch(self.dns_a(name, self.A), self.cidrmax))
        except spf.TempError:
            return False

    def _ask_together(self, hosts: list[str]) -> None:
        """Let the addresses of *hosts* be asked for in one round."""
        questions = [_question(host, self.A) for host in hosts]
        _answers.get().ask_together(question for question in questions if question)


def _question(name: str, rdtype: str) -> Question | None:
    """``None`` for names that can't be in the DNS."""
    if not name.isascii() or not name.strip("."):
        return None
    return Question(name.lower().removesuffix("."), RecordType(rdtype))


def _lookup(name: str, rdtype: str, _strict: Any, _timeout: float) -> list[tuple[tuple[str, str], Any]]:
    """Stands in for pyspf's DNS."""
    question = _question(name, rdtype)
    if question is None:
        return []
    try:
        records = _answers.get().records(question.name, question.rdtype)
    except TemporaryDnsError as trouble:
        raise spf.TempError(str(trouble)) from None
    return [((name, rdtype), _data(question.rdtype, record)) for record in records]


def _data(rdtype: RecordType, record: bytes) -> Any:
    """A record in the form pyspf expects for its type."""
    if rdtype is RecordType.TXT:
        return (record,)
    text = record.decode("ascii", "replace")
    if rdtype is RecordType.MX:
        preference, _, host = text.partition(" ")
        return int(preference), host
    return text


spf.DNSLookup = _lookup
