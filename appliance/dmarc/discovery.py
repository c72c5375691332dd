"""Find the record that speaks for a domain, and its Organizational Domain, by tree walk (RFC 9989 section 4.10)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from appliance.dmarc.record import DmarcRecord, Psd

MAX_WALK_LABELS = 7  # longer names are cut down to these after the first query: 8 queries at most
MAX_WALK_OCTETS = 253 - len("_dmarc.")  # a longer name can't carry a record (DISC-28)

Lookup = Callable[[str], DmarcRecord | None]
"""The record at ``_dmarc.`` + a domain, or ``None``; raises ``LookupFailed`` when the DNS can't tell now."""


class LookupFailed(Exception):
    """The DNS could not answer now; trying later may help."""


@dataclass(frozen=True, slots=True)
class Found:
    """A record and the domain it was found at (below ``_dmarc.``)."""

    domain: str
    record: DmarcRecord


def tree_walk_names(domain: str) -> tuple[str, ...]:
    """The domains a tree walk from *domain* visits, longest first.

    >>> tree_walk_names("a.mail.example.com")
    ('a.mail.example.com', 'mail.example.com', 'example.com', 'com')
    """
    labels = domain.split(".")
    rest = labels[1:] if len(labels) <= MAX_WALK_LABELS else labels[-MAX_WALK_LABELS:]
    return (domain, *(".".join(rest[at:]) for at in range(len(rest))))


def walk(domain: str, lookup: Lookup) -> Iterator[Found]:
    """The records met on a tree walk from *domain*, longest name first; ends after one with ``psd=y`` or ``psd=n``."""
    for name in tree_walk_names(domain):
        record = lookup(name) if len(name) <= MAX_WALK_OCTETS else None
        if record is None:
            continue
        yield Found(name, record)
        if record.psd is not Psd.UNKNOWN:
            return


def organizational_domain(domain: str, lookup: Lookup) -> str:
    """The Organizational Domain of *domain* (RFC 9989 section 4.10.2)."""
    return _organizational(domain, tuple(walk(domain, lookup)))


def discover_policy(author_domain: str, lookup: Lookup) -> Found | None:
    """The record that speaks for *author_domain*: its own, its Organizational Domain's, or the suffix's, or none.

    RFC 9989 section 4.10.1. A record at another name in between is not used.
    """
    found: list[Found] = []
    for candidate in walk(author_domain, lookup):
        if candidate.domain == author_domain:
            return candidate
        found.append(candidate)
    organizational = _organizational(author_domain, found)
    for candidate in found:
        if candidate.domain == organizational:
            return candidate
    return next((candidate for candidate in found if candidate.record.psd is Psd.YES), None)


def _organizational(start: str, found: Sequence[Found]) -> str:
    for candidate in found:
        if candidate.record.psd is Psd.NO:
            return candidate.domain
        if candidate.record.psd is Psd.YES and candidate.domain != start:
            below = start.removesuffix("." + candidate.domain)
            return f"{below.rpartition('.')[2]}.{candidate.domain}"
    return found[-1].domain if found else start
