"""Check an aggregate report before it may leave: by its schema, and for what the schema lets pass (AGG-01, AGG-02)."""

import re
from functools import cache, lru_cache
from importlib import resources
from ipaddress import ip_address
from typing import IO, Any

from lxml import etree

from appliance.settings import ReportForm
from reporting.aggregate_xml import NAMESPACE, VERSION, Totals, clean, is_ipv4

READ_OCTETS = 1 << 16
RECORDS_AT_ONCE = 500  # the tree of a million records would not fit into memory
TOO_MANY = 10**15  # messages in one record: beyond it sums are not exact any more

_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)
_SCHEMAS = {ReportForm.RFC9990: ("aggregate.xsd", NAMESPACE), ReportForm.LEGACY: ("legacy.xsd", "")}


class InvalidReport(Exception):
    """The XML is not what the RFC wants; the message says where."""


class ReportCheck:
    """Reads a report piece by piece, as it is written; memory use does not grow with it."""

    def __init__(self, form: ReportForm = ReportForm.RFC9990) -> None:
        self._ask = _questions(form)
        self._parser = etree.XMLPullParser(
            # Not resolve_entities=False: together with a schema it hides that a document is cut off (lxml 6.1).
            events=("start",),
            tag=self._ask.root,
            schema=self._ask.schema,
            no_network=True,
            collect_ids=False,
            remove_comments=True,  # so that the last child is always a record
            remove_pis=True,
        )
        self._root: Any = None
        self._is_head_checked = False
        self._rows = self._messages = 0

    def feed(self, octets: bytes) -> None:
        """Raises ``InvalidReport``."""
        try:
            self._parser.feed(octets)
        except etree.XMLSyntaxError as error:
            raise InvalidReport(clean(str(error))) from None
        if self._root is None:
            self._root = next((element for _, element in self._parser.read_events()), None)
        if self._root is not None and len(self._root) > RECORDS_AT_ONCE:
            self._take(but=1)  # the last one may not be complete

    def close(self) -> Totals:
        """What the report holds. Raises ``InvalidReport``."""
        try:
            self._parser.close()
        except etree.XMLSyntaxError as error:
            raise InvalidReport(clean(str(error))) from None
        self._take(but=0)
        return Totals(self._rows, self._messages)

    def _take(self, *, but: int) -> None:
        """Check and free what the root has, but for the last *but* records."""
        if not self._is_head_checked:
            self._check_head()
            self._is_head_checked = True
        self._check_records(self._ask.records(self._root) - but)
        del self._root[: len(self._root) - but]

    def _check_head(self) -> None:
        version, begin, end = (find(self._root) for find in self._ask.head)
        if version not in {"", VERSION}:
            raise InvalidReport(f"version is not {VERSION}")
        if not (_DIGITS.fullmatch(begin) and _DIGITS.fullmatch(end) and int(begin) < int(end)):
            raise InvalidReport("date_range does not end after it begins")

    def _check_records(self, first: float) -> None:
        if self._ask.has_bad_count(self._root, first=first):
            raise InvalidReport("count is not a positive number")
        addresses = self._ask.addresses(self._root, first=first)
        if len(addresses) != first or not all(map(_is_address, addresses)):
            raise InvalidReport("source_ip is not an IP address")
        self._rows += int(first)
        self._messages += int(self._ask.messages(self._root, first=first))


def check_report(file: IO[bytes], form: ReportForm = ReportForm.RFC9990) -> Totals:
    """Read a report from *file*: what it holds, if it is right. Raises ``InvalidReport``."""
    check = ReportCheck(form)
    while octets := file.read(READ_OCTETS):
        check.feed(octets)
    return check.close()


class _Questions:
    """What is asked of the root of one form; of the *first* so many records where it says so."""

    def __init__(self, form: ReportForm) -> None:
        file, namespace = _SCHEMAS[form]
        r = "r:" if namespace else ""
        names = {"r": namespace} if namespace else None

        def ask(question: str) -> Any:
            return etree.XPath(question, namespaces=names, smart_strings=False)

        rows = f"{r}record[position() <= $first]/{r}row"
        date_range = f"{r}report_metadata/{r}date_range"
        self.root = f"{{{namespace}}}feedback" if namespace else "feedback"
        self.head = (
            ask(f"string({r}version)"),
            ask(f"string({date_range}/{r}begin)"),
            ask(f"string({date_range}/{r}end)"),
        )
        self.records = ask(f"count({r}record)")
        self.has_bad_count = ask(f"boolean({rows}[not({r}count >= 1 and {r}count < {TOO_MANY})])")
        self.addresses = ask(f"{rows}/{r}source_ip/text()")
        self.messages = ask(f"sum({rows}/{r}count)")
        schema = resources.files("reporting").joinpath(file).read_bytes()
        self.schema = etree.XMLSchema(etree.fromstring(schema))


@cache
def _questions(form: ReportForm) -> _Questions:
    return _Questions(form)


def _is_address(text: str) -> bool:
    return bool(is_ipv4(text)) or _is_any_address(text)


@lru_cache(4096)
def _is_any_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
