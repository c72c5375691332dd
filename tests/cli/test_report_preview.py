"""``dmarcgate report preview | digest``: what would be sent, shown to people and programs, and nothing more."""

import json
from xml.etree import ElementTree as ET

import pytest

from appliance.lab.nameserver import Behaviour
from appliance.store import suppression
from reporting.aggregate_xml import NAMESPACE
from tests.cli.yesterday import RECORD, Yesterday
from tests.reporting.samples import save, settings


def preview(yesterday: Yesterday, *words: str) -> tuple[int, str, str]:
    done = yesterday.run("preview", "--day", yesterday.day.isoformat(), *words)
    return done.status, done.out, done.err


def test_the_preview_shows_rows_receivers_and_why(yesterday: Yesterday) -> None:
    yesterday.counted(times=5)
    yesterday.counted(source_ip="2001:db8::1")
    yesterday.published(record=f"{RECORD},mailto:v@victim.test")

    status, told, _ = preview(yesterday, "BANK.test.")

    assert status == 0
    lines = [" ".join(line.split()) for line in told.splitlines()]
    assert f"1. bank.test on {yesterday.day} 00:00-24:00 UTC: 2 records, 6 messages" in lines
    assert "gets a report: every domain that asks gets a report" in lines
    assert any(line.startswith("5 192.0.2.7 pass pass fail bank.test") for line in lines)
    assert any(line.startswith("1 2001:db8::1 ") for line in lines)
    assert "mailto:d@bank.test same organization" in lines
    assert "d@bank.test gets it (never had one before)" in lines
    assert "mailto:v@victim.test refused: victim.test did not agree to reports about bank.test" in lines
    assert "today so far 0 of 1000 reports, to new addresses 0 of 100" in lines
    assert lines[-1] == "It would go to d@bank.test."


def test_a_report_that_would_not_go_is_a_negative_result_with_its_reason(yesterday: Yesterday) -> None:
    save(yesterday.store, settings(gate="established"))
    yesterday.counted()
    yesterday.published()

    status, told, _ = preview(yesterday, "bank.test")

    assert status == 1
    assert "gets no report: seen on 1 of the last 30 days; it takes 2" in told
    assert told.endswith("No report would go: there is none to send.\n")


def test_the_dns_not_answering_may_be_over_later_t21(yesterday: Yesterday) -> None:
    yesterday.counted()
    yesterday.nameserver.zone.misbehave("_dmarc.bank.test", Behaviour.SERVFAIL)

    status, told, _ = preview(yesterday, "bank.test")

    assert status == 75
    assert "nowhere: _dmarc.bank.test:" in told


def test_a_domain_of_which_nothing_was_counted_is_told_where_to_look(yesterday: Yesterday) -> None:
    yesterday.counted()

    status, told, _ = preview(yesterday, "mail.bank.test")

    assert status == 1
    assert "no mail was counted whose DMARC record, at mail.bank.test, asks for reports" in told
    assert "Its mail may be part of the report about bank.test." in told


def test_programs_get_all_of_it(yesterday: Yesterday) -> None:
    yesterday.counted(times=5)
    yesterday.published()

    _, out, _ = preview(yesterday, "--json", "bank.test")

    found = json.loads(out)
    assert found["would_go"] is True
    assert found["addresses"] == ["d@bank.test"]
    [report] = found["reports"]
    assert (report["records"], report["messages"], report["allowed"]) == (1, 5, True)
    assert report["rows"][0]["source_ip"] == "192.0.2.7"
    assert found["targets"][0]["answer"] == "same organization"


@pytest.mark.parametrize(("form", "root"), [("rfc9990", f"{{{NAMESPACE}}}feedback"), ("legacy", "feedback")])
def test_the_xml_is_printed_alone(yesterday: Yesterday, form: str, root: str) -> None:
    yesterday.counted(times=5)

    status, out, _ = preview(yesterday, "--xml", "--form", form, "bank.test")

    assert status == 0
    assert ET.fromstring(out).tag == root


def test_of_several_reports_one_is_to_be_chosen_for_its_xml(yesterday: Yesterday) -> None:
    yesterday.counted()
    nothing = preview(yesterday, "--xml", "shop.test")
    too_many = preview(yesterday, "--xml", "--number", "2", "bank.test")

    assert nothing[0] == 1
    assert too_many[0] == 2
    assert "there is no report 2: --number goes to 1" in too_many[2]


def test_more_rows_than_wanted_are_counted(yesterday: Yesterday) -> None:
    for number in range(5):
        yesterday.counted(source_ip=f"192.0.2.{number}")

    _, told, _ = preview(yesterday, "--rows", "2", "bank.test")

    assert "and 3 more records: --rows, or --xml for all" in told


def test_t22_nothing_hostile_steers_the_terminal(yesterday: Yesterday) -> None:
    """Neither as text nor as JSON, from which programs still read it as it is."""
    hostile = "550 \x1b[2J\x9b\u202e gone"
    yesterday.counted()
    yesterday.published()
    with yesterday.store.begin() as connection:
        suppression.suppress(connection, "d@bank.test", None, hostile)

    _, told, _ = preview(yesterday, "bank.test")
    _, as_json, _ = preview(yesterday, "--json", "bank.test")

    for out in (told, as_json):
        assert "gone" in out
        assert all(char.isprintable() or char == "\n" for char in out)
    assert hostile in json.loads(as_json)["targets"][0]["receivers"][0]["obstacle"]


@pytest.mark.parametrize("words", [("..",), ("a b",)], ids=["dots", "space"])
def test_what_is_no_domain_is_refused_in_words(yesterday: Yesterday, words: tuple[str, ...]) -> None:
    status, _, err = preview(yesterday, *words)

    assert status == 2
    assert "is no domain name" in err


def test_the_weekly_summary_can_be_read_beforehand(yesterday: Yesterday) -> None:
    done = yesterday.run("digest")

    assert done.status == 0
    assert done.out.startswith("DMARC Gate, ")
    assert "  No message failed.\n" in done.out
