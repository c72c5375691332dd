"""Two hundred reports of all shapes, in both forms, read by a program that many receivers use: before RFC 9990 and now."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from appliance.settings import ReportForm
from appliance.store.facts import ReportRow
from reporting.aggregate_xml import write_report
from reporting.attachment import Attachment
from reporting.compose import AggregateMail, addressed, compose
from reporting.mailto import MailAddress
from tests.reporting.environments import python_with
from tests.reporting.samples import NEXT_MORNING, ORIGIN
from tests.reporting.shapes import Shape, shapes

REPORTS = 200
BEFORE_RFC_9990 = "8.18.1"
SCRIPT = Path(__file__).with_name("read_reports.py")
TO = MailAddress("d", "bank.test")

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Sent:
    """The mails of one form in a folder, and what they are about by file name."""

    form: ReportForm
    folder: Path
    shapes: Mapping[str, Shape]


@pytest.fixture(scope="module", params=list(ReportForm))
def sent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    form: ReportForm = request.param
    folder = tmp_path_factory.mktemp(form.value)
    made = {f"{number:03}.eml": shape for number, shape in enumerate(shapes(REPORTS))}
    for name, shape in made.items():
        (folder / name).write_bytes(addressed(mail(shape, form, name), TO))
    return Sent(form, folder, made)


def mail(shape: Shape, form: ReportForm, name: str) -> bytes:
    attachment = Attachment(form, None)
    origin = replace(ORIGIN, report_id=f"report{name[:3]}")
    totals = write_report(
        attachment, origin, shape.group, shape.period, shape.rows, not_listed=shape.not_listed
    )
    assert attachment.close() == totals
    domain = shape.group.policy_domain
    done = AggregateMail(origin, domain, shape.period, totals, attachment.xml_gz, form, shape.not_listed)
    return compose(done, NEXT_MORNING)


@pytest.fixture(scope="module", params=[BEFORE_RFC_9990, "current"])
def python(request: pytest.FixtureRequest) -> Path:
    """The Python of the reader's environment; the current one is among what the tests need anyway."""
    if request.param == "current":
        return Path(sys.executable)
    return python_with(f"parsedmarc=={request.param}")


def test_a_reader_understands_every_shape_without_a_warning_and_finds_our_sums(
    python: Path, sent: Sent
) -> None:
    """AGG-12, AGG-21, AGG-30: and nothing of it is lost on the way."""
    found = read(python, sent.folder)

    assert {name: one["complaints"] for name, one in found.items() if one["complaints"]} == {}
    assert found.keys() == sent.shapes.keys()
    for name, shape in sent.shapes.items():
        report = found[name]["report"]
        assert report["policy_published"]["domain"] == shape.group.policy_domain
        assert report["report_metadata"]["report_id"] == f"report{name[:3]}"
        assert moments(report) == (shape.period.begin, shape.period.last_second)
        assert ("12345 messages" in "".join(report["report_metadata"]["errors"])) is bool(shape.not_listed)
        assert listed(report) == counted(shape, sent.form, python)


def read(python: Path, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [python, "-W", "ignore", SCRIPT, folder], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    reports: dict[str, Any] = json.loads(done.stdout)
    return reports


def moments(report: dict[str, Any]) -> tuple[int, ...]:
    texts = (report["report_metadata"][name] for name in ("begin_date", "end_date"))
    return tuple(int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) for text in texts)


def listed(report: dict[str, Any]) -> Counter[tuple[object, ...]]:
    """How many messages the reader found, by what it knows of them."""
    found: Counter[tuple[object, ...]] = Counter()
    for record in report["records"]:
        evaluated = record["policy_evaluated"]
        key = (
            record["source"]["ip_address"],
            evaluated["disposition"],
            evaluated["dkim"],
            evaluated["spf"],
            tuple(reason["type"] for reason in evaluated["policy_override_reasons"]),
            record["identifiers"]["header_from"],
            record["identifiers"]["envelope_to"],
            tuple((r["domain"], r["selector"], r["result"]) for r in record["auth_results"]["dkim"]),
            tuple((r["domain"], r["scope"], r["result"]) for r in record["auth_results"]["spf"]),
        )
        found[key] += record["count"]
    return found


def counted(shape: Shape, form: ReportForm, python: Path) -> Counter[tuple[object, ...]]:
    """What the reader should find: its older version knows no disposition ``pass``."""
    knows_pass = form is ReportForm.RFC9990 and python == Path(sys.executable)
    wanted: Counter[tuple[object, ...]] = Counter()
    for row, count in shape.rows:
        wanted[as_read(row, form, knows_pass=knows_pass)] += count
    return wanted


def as_read(row: ReportRow, form: ReportForm, *, knows_pass: bool) -> tuple[object, ...]:
    legacy = form is ReportForm.LEGACY
    return (
        row.source_ip,
        "none" if row.disposition == "pass" and not knows_pass else row.disposition,
        "pass" if row.dkim_aligned else "fail",
        "pass" if row.spf_aligned else "fail",
        tuple("other" if legacy and kind == "policy_test_mode" else kind for kind, _ in row.reasons),
        row.header_from,
        row.envelope_to or None,
        tuple((domain, selector or "none", result) for domain, selector, result, _ in row.dkim),
        (
            (
                row.spf_domain or "none",
                "mfrom",
                "neutral" if legacy and row.spf_result == "policy" else row.spf_result,
            ),
        ),
    )
