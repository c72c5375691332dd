"""The parts of an explanation. Every text in them is fit to be shown: visible and bounded, see ``visible``."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Aligned(StrEnum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Mail:
    """What the message says about itself. ``""`` where there is no such field."""

    header_from: str
    subject: str
    message_id: str
    date: str
    size_octets: int
    event_id: str = ""
    queue_id: str = ""


@dataclass(frozen=True, slots=True)
class Identities:
    """Who handed the message in, and under which names."""

    client_ip: str
    """The effective client's; ``""`` when it is unknown or there is none."""
    how: str
    """How the client was found."""
    relays: tuple[str, ...]
    """Known Hosts that handed the message on, the connected one first."""
    helo: str
    mail_from: str
    """``""`` is the null reverse path."""
    guessed: tuple[str, ...] = ()
    """What was taken from the message, because nobody gave it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to the DNS and what came back."""

    name: str
    type: str
    status: str
    records: tuple[str, ...]
    ttl_seconds: int
    reason: str
    """Why the DNS could not tell."""
    authenticated: bool
    for_verdict: bool
    """The verdict rests on it; else it was asked for this explanation only."""


@dataclass(frozen=True, slots=True)
class SpfStep:
    """A record as a whole (*term* is ``""``, *target* its text, *outcome* its result), or one term of it."""

    depth: int
    """How many includes deep."""
    domain: str
    """Whose record it is."""
    term: str
    target: str
    """The name the term asks about, macros expanded."""
    outcome: str
    means: str
    """What a match of the term says: pass, fail …"""
    lookups: int
    """Used up of the limit so far."""
    void_lookups: int


@dataclass(frozen=True, slots=True)
class Spf:
    result: str
    domain: str
    identity: str
    """``MAIL FROM`` or ``HELO``"""
    reason: str
    because: str
    """One sentence."""
    steps: tuple[SpfStep, ...]
    lookups: int
    max_lookups: int
    void_lookups: int
    max_void_lookups: int
    note: str = ""
    """What the steps can't tell."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One DKIM signature. ``""`` where a tag is absent or unusable, or the message is not kept."""

    number: int
    """From the top of the message, counted from 1."""
    result: str
    reason: str
    because: str
    domain: str
    selector: str
    identity: str
    algorithm: str
    canonicalization: str
    signed_fields: tuple[str, ...]
    body: str
    """What became of the body hash."""
    key_name: str
    key: str
    """What stands there."""
    testing: bool
    """The key record says ``t=y``, which changes nothing."""


@dataclass(frozen=True, slots=True)
class ArcSet:
    instance: str
    sealer: str
    selector: str
    chain: str
    """``cv=``, what the sealer says of the chain before it."""


@dataclass(frozen=True, slots=True)
class Arc:
    result: str
    because: str
    sets: tuple[ArcSet, ...]
    """Newest first."""


@dataclass(frozen=True, slots=True)
class WalkStep:
    """One name of a tree walk."""

    domain: str
    name: str
    """Below which the record would stand: ``_dmarc.`` and the domain."""
    found: str
    """What stood there, in a few words; a record's text."""
    is_record: bool
    note: str
    """What it means for the walk."""
    discarded: bool = False
    """Something was meant as a record, but does not count."""


@dataclass(frozen=True, slots=True)
class Walk:
    """The tree walk from *start* (RFC 9989 section 4.10)."""

    start: str
    steps: tuple[WalkStep, ...]
    organizational_domain: str
    """``""`` when it can't be told."""
    because: str


@dataclass(frozen=True, slots=True)
class Alignment:
    """One authenticated identifier against one Author Domain."""

    check: str
    """``SPF`` or ``DKIM 1`` …"""
    domain: str
    result: str
    aligned: Aligned
    mode: str
    because: str


@dataclass(frozen=True, slots=True)
class Published:
    """The policy that applies, and where it comes from."""

    record: str
    policy_domain: str
    where: str
    """Whose record it is, in words."""
    tag: str
    """Which of p, sp and np applies."""
    policy: str
    requested: str
    """After ``t=y``."""
    because: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuthorDomain:
    """What DMARC says about one Author Domain."""

    domain: str
    unicode: str
    """As people write it, when that differs; else ``""``."""
    result: str
    because: str
    walk: Walk
    alignment: tuple[Alignment, ...]
    published: Published | None
    row: str
    """The line of the action table, or ``""`` when local settings leave the domain out."""
    action: str
    overrides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Local:
    """What the settings make of it."""

    settings: str
    """Which settings."""
    action: str
    because: str
    reply: str
    """What the client is told, when the message isn't accepted."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What should be fixed, and by whom."""

    domain: str
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict and everything that led to it."""

    result: str
    because: str
    evaluated_at: datetime
    mail: Mail
    identities: Identities
    authors: tuple[AuthorDomain, ...]
    spf: Spf | None
    """``None``, like *arc*, when the message was not verified."""
    dkim: tuple[Signature, ...]
    arc: Arc | None
    local: Local
    walks: tuple[Walk, ...]
    """From the authenticated identifiers that are no Author Domains."""
    advice: tuple[Advice, ...]
    questions: tuple[Asked, ...]
    notes: tuple[str, ...] = ()
    """What this explanation can't tell, or leaves out."""
