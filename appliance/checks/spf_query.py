"""The evaluation of one SPF check: pyspf's limits and order, fed with recorded answers (RFC 7208)."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

import spf

from appliance.checks.answers import Answers, Missing
from appliance.checks.spf_macros import expand, expand_name, is_explanation
from appliance.checks.spf_record import InvalidRecord, Mechanism, choose_record, parse_record
from appliance.mail.authentication import SpfScope, SpfWord
from appliance.mail.domain import MAX_LABEL_OCTETS, MAX_NAME_OCTETS
from appliance.mail.message import IPAddress
from appliance.resolver import Answer, Question, RecordType, TemporaryDnsError

MAX_EXPLANATION_OCTETS = 1024  # it is made for an SMTP reply; a longer one is nobody's honest text
WIDE = "spf-wide"
"""The reason of a pass that nearly anybody would get (T16)."""
_TOO_MANY_TERMS = "more than 10 terms with DNS lookups"


@dataclass(frozen=True, slots=True)
class SpfIdentity:
    """Who is checked; the domain is ``""`` when it is no domain name."""

    scope: SpfScope
    local_part: str
    domain: str


@dataclass(frozen=True, slots=True)
class SpfStep:
    """One term as it was evaluated, for people."""

    domain: str
    """Whose record it stands in."""
    depth: int
    """0 for the record of the checked domain and those it redirects to, one more in every include."""
    term: str
    """As published: printable ASCII, but otherwise hostile."""
    target: str
    """The name asked about, ``""`` where there is none."""
    outcome: str
    """``match``, ``no match``, or why the evaluation ended here, in our words."""
    lookups: int
    """Terms with DNS lookups up to here, this one included; at most 10."""
    void_lookups: int
    """Lookups that found nothing up to here; at most 2."""


class _NoMatch(Exception):
    """The term can't match anything, and doesn't spoil the record either."""


class SpfQuery(spf.query):  # type: ignore[misc]  # pyspf has no types
    """One check.

    Overrides what pyspf does otherwise than RFC 7208 says (it expands all macros and counts the redirection before
    the first mechanism is looked at, looks at every exchanger, and so on), and all of its DNS.
    """

    keeps_steps = False

    def __init__(self, client_ip: IPAddress, identity: SpfIdentity, helo: str, answers: Answers) -> None:
        if isinstance(client_ip, IPv6Address):
            client_ip = client_ip.ipv4_mapped or IPv6Address(int(client_ip))  # SPF-13; and without a zone
        super().__init__(i=str(client_ip), s="", h=helo, strict=True)
        self.s = f"{identity.local_part}@{identity.domain}"
        self.l = identity.local_part  # pyspf splits at the first @, which may be a quoted one
        self.o = self.d = identity.domain
        self.used: dict[Question, Answer] = {}
        self.steps: list[SpfStep] = []
        self.asked_for_sender = False
        self.met_trouble = False
        self._version = client_ip.version
        self._client = int(client_ip)
        self._addresses = RecordType(self.A)
        self._answers = answers
        self._parts: dict[tuple[str, str, frozenset[str]], list[str]] = {}
        self._validated: dict[str, str] = {}
        self._explains = ("", "")
        self._counts_voids = True
        self._is_wide = False

    def reason(self, word: SpfWord) -> str:
        if word is SpfWord.TEMPERROR:
            return str(self.prob)  # our own, from the resolver
        if word is SpfWord.PERMERROR:
            return in_our_words(self.perm_error)
        return WIDE if word is SpfWord.PASS and self._is_wide else ""

    def explanation(self) -> str | None:
        """After a ``fail``: the text published for it, expanded. Raises ``Missing``."""
        spec, self.d = self._explains
        self._counts_voids = False
        if not spec:
            return None
        try:
            texts = self._records(expand_name(spec, self._split), RecordType.TXT)
            if len(texts) != 1:
                return None
            text = texts[0].decode("ascii")
            if not is_explanation(text) or len(text) > MAX_EXPLANATION_OCTETS:
                return None
            text = expand(text, self._split)
        except (spf.TempError, UnicodeDecodeError, _NoMatch):
            return None
        return text if text and text.isprintable() and len(text) <= MAX_EXPLANATION_OCTETS else None

    # ---- the evaluation, in place of pyspf's ----

    def dns_spf(self, domain: str) -> str | None:
        if "." not in domain.removesuffix("."):
            return None  # section 4.3
        return choose_record(self._records(domain, RecordType.TXT))

    def check0(self, spf: str | None, recursion: int) -> tuple[str, int, str]:
        """The result of the record *spf* of the domain ``self.d``; pyspf wants a code and a text beside it."""
        if spf is None:
            return SpfWord.NONE, 250, ""
        record = parse_record(spf, self._version)
        if not recursion:
            self._explains = record.explanation, self.d  # a redirection replaces it, an include has no say
        for mechanism in record.mechanisms:
            if self._step(mechanism, recursion):
                if mechanism.name != "include":  # which is as wide as what matched in there
                    self._is_wide = mechanism.is_wide(self._version)
                return mechanism.result, 250, ""
        if not record.redirect:
            return SpfWord.NEUTRAL, 250, ""
        return self._redirect(record.redirect, recursion)

    def _redirect(self, spec: str, recursion: int) -> tuple[str, int, str]:
        self.check_lookups()
        target = ""
        with suppress(_NoMatch):
            target = expand_name(spec, self._split)
        if self.keeps_steps:
            self._note(recursion, f"redirect={spec}", target, "followed")
        found = self.dns_spf(target)
        if found is None:
            raise InvalidRecord("redirect to a domain without record")
        result: tuple[str, int, str] = self.check1(found, target, recursion)
        return result

    def _step(self, mechanism: Mechanism, recursion: int) -> bool:
        """Whether *mechanism* matches; noted on request."""
        if not self.keeps_steps:
            return self._evaluate(mechanism, recursion)
        place, outcome = len(self.steps), ""
        self._note(recursion, mechanism.text, "", outcome)
        try:
            matched = self._evaluate(mechanism, recursion)
            outcome = "match" if matched else "no match"
        except (spf.PermError, spf.TempError) as error:
            outcome = in_our_words(error)
            raise
        finally:
            self._note(recursion, mechanism.text, self._shown(mechanism.domain_spec), outcome, place)
        return matched

    def _note(self, depth: int, term: str, target: str, outcome: str, place: int | None = None) -> None:
        step = SpfStep(self.d, depth, term, target, outcome, self.lookups, self.void_lookups)
        if place is None:
            self.steps.append(step)
        else:
            self.steps[place] = step

    def _shown(self, spec: str) -> str:
        with suppress(_NoMatch, Missing, spf.PermError):
            return expand_name(spec, self._split)
        return ""

    def _evaluate(self, mechanism: Mechanism, recursion: int) -> bool:
        target = ""
        if mechanism.domain_spec:
            self.check_lookups()
            try:
                target = expand_name(mechanism.domain_spec, self._split)
            except _NoMatch:
                return False
        return self._matches(mechanism, target, recursion)

    def _matches(self, mechanism: Mechanism, target: str, recursion: int) -> bool:
        match mechanism.name:
            case "all" | "ip4" | "ip6":
                return self._is_within(mechanism)
            case "include":
                return self._includes(target, recursion)
            case "a":
                return self._is_at(target, mechanism.prefix)
            case "mx":
                return any(self._is_at(host, mechanism.prefix) for host in self._exchangers(target))
            case "exists":
                return bool(self._records(target, RecordType.A))
            case _:
                return self._points_below(target)

    def _is_within(self, mechanism: Mechanism) -> bool:
        if mechanism.name == "all":
            return True
        shift: int = self.cidrmax - mechanism.prefix
        return mechanism.name == f"ip{self._version}" and self._client >> shift == mechanism.network

    def _includes(self, target: str, recursion: int) -> bool:
        if target.lower() == self.d.lower():
            raise InvalidRecord("record includes itself")  # whatever comes before it will fail to match again
        found = self.dns_spf(target)
        if found is None:
            raise InvalidRecord("include of a domain without record")
        return bool(self.check1(found, target, recursion + 1)[0] == SpfWord.PASS)

    def _is_at(self, host: str, prefix: int) -> bool:
        """Whether the client's address is one of *host*, as far as the first *prefix* bits go."""
        shift = self.cidrmax - prefix
        client = self._client >> shift
        return any(_address(text) >> shift == client for text in self._records(host, self._addresses))

    def _exchangers(self, domain: str) -> Iterator[str]:
        """The mail exchangers, best first; a later one is looked at only when those before it don't match."""
        records = [record.split(b" ", 1) for record in self._records(domain, RecordType.MX)]
        if len(records) > spf.MAX_MX:
            raise InvalidRecord("more than 10 MX")
        hosts = [host.decode("ascii") for _, host in sorted(records, key=lambda r: (int(r[0]), r[1]))]
        self._ask_together(hosts)
        yield from hosts

    # ---- the names of the client's address (section 5.5) ----

    def _points_below(self, domain: str) -> bool:
        """``ptr``. Only names that could match are looked at: it takes fewer questions."""
        domain = domain.lower()
        names = [name for name in self._pointers() if name == domain or name.endswith("." + domain)]
        return bool(self._first_validated(names))

    def getp(self) -> str:
        """``%{p}``: the current domain if it is a name of the client, or else one below it, or else any."""
        domain = self.d.lower()
        if domain not in self._validated:
            self._validated[domain] = self._validated_name(domain)
        return self._validated[domain]

    def _validated_name(self, domain: str) -> str:
        names = self._pointers()
        below = [name for name in names if name.endswith("." + domain)]
        others = [name for name in names if name != domain and name not in below]
        for group in ([name for name in names if name == domain][:1], below, others):
            if name := self._first_validated(group):
                return name
        return "unknown"

    def _pointers(self) -> list[str]:
        """At most ten (section 4.6.4). A DNS error here, or at an address, is no match."""
        name = f"{spf.reverse_dots(self.i)}.{self.v}.arpa"
        try:
            return [record.decode("ascii") for record in self._records(name, RecordType.PTR)[: spf.MAX_PTR]]
        except spf.TempError:
            return []

    def _first_validated(self, names: list[str]) -> str:
        """The first of *names* that has the client's address, or ``""``."""
        self._ask_together(names)
        for name in names:
            try:
                if self._is_at(name, self.cidrmax):
                    return name
            except spf.TempError:
                continue
        return ""

    # ---- macros and DNS ----

    def _split(self, letter: str, delimiters: str) -> list[str]:
        """The value of a macro's letter in parts; those that don't change are split once."""
        if letter in "slh":
            self.asked_for_sender = True
        key = letter, self.d if letter in "dp" else "", frozenset(delimiters)
        parts = self._parts.get(key)
        if parts is None:
            value = self.getp() if letter == "p" else str(getattr(self, letter))
            if letter in "slh" and not value.isascii():
                raise _NoMatch  # can't be in the DNS (RFC 8616 section 4)
            parts = self._parts[key] = re.split(f"[{re.escape(delimiters)}]", value)
        return parts

    def _records(self, name: str, rdtype: RecordType) -> tuple[bytes, ...]:
        """The records at *name*; nothing there is counted, up to three times."""
        question = question_of(name, rdtype)
        if question is None:
            return ()
        try:
            answer = self._answers.get(question)
        except TemporaryDnsError as trouble:
            self.met_trouble = True
            raise spf.TempError(str(trouble)) from None
        self.used[question] = answer
        if not answer.records and self._counts_voids:
            self.void_lookups += 1
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise InvalidRecord("more than 2 void lookups")
        return answer.records

    def _ask_together(self, hosts: Iterable[str]) -> None:
        """Let the addresses of *hosts* be asked for in one round."""
        questions = [question_of(host, self._addresses) for host in hosts]
        self._answers.ask_together(question for question in questions if question)


def in_our_words(error: Exception) -> str:
    """Why an evaluation ended. pyspf's own messages may quote the DNS; the only one left is of its count of terms."""
    return str(error) if isinstance(error, InvalidRecord | spf.TempError) else _TOO_MANY_TERMS


@lru_cache(maxsize=16_384)
def _address(text: bytes) -> int:
    return int(ip_address(text.decode("ascii")))


@lru_cache(maxsize=16_384)
def question_of(name: str, rdtype: RecordType) -> Question | None:
    """``None`` for names that can't be in the DNS: asking would be in vain, and their absence is no void lookup."""
    name = name.lower().removesuffix(".")
    if not name.isascii() or len(name) > MAX_NAME_OCTETS:
        return None
    if not all(0 < len(label) <= MAX_LABEL_OCTETS for label in name.split(".")):
        return None
    return Question(name, rdtype)
