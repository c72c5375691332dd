"""Write an aggregate report as XML, row by row (RFC 9990 section 3.1.1).

Elements stand in the order that the schema of RFC 7489 wants too, where both can be had. All is made as text: a day may
have a million records, and objects for their elements cost five times as much. ``<`` only ever begins markup of ours.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from ipaddress import ip_address
from itertools import islice
from typing import Protocol
from xml.sax.saxutils import escape

from appliance.mail.address import unmapped
from appliance.store.facts import PolicyGroup, ReportRow
from reporting.period import Period

NAMESPACE = "urn:ietf:params:xml:ns:dmarc-2.0"
VERSION = "1.0"
MAX_TEXT = 200  # characters; what is longer was not written by an honest sender
MAX_ERROR = 1000
MAX_NAME = 255  # no domain name is cut
MAX_SIGNATURES = 100  # in one record (RFC 9990 section 3.1.3)
NO_NAME = "none"
"""Where a required element has nothing to name: readers stumble over an empty one, or drop the record."""
ROWS_AT_ONCE = 200

_START = f'<?xml version="1.0" encoding="utf-8"?>\n<feedback xmlns="{NAMESPACE}">'
_END = "\n</feedback>"
_LINE_ENDS = {"\r": "&#13;"}  # a reader would take it for a line feed
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 section 2.2
_OCTET = r"(?:0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])"

# Nearly every value: it stands for itself.
_is_plain = re.compile(f"[ -%'-;=?-~]{{0,{MAX_TEXT}}}").fullmatch
_is_plain_domain = re.compile(f"[a-z0-9_.-]{{0,{MAX_NAME - 1}}}[a-z0-9_-]").fullmatch

is_ipv4 = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}").fullmatch
"""Whether a text is an IPv4 address in its one form: far quicker than making an object of it."""


class Sink(Protocol):
    """Where a report is written to: each piece holds whole elements, the first the head."""

    def write(self, octets: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Origin:
    """Who reports, and under which id."""

    organization: str
    address: str
    contact: str
    report_id: str


@dataclass(frozen=True, slots=True)
class Totals:
    """What a report holds."""

    rows: int
    messages: int


def write_report(
    sink: Sink,
    origin: Origin,
    group: PolicyGroup,
    period: Period,
    rows: Iterable[tuple[ReportRow, int]],
    *,
    not_listed: int = 0,
) -> Totals:
    """Write the report on *group* to *sink*; memory use does not grow with the number of *rows*.

    *not_listed* messages were counted without their row: the report says so.
    """
    head = _metadata(origin, group, period, not_listed) + _policy_published(group)
    sink.write(f"{_START}\n{_leaf('version', VERSION)}{head}".encode())
    written = messages = 0
    for some in _in_pieces(iter(rows)):
        sink.write("".join([_record(row, count) for row, count in some]).encode())
        written += len(some)
        messages += sum(count for _, count in some)
    sink.write(_END.encode())
    return Totals(written, messages)


def clean(text: str, most: int = MAX_TEXT) -> str:
    """*text* without what XML 1.0 can't hold, at most *most* characters."""
    if len(text) <= most and text.isascii() and text.isprintable():
        return text
    return _NOT_XML.sub("", text[: 2 * most])[:most]


def generator() -> str:
    """This program and its version, as reports name it."""
    major, minor, *_ = metadata.version("dmarcgate").split(".")
    return f"DMARC Gate {major}.{minor}"


def _in_pieces(rows: Iterator[tuple[ReportRow, int]]) -> Iterator[list[tuple[ReportRow, int]]]:
    while some := list(islice(rows, ROWS_AT_ONCE)):
        yield some


def _metadata(origin: Origin, group: PolicyGroup, period: Period, not_listed: int) -> str:
    errors = [group.published.error] if group.published.error else []
    if not_listed:
        errors.insert(0, f"{not_listed} messages are not listed: too many different ones came that day")
    contact = _leaf("extra_contact_info", origin.contact) if origin.contact else ""
    error = _leaf("error", "; ".join(errors), MAX_ERROR) if errors else ""
    return (
        f"\n<report_metadata>{_leaf('org_name', origin.organization)}{_leaf('email', origin.address, MAX_ERROR)}"
        f"{contact}{_leaf('report_id', origin.report_id)}"
        f"<date_range><begin>{period.begin:d}</begin><end>{period.last_second:d}</end></date_range>"
        f"{error}{_leaf('generator', generator())}</report_metadata>"
    )


def _policy_published(group: PolicyGroup) -> str:
    published = group.published
    values = "".join(
        _leaf(name, getattr(published, name)) for name in ("adkim", "aspf", "p", "sp", "np", "fo")
    )
    return (
        f"\n<policy_published><domain>{_domain(group.policy_domain)}</domain>{values}"
        f"<testing>{'y' if published.testing else 'n'}</testing>"
        "<discovery_method>treewalk</discovery_method></policy_published>"
    )


def _record(row: ReportRow, count: int) -> str:
    reasons = "".join([_reason(kind, comment) for kind, comment in row.reasons])
    envelope_to = f"<envelope_to>{_domain(row.envelope_to)}</envelope_to>" if row.envelope_to else ""
    return (
        f"\n<record><row><source_ip>{_address(row.source_ip)}</source_ip><count>{count:d}</count>"
        f"<policy_evaluated><disposition>{_text(row.disposition)}</disposition>"
        f"<dkim>{'pass' if row.dkim_aligned else 'fail'}</dkim><spf>{'pass' if row.spf_aligned else 'fail'}</spf>"
        f"{reasons}</policy_evaluated></row><identifiers>{envelope_to}"
        f"<envelope_from>{_domain(row.envelope_from)}</envelope_from>"
        f"<header_from>{_domain(row.header_from)}</header_from></identifiers>"
        f"<auth_results>{_signatures(row.dkim)}<spf><domain>{_domain(row.spf_domain) or NO_NAME}</domain>"
        f"<scope>mfrom</scope><result>{_text(row.spf_result)}</result></spf></auth_results></record>"
    )


def _reason(kind: str, comment: str) -> str:
    return f"<reason><type>{_text(kind)}</type>{_leaf('comment', comment) if comment else ''}</reason>"


def _signatures(signatures: tuple[tuple[str, str, str, str], ...]) -> str:
    return "".join(
        [
            f"<dkim><domain>{_domain(domain)}</domain>"
            f"<selector>{_text(selector) or NO_NAME}</selector>"
            f"<result>{_text(result)}</result>{_leaf('human_result', human) if human else ''}</dkim>"
            for domain, selector, result, human in signatures[:MAX_SIGNATURES]
            if domain  # others speak for nobody
        ]
    )


def _leaf(name: str, text: str, most: int = MAX_TEXT) -> str:
    return f"<{name}>{_text(text, most)}</{name}>"


def _text(text: str, most: int = MAX_TEXT) -> str:
    return text if _is_plain(text) else escape(clean(text, most), _LINE_ENDS)


def _domain(domain: str) -> str:
    return domain if _is_plain_domain(domain) else _text(domain.lower().removesuffix("."), MAX_NAME)


def _address(text: str) -> str:
    return text if is_ipv4(text) else _text(_rfc5952(text))


@lru_cache(4096)
def _rfc5952(text: str) -> str:
    """An IP address as RFC 5952 writes it; what is none stays, and fails the check."""
    try:
        return str(unmapped(ip_address(text)))
    except ValueError:
        return text
