"""Write an aggregate report as XML, row by row, and check it before it may leave (RFC 9990 section 3.1.1).

Elements stand in the order that the schema of RFC 7489 wants too, where both can be had.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from ipaddress import ip_address
from typing import IO, Any

from lxml import etree

from appliance.mail.address import unmapped
from appliance.store.facts import PolicyGroup, ReportRow
from reporting.period import Period

NAMESPACE = "urn:ietf:params:xml:ns:dmarc-2.0"
VERSION = "1.0"
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
    with etree.xmlfile(file, encoding="utf-8") as xml:
        xml.write_declaration()
        # Children carry no namespace of their own: they fall under the default one, without repeating it.
        with xml.element("feedback", nsmap={None: NAMESPACE}):
            for part in (_version(), _metadata(origin, group, period), _policy_published(group)):
                xml.write("\n", part)
            for row, count in rows:
                xml.write("\n", _record(row, count))
                written += 1
                messages += count
            xml.write("\n")
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


def _record(row: ReportRow, count: int) -> Any:
    record = etree.Element("record")
    counted = etree.SubElement(record, "row")
    _add(counted, "source_ip", _address(row.source_ip))
    _add(counted, "count", str(count))
    evaluated = etree.SubElement(counted, "policy_evaluated")
    _add(evaluated, "disposition", row.disposition)
    _add(evaluated, "dkim", _aligned(aligned=row.dkim_aligned))
    _add(evaluated, "spf", _aligned(aligned=row.spf_aligned))
    for kind, comment in row.reasons:
        reason = etree.SubElement(evaluated, "reason")
        _add(reason, "type", kind)
        if comment:
            _add(reason, "comment", comment)
    identifiers = etree.SubElement(record, "identifiers")
    if row.envelope_to:
        _add_domain(identifiers, "envelope_to", row.envelope_to)
    _add_domain(identifiers, "envelope_from", row.envelope_from)
    _add_domain(identifiers, "header_from", row.header_from)
    _add_results(etree.SubElement(record, "auth_results"), row)
    return record


def _add_results(results: Any, row: ReportRow) -> None:
    named = (signature for signature in row.dkim[:MAX_SIGNATURES] if signature[0])  # others speak for nobody
    for domain, selector, result, human_result in named:
        dkim = etree.SubElement(results, "dkim")
        _add_domain(dkim, "domain", domain)
        _add_domain(dkim, "selector", selector or "none")  # the element is required, and readers want a value
        _add(dkim, "result", result)
        if human_result:
            _add(dkim, "human_result", human_result)
    spf = etree.SubElement(results, "spf")
    _add_domain(spf, "domain", row.spf_domain)
    _add(spf, "scope", "mfrom")
    _add(spf, "result", row.spf_result)


def _add(parent: Any, name: str, text: str, most: int = MAX_TEXT) -> None:
    etree.SubElement(parent, name).text = clean(text, most)


def _add_domain(parent: Any, name: str, domain: str) -> None:
    _add(parent, name, domain.lower().removesuffix("."), MAX_NAME)


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
    try:
        ip_address(record.findtext(f"{_ROW}/{_SOURCE_IP}", ""))
    except ValueError:
        raise InvalidReport("source_ip is not an IP address") from None
    text = record.findtext(f"{_ROW}/{_COUNT}", "")
    if not _DIGITS.fullmatch(text) or int(text) < 1:
        raise InvalidReport("count is not a positive number")
    return int(text)


def _forget(element: Any) -> None:
    """Free *element* and what stands before it."""
    element.clear()
    while element.getprevious() is not None:
        del element.getparent()[0]
