"""What the checks accept and how much they spend on one message."""

from collections.abc import Container
from dataclasses import dataclass

from appliance.settings import Settings
from appliance.settings.records import DomainSet


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """Defaults are the product's; the administrator's settings and the tests choose others."""

    accept_partial_body: bool = False
    """A signature whose ``l=`` covers less than the whole body counts (DKIM-09)."""
    refuse_unsigned_duplicates: bool = True
    """A second Subject, To … that a signature leaves unsigned spoils it (DKIM-11)."""
    min_rsa_bits: int = 1024
    max_rsa_bits: int = 8192
    clock_skew_seconds: int = 300
    max_signatures: int = 10
    """Verified in one message; the rest is listed as ``policy`` (DKIM-01)."""
    max_listed_signatures: int = 100
    """The nearest to the author domains, if there are more; an aggregate report has no room for them either (RFC 9990)."""
    max_read_signatures: int = 1000
    """Looked at to choose those from, topmost first: a thousand short fields are cheap, a million are not (T11)."""
    max_arc_sets: int = 20
    """Longer chains fail; RFC 8617 allows 50 (ARC-12)."""
    trusted_sealers: Container[str] = frozenset()
    """Sealers whose results are read, should the chain pass (ARC-09)."""
    max_questions: int = 40
    """DNS questions in one message with one Author Domain; each further one adds a tree walk's eight. Counted whether or not their answers are in the cache: so a verdict does not depend on what earlier messages left there (T15)."""
    max_spf_questions: int = 20
    """SPF's part of them. A part of its own, because otherwise junk signatures could use up what the SPF record of
    a forged domain needs, and turn a failure into a temporary error."""
    max_seconds: float = 20.0
    """Waiting for the DNS in one message (F10)."""


def options_of(settings: Settings) -> CheckOptions:
    """What the administrator chose."""
    signatures = settings.signatures
    return CheckOptions(
        accept_partial_body=signatures.partial_body_counts,
        refuse_unsigned_duplicates=not signatures.unsigned_duplicates_count,
        min_rsa_bits=signatures.min_rsa_bits,
        max_arc_sets=signatures.max_arc_sets,
        trusted_sealers=DomainSet(settings.network.trusted_sealers),
    )
