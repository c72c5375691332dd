"""README's first command: the lab with its sample mail, judged from outside."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home") / "lab"


@pytest.fixture(scope="module")
def lines(folder: Path, requires_postfix: None) -> list[dict[str, Any]]:
    folder.parent.chmod(0o700)  # as root's home is
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "lab", "--once", "--json", "--dir", str(folder)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def one(lines: list[dict[str, Any]], part: str, name: str) -> dict[str, Any]:
    [line] = [line for line in lines if line["part"] == part and line["name"] == name]
    return line


def test_s28_with_dmarc_off_everything_is_delivered_unmarked_first(lines: list[dict[str, Any]]) -> None:
    off = [line for line in lines if line["part"] == "off"]

    assert lines[: len(off)] == off
    assert len(off) == 8
    assert {(line["outcome"], line["dmarc"], line["id"]) for line in off} == {("delivered", "", "")}


@pytest.mark.parametrize(
    ("name", "outcome", "dmarc", "code"),
    [
        ("pass by SPF only", "delivered", "pass", "250"),
        ("pass by DKIM only", "delivered", "pass", "250"),
        ("fail, p=none", "delivered", "fail", "250"),
        ("fail, p=quarantine", "quarantined", "fail", "250"),
        ("fail, p=reject", "refused", "fail", "550"),
        ("no DMARC record", "delivered", "none", "250"),
        ("temporary DNS error", "delivered", "temperror", "250"),
        ("client on the exception list", "delivered", "", "250"),
        ("release from quarantine", "delivered", "fail", "250"),
    ],
)
def test_s1_s19_s21_each_sample_meets_its_fate(
    lines: list[dict[str, Any]], name: str, outcome: str, dmarc: str, code: str
) -> None:
    line = one(lines, "release" if name.startswith("release") else "on", name)

    assert (line["outcome"], line["dmarc"], line["reply"][:3], line["ok"]) == (outcome, dmarc, code, True)


def test_enf_06_a_refusal_is_550_5_7_26_and_names_an_id(lines: list[dict[str, Any]]) -> None:
    refused = one(lines, "on", "fail, p=reject")

    assert refused["reply"].startswith("550 5.7.26 ")
    assert "DMARC" in refused["reply"]
    assert "bank.example" in refused["reply"]
    assert refused["id"] in refused["reply"]


def test_s6_s7_each_mechanism_alone_is_enough(lines: list[dict[str, Any]]) -> None:
    by_spf, by_dkim = one(lines, "on", "pass by SPF only"), one(lines, "on", "pass by DKIM only")

    assert "aligned: SPF," in by_spf["why"]
    assert "aligned: DKIM," in by_dkim["why"]


def test_one_log_line_for_each_message_carries_postfix_queue_id(
    lines: list[dict[str, Any]], folder: Path
) -> None:
    log = (folder / "filter.log").read_text(encoding="utf-8")
    postfix = (folder / "postfix" / "maillog").read_text(encoding="utf-8")

    entries = [line for line in log.splitlines() if line.startswith("dmarc ")]
    queue_ids = [entry.partition("qid=")[2].split()[0] for entry in entries]
    assert len(set(queue_ids)) == 16
    assert all(f" {queue_id}: " in postfix for queue_id in queue_ids)


def test_the_reports_count_what_was_sent_and_parsedmarc_reads_them(
    lines: list[dict[str, Any]], folder: Path, recwarn: pytest.WarningsRecorder
) -> None:
    from appliance.lab.mailbox import Mailbox
    from tests.reporting.reader import read_mail

    mails = Mailbox(folder / "postfix" / "mailbox" / "outside").messages()
    reports = [read_mail(mail.octets) for mail in mails]

    counts: dict[str, int] = {}
    for report in reports:
        counts[report["policy_published"]["domain"]] = sum(record["count"] for record in report["records"])
    assert counts == {"newsletter.example": 1, "bank.example": 2, "hobby.example": 1, "shop.example": 1}
    assert len(mails) == 5  # bank.example has two destinations


def test_a_second_build_of_the_day_makes_no_report(lines: list[dict[str, Any]]) -> None:
    assert one(lines, "report", "second build of the day")["ok"]


def test_nothing_of_the_lab_runs_on(lines: list[dict[str, Any]], folder: Path) -> None:
    running = [
        process.parent.name
        for process in Path("/proc").glob("[0-9]*/cmdline")
        if str(folder).encode() in _read(process)
    ]

    assert not running


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
