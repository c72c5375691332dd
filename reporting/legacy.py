"""The form of RFC 7489, for readers that know no other: a filter on the form of RFC 9990.

What stands in both, stands in both in the same order. To be removed when nobody asks for it any more: look again in 2028.
"""

import re

from appliance.settings import ReportForm, Reports
from appliance.settings.records import DomainSet
from reporting.aggregate_xml import NAMESPACE

_NAMESPACE = f' xmlns="{NAMESPACE}"'.encode()
_NEW_ELEMENTS = re.compile(rb"<(np|testing|discovery_method|generator)>[^<]*</\1>")
_NEW_WORDS = (
    (b"<disposition>pass</disposition>", b"<disposition>none</disposition>"),
    (b"<type>policy_test_mode</type>", b"<type>other</type>"),
    (b"<scope>mfrom</scope><result>policy</result>", b"<scope>mfrom</scope><result>neutral</result>"),
)


def form_for(domain: str, settings: Reports) -> ReportForm:
    """How those who have addresses in *domain* get their reports."""
    return ReportForm.LEGACY if domain in DomainSet(settings.legacy_domains) else settings.format


def may_be_wanted(settings: Reports) -> bool:
    """Whether a report may have to go out in the older form."""
    return settings.format is ReportForm.LEGACY or bool(settings.legacy_domains)


def as_legacy(piece: bytes) -> bytes:
    """A *piece* as the writer makes them in the older form. No value holds a ``<``, so it is markup that changes."""
    if piece.startswith(b"<?xml"):
        piece = _NEW_ELEMENTS.sub(b"", piece.replace(_NAMESPACE, b"", 1))
        return piece.replace(b"<fo>", b"<pct>100</pct><fo>", 1)
    for new, old in _NEW_WORDS:
        piece = piece.replace(new, old)
    return piece
