"""The reports that the store holds, as two readers find them: record by record, and parsedmarc's sums."""

import gzip
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from lxml import etree

from appliance.store import reports
from appliance.store.engine import Store
from appliance.store.reports import ReportJob
from tests.reporting.reader import read_mail
from tests.system.counted_mail import Row

_NS = {"d": "urn:ietf:params:xml:ns:dmarc-2.0"}

Key = tuple[str, str, str]
"""Policy domain, disposition, source address."""


@dataclass(frozen=True)
class Report:
    job: ReportJob
    mail: bytes
    xml: bytes

    def rows(self) -> Counter[Row]:
        root = etree.fromstring(self.xml)
        domain = root.findtext("d:policy_published/d:domain", namespaces=_NS)
        found: Counter[Row] = Counter()
        for record in root.iterfind("d:record", _NS):
            found[_row(domain, record)] += int(record.findtext("d:row/d:count", namespaces=_NS))
        return found

    def sums(self) -> Counter[Key]:
        """By parsedmarc."""
        report = read_mail(self.mail)
        domain = report["policy_published"]["domain"]
        found: Counter[Key] = Counter()
        for record in report["records"]:
            disposition = record["policy_evaluated"]["disposition"]
            found[domain, disposition, record["source"]["ip_address"]] += record["count"]
        return found


def stored_reports(store: Store, days: Iterable[date]) -> list[Report]:
    found = []
    with store.read() as connection:
        for day in days:
            for job in reports.jobs(connection, 10_000, day=day):
                mail, xml_gz = reports.message(connection, job.id), reports.xml_gz(connection, job.id)
                found.append(Report(job, mail or b"", gzip.decompress(xml_gz) if xml_gz else b""))
    return found


def sums(rows: Counter[Row]) -> Counter[Key]:
    found: Counter[Key] = Counter()
    for row, count in rows.items():
        found[row.policy_domain, row.disposition, row.source_ip] += count
    return found


def _row(policy_domain: str, record: etree._Element) -> Row:
    def text(path: str, of: etree._Element = record) -> str:
        value: str = of.findtext("/".join(f"d:{name}" for name in path.split("/")), "", _NS)
        return value

    [spf] = record.iterfind("d:auth_results/d:spf", _NS)
    assert text("scope", spf) == "mfrom"
    return Row(
        policy_domain,
        text("row/policy_evaluated/disposition"),
        text("identifiers/header_from"),
        source_ip=text("row/source_ip"),
        dkim=text("row/policy_evaluated/dkim"),
        spf=text("row/policy_evaluated/spf"),
        reasons=tuple(
            (text("type", reason), text("comment", reason))
            for reason in record.iterfind("d:row/d:policy_evaluated/d:reason", _NS)
        ),
        envelope_to=text("identifiers/envelope_to"),
        envelope_from=text("identifiers/envelope_from"),
        signatures=tuple(
            (text("domain", one), text("selector", one), text("result", one))
            for one in record.iterfind("d:auth_results/d:dkim", _NS)
        ),
        spf_domain=text("domain", spf),
        spf_result=text("result", spf),
    )
