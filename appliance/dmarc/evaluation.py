"""Does a message speak for its Author Domain, and what does that domain ask for if not (RFC 9989 section 5.3)."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from appliance.dmarc.discovery import Found, Lookup, LookupFailed, discover_policy, organizational_domain
from appliance.dmarc.record import AlignmentMode, DmarcRecord, Policy
from appliance.mail.authentication import DkimResult, DkimWord, SpfResult, SpfWord
from appliance.mail.domain import is_below


class DmarcWord(StrEnum):
    """The result, in the words of RFC 8601."""

    PASS = "pass"
    FAIL = "fail"
    NONE = "none"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What DMARC says about one Author Domain, before local policy."""

    author_domain: str
    result: DmarcWord
    published: Found | None = None
    """The record that was applied and where it stands; ``None`` when none is published or it is unusable."""
    policy: Policy | None = None
    """The ``p``, ``sp`` or ``np`` value that applies, before ``t=y`` lowers it; ``None`` without a record."""
    spf_aligned: bool = False
    """SPF passed for an aligned domain."""
    dkim_aligned: bool = False
    """A signature passed for an aligned domain."""
    organizational_domain: str = ""
    """The Author Domain's; ``""`` where the walk was not needed or failed."""
    broken_aligned_signature: bool = False
    """A signature names an aligned domain but doesn't verify: a list or relay may have changed the message."""
    reason: str = ""

    @property
    def policy_domain(self) -> str | None:
        return self.published.domain if self.published else None

    @property
    def requested(self) -> Policy | None:
        """What the domain owner asks for on failure, after ``t=y``; ``None`` without a record."""
        if self.policy is None or self.published is None or not self.published.record.testing:
            return self.policy
        return self.policy.one_step_down

    @property
    def testing(self) -> bool:
        """``t=y`` lowered the policy."""
        return self.requested is not self.policy


_BROKEN = frozenset({DkimWord.FAIL, DkimWord.PERMERROR, DkimWord.POLICY, DkimWord.NEUTRAL})

Exists = Callable[[], bool]
"""Whether the Author Domain exists, that is, is not NXDOMAIN; raises ``LookupFailed``."""


def evaluate(
    author_domain: str, spf: SpfResult, dkim: tuple[DkimResult, ...], lookup: Lookup, exists: Exists
) -> Evaluation:
    """Evaluate one Author Domain; *lookup* and *exists* are asked only for what the verdict needs.

    What those raise besides ``LookupFailed`` passes through.
    """
    try:
        found = discover_policy(author_domain, lookup)
    except LookupFailed as failure:
        return Evaluation(author_domain, DmarcWord.TEMPERROR, reason=f"policy discovery: {failure}")
    applied = found.record.as_applied() if found else None
    if found is None or applied is None:
        reason = "the published record is unusable" if found else ""
        return Evaluation(author_domain, DmarcWord.NONE, reason=reason)
    published = Found(found.domain, applied)
    alignment = _Alignment(author_domain, applied, lookup)
    spf_aligned = spf.result is SpfWord.PASS and alignment.spf(spf.domain)
    dkim_aligned = _any_aligned(dkim, alignment)
    if spf_aligned or dkim_aligned:
        return Evaluation(
            author_domain,
            DmarcWord.PASS,
            published,
            _policy_that_applies(author_domain, published, lambda: True),
            spf_aligned=spf_aligned,
            dkim_aligned=dkim_aligned,
            organizational_domain=alignment.known_organizational(),
        )
    return _without_pass(author_domain, published, spf, dkim, alignment, exists)


def _any_aligned(dkim: tuple[DkimResult, ...], alignment: "_Alignment") -> bool:
    passed = {signature.domain for signature in dkim if signature.result is DkimWord.PASS}
    return any(alignment.dkim(domain) for domain in sorted(passed, key=alignment.nearness))


def _without_pass(
    author_domain: str,
    published: Found,
    spf: SpfResult,
    dkim: tuple[DkimResult, ...],
    alignment: "_Alignment",
    exists: Exists,
) -> Evaluation:
    """fail, or temperror when something that the DNS could not tell now might have passed (section 5.3.6)."""
    undecided = _undecided(spf, dkim, alignment)
    policy: Policy | None = None
    try:
        policy = _policy_that_applies(author_domain, published, exists)
    except LookupFailed as failure:
        undecided = undecided or f"existence of the author domain: {failure}"
    broken = any(_is_broken(s) and alignment.may_align(s.domain, published.record.adkim) for s in dkim)
    return Evaluation(
        author_domain,
        DmarcWord.TEMPERROR if undecided else DmarcWord.FAIL,
        published,
        policy,
        organizational_domain=alignment.known_organizational(),
        broken_aligned_signature=broken,
        reason=undecided,
    )


def _is_broken(signature: DkimResult) -> bool:
    """A failing signature by a key under test is as good as none (RFC 6376 section 3.6.1)."""
    return signature.result in _BROKEN and not signature.testing


def _undecided(spf: SpfResult, dkim: tuple[DkimResult, ...], alignment: "_Alignment") -> str:
    """Why the message can't be called a failure; ``""`` when it can. Asked before signs of indirect mail add walks."""
    if alignment.failure:
        return f"organizational domain: {alignment.failure}"
    if spf.result is SpfWord.TEMPERROR and alignment.would_align(alignment.spf, spf.domain):
        return "SPF of an aligned domain could not be checked"
    for signature in dkim:
        if signature.result is DkimWord.TEMPERROR and alignment.would_align(alignment.dkim, signature.domain):
            return "the key of an aligned signature could not be fetched"
    return ""


def _policy_that_applies(author_domain: str, published: Found, exists: Exists) -> Policy:
    """``p`` at the author's own name; above it ``sp``, or ``np`` for a name that doesn't exist (section 4.7)."""
    record = published.record
    own = record.p or Policy.NONE
    if published.domain == author_domain:
        return own
    subdomain = record.sp or own
    nonexistent = record.np or subdomain
    if nonexistent is subdomain or exists():
        return subdomain
    return nonexistent


class _Alignment:
    """Compares identifiers with the Author Domain in the record's modes; remembers what the DNS could not tell."""

    def __init__(self, author_domain: str, record: DmarcRecord, lookup: Lookup) -> None:
        self._author = author_domain
        self._record = record
        self._lookup = lookup
        self._organizational: dict[str, str] = {}
        self.failure = ""

    def spf(self, domain: str) -> bool:
        return self._aligned(domain, self._record.aspf)

    def dkim(self, domain: str) -> bool:
        return self._aligned(domain, self._record.adkim)

    def would_align(self, compare: Callable[[str], bool], domain: str) -> bool:
        """Like *compare*; an unknown Organizational Domain counts as aligned, so that no failure is made up."""
        before, self.failure = self.failure, ""
        aligned = compare(domain) or bool(self.failure)
        self.failure = before
        return aligned

    def nearness(self, domain: str) -> tuple[bool, str]:
        """Sorts identical names first: they need no walk."""
        return domain != self._author, domain

    def known_organizational(self) -> str:
        return self._organizational.get(self._author, "")

    def may_align(self, domain: str, mode: AlignmentMode) -> bool:
        """Whether *domain* could be aligned, without a walk from it: one whole message's signatures may ask."""
        if domain == self._author:
            return True
        if not domain or mode is AlignmentMode.STRICT or not _share_a_suffix(domain, self._author):
            return False
        try:
            organizational = self._organizational_of(self._author)
        except LookupFailed:
            return True
        return domain == organizational or is_below(domain, organizational)

    def _aligned(self, domain: str, mode: AlignmentMode) -> bool:
        """Equal names, or equal Organizational Domains when *mode* is relaxed.

        A name outside the author's Organizational Domain can't share it. It is not walked from, so that the sender's
        own DNS, by failing or by being vast, can't make the verdict temperror (section 5.3.6).
        """
        if domain == self._author:
            return True
        if not self.may_align(domain, mode):
            return False
        try:
            return self._organizational_of(self._author) == self._organizational_of(domain)
        except LookupFailed as failure:
            self.failure = str(failure)
            return False

    def _organizational_of(self, domain: str) -> str:
        if domain not in self._organizational:
            self._organizational[domain] = organizational_domain(domain, self._lookup)
        return self._organizational[domain]


def _share_a_suffix(one: str, other: str) -> bool:
    """Names under different top-level domains can't have one Organizational Domain, so no walk is needed."""
    return one.rpartition(".")[2] == other.rpartition(".")[2]
