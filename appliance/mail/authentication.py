"""Results of the mechanisms, in the registered words of RFC 8601 section 2.7."""

from dataclasses import dataclass
from enum import StrEnum


class SpfWord(StrEnum):
    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    POLICY = "policy"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class DkimWord(StrEnum):
    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    POLICY = "policy"
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class ArcWord(StrEnum):
    NONE = "none"
    PASS = "pass"
    FAIL = "fail"


class SpfScope(StrEnum):
    """Which identity was checked; HELO stands in only for the null reverse path (RFC 7208 section 2.4)."""

    MAIL_FROM = "mfrom"
    HELO = "helo"


@dataclass(frozen=True, slots=True)
class SpfResult:
    """One SPF check (RFC 7208). *domain* is the checked domain as A-label, or ``""`` when it is no domain name."""

    result: SpfWord
    domain: str
    scope: SpfScope = SpfScope.MAIL_FROM
    reason: str = ""
    """Short, ours, printable ASCII: never text from the DNS."""


@dataclass(frozen=True, slots=True)
class DkimResult:
    """One DKIM-Signature (RFC 6376). *domain* and *selector* are A-labels, or ``""`` when they are no domain names."""

    result: DkimWord
    domain: str = ""
    selector: str = ""
    identity: str = ""
    """``i=`` when it is a safe address or domain, else ``""``."""
    algorithm: str = ""
    signature_start: str = ""
    """The first characters of ``b=``, enough to tell signatures apart (RFC 6008)."""
    reason: str = ""
    """Short, ours, printable ASCII: ``body hash``, ``key revoked``, ``rsa-sha1`` …"""
    testing: bool = False
    """The key record says ``t=y``."""


class Method(StrEnum):
    """A mechanism that a domain can be authenticated by."""

    SPF = "spf"
    DKIM = "dkim"
    DMARC = "dmarc"


@dataclass(frozen=True, slots=True)
class AssertedPass:
    """Somebody else's Authentication-Results say that *method* passed for *domain*, an A-label."""

    method: Method
    domain: str


@dataclass(frozen=True, slots=True)
class ArcSeal:
    """One ARC-Seal of the chain (RFC 8617): who sealed."""

    instance: int
    domain: str
    selector: str
    passes: tuple[AssertedPass, ...] = ()
    """What the sealer's own results say passed; read only where the sealer, and every newer one, is trusted."""


@dataclass(frozen=True, slots=True)
class ArcResult:
    """The chain's validation (RFC 8617 section 5.2). *seals* are newest first; filled on pass only."""

    result: ArcWord
    seals: tuple[ArcSeal, ...] = ()
    oldest_pass: int | None = None
    reason: str = ""
    first_hop: str = ""
    """The address that the first sealer had the message from, if it says so; read where a sealer is trusted."""


@dataclass(frozen=True, slots=True)
class Authentication:
    """What the mechanisms say about one message."""

    spf: SpfResult
    dkim: tuple[DkimResult, ...]
    """One per signature, top to bottom; empty when the message is unsigned."""
    arc: ArcResult
