"""Write an aggregate report as XML, row by row, and check it before it may leave (RFC 9990 section 3.1.1).

Elements stand in the order that the schema of RFC 7489 wants too, where both can be had.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import metadata, resources
from ipaddress import ip_address
from typing import IO, Any
from xml.sax.saxutils import escape

from lxml import etree

from appliance.mail.address import unmapped
from appliance.store.facts import PolicyGroup, ReportRow
from reporting.period import Period

NAMESPACE = "urn:ietf:params:xml:ns:dmarc-2.0"
VERSION = "1.0"
_START = f'<?xml version="1.0" encoding="utf-8"?>\n<feedback xmlns="{NAMESPACE}">'.encode()
_END = b"\n</feedback>"
_LINE_ENDS = {"\r": "&#13;"}  # a reader would take it for a line feed
_VERSION, _DATE_RANGE, _RECORD, _ROW, _SOURCE_IP, _COUNT = (
    f"{{{NAMESPACE}}}{name}" for name in ("version", "date_range", "record", "row", "source_ip", "count")
)
MAX_TEXT = 200  # characters; what is longer was not written by an honest sender
MAX_ERROR = 1000
MAX_NAME = 255  # no domain name is cut
MAX_SIGNATURES = 100  # in one record (RFC 9990 section 3.1.3)

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 section 2.2
_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)


class InvalidReport(Exception):
    """The XML is not what RFC 9990 wants; the message says where."""


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
    file: IO[bytes],
    origin: Origin,
    group: PolicyGroup,
    period: Period,
    rows: Iterable[tuple[ReportRow, int]],
) -> Totals:
    """Write the report on *group* to *file*; memory use does not grow with the number of *rows*."""
    written = messages = 0
    head = (_version(), _metadata(origin, group, period), _policy_published(group))
    file.write(_START + b"".join(b"\n" + etree.tostring(part, encoding="utf-8") for part in head))
    for row, count in rows:
        file.write(_record(row, count).encode())
        written += 1
        messages += count
    file.write(_END)
    return Totals(written, messages)


def check_report(file: IO[bytes]) -> Totals:
    """Read a report back: against the schema, and for what the schema lets pass. Raises ``InvalidReport``."""
    rows = messages = 0
    try:
        # Not resolve_entities=False: together with a schema it hides that a document is cut off (lxml 6.1).
        for _, element in etree.iterparse(
            file, events=("end",), tag=(_VERSION, _DATE_RANGE, _RECORD), schema=_schema(), no_network=True
        ):
            if element.tag == _VERSION:
                _check_version(element)
            elif element.tag == _DATE_RANGE:
                _check_date_range(element)
            else:
                rows += 1
                messages += _checked_count(element)
                _forget(element)
    except etree.XMLSyntaxError as error:
        raise InvalidReport(clean(str(error))) from None
    return Totals(rows, messages)


def clean(text: str, most: int = MAX_TEXT) -> str:
    """*text* without what XML 1.0 can't hold, at most *most* characters."""
    if len(text) <= most and text.isascii() and text.isprintable():
        return text
    return _NOT_XML.sub("", text[: 2 * most])[:most]


def generator() -> str:
    """This program and its version, as reports name it."""
    major, minor, *_ = metadata.version("dmarcgate").split(".")
    return f"DMARC Gate {major}.{minor}"


def _version() -> Any:
    version = etree.Element("version")
    version.text = VERSION
    return version


def _metadata(origin: Origin, group: PolicyGroup, period: Period) -> Any:
    part = etree.Element("report_metadata")
    _add(part, "org_name", origin.organization)
    _add(part, "email", origin.address, MAX_ERROR)
    if origin.contact:
        _add(part, "extra_contact_info", origin.contact)
    _add(part, "report_id", origin.report_id)
    date_range = etree.SubElement(part, "date_range")
    _add(date_range, "begin", str(period.begin))
    _add(date_range, "end", str(period.last_second))
    if group.published.error:
        _add(part, "error", group.published.error, MAX_ERROR)
    _add(part, "generator", generator())
    return part


def _policy_published(group: PolicyGroup) -> Any:
    published = group.published
    part = etree.Element("policy_published")
    _add_domain(part, "domain", group.policy_domain)
    for name in ("adkim", "aspf", "p", "sp", "np", "fo"):
        _add(part, name, getattr(published, name))
    _add(part, "testing", "y" if published.testing else "n")
    _add(part, "discovery_method", "treewalk")
    return part


def _record(row: ReportRow, count: int) -> str:
    """One record as text: a day may have a million, and objects for its elements cost five times as much."""
    reasons = "".join(_reason(kind, comment) for kind, comment in row.reasons)
    envelope_to = _domain_leaf("envelope_to", row.envelope_to) if row.envelope_to else ""
    return (
        f"\n<record><row>{_leaf('source_ip', _address(row.source_ip))}<count>{count:d}</count><policy_evaluated>"
        f"{_leaf('disposition', row.disposition)}<dkim>{_aligned(aligned=row.dkim_aligned)}</dkim>"
        f"<spf>{_aligned(aligned=row.spf_aligned)}</spf>{reasons}</policy_evaluated></row><identifiers>"
        f"{envelope_to}{_domain_leaf('envelope_from', row.envelope_from)}"
        f"{_domain_leaf('header_from', row.header_from)}</identifiers>"
        f"{_results(row.dkim, row.spf_domain, row.spf_result)}</record>"
    )


@lru_cache(4096)
def _reason(kind: str, comment: str) -> str:
    return f"<reason>{_leaf('type', kind)}{_leaf('comment', comment) if comment else ''}</reason>"


@lru_cache(4096)
def _results(dkim: tuple[tuple[str, str, str, str], ...], spf_domain: str, spf_result: str) -> str:
    named = (signature for signature in dkim[:MAX_SIGNATURES] if signature[0])  # others speak for nobody
    signatures = "".join(
        f"<dkim>{_domain_leaf('domain', domain)}"
        f"{_domain_leaf('selector', selector or 'none')}"  # the element is required, and readers want a value
        f"{_leaf('result', result)}{_leaf('human_result', human) if human else ''}</dkim>"
        for domain, selector, result, human in named
    )
    spf = f"{_domain_leaf('domain', spf_domain)}<scope>mfrom</scope>{_leaf('result', spf_result)}"
    return f"<auth_results>{signatures}<spf>{spf}</spf></auth_results>"


@lru_cache(16_384)
def _leaf(name: str, text: str, most: int = MAX_TEXT) -> str:
    return f"<{name}>{escape(clean(text, most), _LINE_ENDS)}</{name}>" if text else f"<{name}/>"


def _domain_leaf(name: str, domain: str) -> str:
    return _leaf(name, domain.lower().removesuffix("."), MAX_NAME)


def _add(parent: Any, name: str, text: str, most: int = MAX_TEXT) -> None:
    etree.SubElement(parent, name).text = clean(text, most)


def _add_domain(parent: Any, name: str, domain: str) -> None:
    _add(parent, name, domain.lower().removesuffix("."), MAX_NAME)


@lru_cache(4096)
def _address(text: str) -> str:
    """An IP address as RFC 5952 writes it; what is none stays, and fails the check."""
    try:
        return str(unmapped(ip_address(text)))
    except ValueError:
        return text


def _aligned(*, aligned: bool) -> str:
    return "pass" if aligned else "fail"


@cache
def _schema() -> Any:
    return etree.XMLSchema(
        etree.fromstring(resources.files("reporting").joinpath("aggregate.xsd").read_bytes())
    )


def _check_version(version: Any) -> None:
    if version.text != VERSION:
        raise InvalidReport(f"version is not {VERSION}")


def _check_date_range(date_range: Any) -> None:
    begin, end = (date_range.findtext(f"{{{NAMESPACE}}}{name}", "") for name in ("begin", "end"))
    if not (_DIGITS.fullmatch(begin) and _DIGITS.fullmatch(end) and int(begin) < int(end)):
        raise InvalidReport("date_range does not end after it begins")


def _checked_count(record: Any) -> int:
    """How many messages a *record* counts, if it is right."""
    row = {child.tag: child.text or "" for child in record.iterfind(f"{_ROW}/*")}
    if not _is_address(row.get(_SOURCE_IP, "")):
        raise InvalidReport("source_ip is not an IP address")
    text = row.get(_COUNT, "")
    if not _DIGITS.fullmatch(text) or int(text) < 1:
        raise InvalidReport("count is not a positive number")
    return int(text)


@lru_cache(4096)
def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _forget(element: Any) -> None:
    """Free *element* and what stands before it."""
    element.clear()
    parent = element.getparent()
    while element.getprevious() is not None:
        del parent[0]
