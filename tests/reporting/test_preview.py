"""What a preview says: the same that building and sending would do, without doing it."""

import gzip
from dataclasses import replace
from datetime import timedelta

import pytest

from appliance.lab.nameserver import Behaviour, NameServer
from appliance.settings import ReportForm
from appliance.store import report_copies, reports, suppression
from appliance.store.engine import Store
from appliance.store.report_copies import Copy, Limits
from appliance.store.schema import METADATA
from reporting.jobs import build_day
from reporting.mailto import MAX_DESTINATIONS
from reporting.preview import REPORT_ID, Answer, Preview, preview, rows_of, xml_gz_of
from tests.reporting.samples import (
    DAY,
    HOUR,
    MIDNIGHT,
    NEXT_MORNING,
    PUBLISHED,
    ROW,
    SPOOF,
    count,
    save,
    settings,
)

RECORD = "v=DMARC1; p=reject; rua=mailto:d@bank.test"


def look(store: Store, nameserver: NameServer, domain: str = "bank.test") -> Preview:
    return preview(store, domain, DAY, nameserver=nameserver.address, now=NEXT_MORNING)


def contents(store: Store) -> dict[str, int]:
    with store.read() as connection:
        return {table.name: len(connection.execute(table.select()).all()) for table in METADATA.sorted_tables}


# ---- what would be reported -----------------------------------------------------


def test_a_preview_holds_what_the_report_will_hold(store: Store, nameserver: NameServer) -> None:
    save(store, settings())
    for row, times in ((ROW, 3), (SPOOF, 4), (replace(ROW, published=replace(PUBLISHED, adkim="s")), 2)):
        count(store, row, times=times)
    nameserver.zone.txt("_dmarc.bank.test", RECORD)

    found = look(store, nameserver)
    built = build_day(store, DAY, now=NEXT_MORNING)

    assert found.would_go
    assert sorted((one.rows, one.messages) for one in found.reports) == [(1, 2), (2, 7)]
    assert sorted((job.rows, job.messages) for job in built) == [(1, 2), (2, 7)]
    largest = max(found.reports, key=lambda one: one.rows)
    assert sorted(rows_of(store, largest, 10), key=lambda pair: pair[1]) == [(ROW, 3), (SPOOF, 4)]
    assert len(rows_of(store, largest, 1)) == 1


def test_the_xml_is_that_of_the_report_but_for_its_id(store: Store, nameserver: NameServer) -> None:
    save(store, settings())
    count(store, ROW, times=3)
    found = look(store, nameserver)
    [job] = build_day(store, DAY, now=NEXT_MORNING)

    [report] = found.reports
    previewed = gzip.decompress(xml_gz_of(store, found.settings, report))
    legacy = gzip.decompress(xml_gz_of(store, found.settings, report, ReportForm.LEGACY))

    with store.read() as connection:
        kept = reports.xml_gz(connection, job.id)
    assert kept
    assert previewed.replace(REPORT_ID.encode(), job.report_id.encode()) == gzip.decompress(kept)
    assert b"<pct>100</pct>" in legacy


def test_nothing_is_sent_and_nothing_is_stored(store: Store, nameserver: NameServer) -> None:
    save(store, settings())
    count(store, ROW)
    nameserver.zone.txt("_dmarc.bank.test", RECORD)
    before = contents(store)

    found = look(store, nameserver)
    xml_gz_of(store, found.settings, found.reports[0])

    assert contents(store) == before


@pytest.mark.parametrize(
    ("changes", "allowed", "reason"),
    [
        pytest.param({}, True, "every domain that asks gets a report", id="all"),
        pytest.param(
            {"gate": "established"}, False, "seen on 1 of the last 30 days; it takes 2", id="established"
        ),
        pytest.param({"gate": "listed"}, False, "not on the list of domains always reported to", id="listed"),
        pytest.param(
            {"denied_domains": ["bank.test"]}, False, "on the list of domains never reported to", id="denied"
        ),
        pytest.param({"enabled": False}, False, "reports are switched off", id="off"),
        pytest.param({"address": "dmarc@bank.test"}, False, "our own domain", id="own"),
    ],
)
def test_the_gates_decision_stands_with_its_reason(
    sqlite_store: Store,
    nameserver: NameServer,
    changes: dict[str, object],
    allowed: bool,
    reason: str,
) -> None:
    save(sqlite_store, settings(**changes))
    count(sqlite_store, ROW)
    nameserver.zone.txt("_dmarc.bank.test", RECORD)

    found = look(sqlite_store, nameserver)

    [report] = found.reports
    assert (report.decision.allowed, report.decision.reason) == (allowed, reason)
    assert found.would_go is allowed


def test_reports_that_are_there_already_are_named(sqlite_store: Store, nameserver: NameServer) -> None:
    save(sqlite_store, settings())
    count(sqlite_store, ROW)
    count(sqlite_store, replace(ROW, policy_domain="shop.test"))
    build_day(sqlite_store, DAY, now=NEXT_MORNING)

    found = look(sqlite_store, nameserver)

    assert [job.policy_domain for job in found.existing] == ["bank.test"]


def test_a_domain_that_is_reported_with_the_one_above_it_is_told_so(
    sqlite_store: Store, nameserver: NameServer
) -> None:
    save(sqlite_store, settings())
    count(sqlite_store, ROW)

    found = look(sqlite_store, nameserver, "news.mail.bank.test")
    unknown = look(sqlite_store, nameserver, "elsewhere.test")

    assert (found.reports, found.reported_under) == ((), "bank.test")
    assert (unknown.reports, unknown.reported_under) == ((), "")


# ---- where it would go ----------------------------------------------------------


@pytest.fixture
def counted(sqlite_store: Store) -> Store:
    save(sqlite_store, settings())
    count(sqlite_store, ROW, at=MIDNIGHT + HOUR)
    return sqlite_store


def test_t21_every_uri_stands_with_the_answer_of_its_host(counted: Store, nameserver: NameServer) -> None:
    """EXT-01 to EXT-06, as the sending sees them."""
    hosts = ("watch.test", "victim.test", "moved.test", "silent.test", "mail.bank.test")
    uris = ",".join(
        ["https://bank.test/r", "mailto:a%0d%0ab@bank.test", *(f"mailto:d@{host}" for host in hosts)]
    )
    nameserver.zone.txt("_dmarc.bank.test", f"v=DMARC1; p=reject; rua={uris}")
    nameserver.zone.txt("bank.test._report._dmarc.watch.test", "v=DMARC1")
    nameserver.zone.txt("bank.test._report._dmarc.moved.test", "v=DMARC1; rua=mailto:new@moved.test")
    nameserver.zone.txt("bank.test._report._dmarc.silent.test", "v=DMARC1")
    nameserver.zone.misbehave("bank.test._report._dmarc.silent.test", Behaviour.SERVFAIL)

    found = look(counted, nameserver).targets

    assert [target.answer for target in found.targets] == [
        Answer.REFUSED,
        Answer.REFUSED,
        Answer.AGREED,
        Answer.REFUSED,
        Answer.REDIRECTED,
        Answer.UNKNOWN,
        Answer.OWN,
    ]
    assert found.addresses == ("d@watch.test", "new@moved.test", "d@mail.bank.test")
    reasons = [target.reason for target in found.targets]
    assert reasons[0] == "not a mailto URI"
    assert reasons[1] == "a control character in the address"
    assert reasons[3] == "victim.test did not agree to reports about bank.test"
    assert "SERVFAIL" in reasons[5]


def test_t21_many_uris_are_not_all_asked_about(counted: Store, nameserver: NameServer) -> None:
    uris = ",".join(f"mailto:d{number}@v{number}.test" for number in range(45))
    nameserver.zone.txt("_dmarc.bank.test", f"v=DMARC1; p=reject; rua={uris}")

    found = look(counted, nameserver).targets

    assert len(found.targets) == MAX_DESTINATIONS + 1
    assert found.targets[-1].reason.startswith(f"more than {MAX_DESTINATIONS} addresses")
    assert nameserver.count(record_type="TXT") < 40


def test_pain_22_our_own_domains_and_suppressed_addresses_get_none(
    counted: Store, nameserver: NameServer
) -> None:
    nameserver.zone.txt("_dmarc.bank.test", f"{RECORD},mailto:x@inside.test")
    nameserver.zone.txt("bank.test._report._dmarc.inside.test", "v=DMARC1")
    with counted.begin() as connection:
        suppression.suppress(connection, "d@bank.test", NEXT_MORNING + timedelta(days=7), "550 gone")

    found = look(counted, nameserver)

    obstacles = [receiver.obstacle for target in found.targets.targets for receiver in target.receivers]
    assert obstacles == [
        "on the suppression list until 2026-04-06: 550 gone",
        "inside.test is our own domain",
    ]
    assert not found.would_go


@pytest.mark.parametrize(
    ("limits", "obstacle"),
    [
        pytest.param({"destinations_per_day": 1}, "1 reports went out today; no more than 1 may", id="all"),
        pytest.param(
            {"new_destinations_per_day": 1}, "it is new, and 1 new addresses had a report today", id="new"
        ),
        pytest.param({}, "", id="room"),
    ],
)
def test_t23_what_the_caps_leave_is_told(
    counted: Store, nameserver: NameServer, limits: dict[str, int], obstacle: str
) -> None:
    [job] = build_day(counted, DAY, now=NEXT_MORNING)
    with counted.begin() as connection:
        copy = Copy("other@shop.test", "rfc9990", "b@gateway.test", b"")
        report_copies.freeze(connection, job.id, copy, Limits(10, 10), NEXT_MORNING)
    save(counted, settings(**limits))
    nameserver.zone.txt("_dmarc.bank.test", RECORD)

    found = look(counted, nameserver)

    [[receiver]] = [target.receivers for target in found.targets.targets]
    assert receiver.is_new
    assert receiver.obstacle.startswith(obstacle)
    assert bool(receiver.obstacle) is bool(obstacle)
    assert (found.sent_today.copies, found.sent_today.new_destinations) == (1, 1)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        pytest.param(None, "there is no DMARC record at _dmarc.bank.test now", id="gone"),
        pytest.param("v=DMARC1; p=reject", "its record asks for no reports: no rua", id="no rua"),
        pytest.param(
            "v=DMARC1; p=reject; rua=mailto:d\u202e@bank.test",
            "its record asks for no reports: the rua tag holds characters outside printable ASCII",
            id="no ASCII",
        ),
    ],
)
def test_agg_44_what_is_published_now_counts(
    counted: Store, nameserver: NameServer, record: str | None, problem: str
) -> None:
    if record:
        nameserver.zone.txt("_dmarc.bank.test", record)

    found = look(counted, nameserver)

    assert found.targets.problem == problem
    assert not found.targets.is_temporary
    assert not found.would_go


def test_the_dns_not_answering_is_told_apart_from_a_no_t21(counted: Store, nameserver: NameServer) -> None:
    nameserver.zone.misbehave("_dmarc.bank.test", Behaviour.SERVFAIL)

    found = look(counted, nameserver)

    assert found.targets.is_temporary
    assert "SERVFAIL" in found.targets.problem
