"""P3: the reports count every message that was judged and got its final answer, once, and nothing else."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from appliance.lab.gateway import Gateway
from appliance.lab.services import wait_for
from appliance.settings import Gate
from appliance.store.reports import JobStatus
from appliance.store.schema import event, fact, fact_cause, fact_day, fact_folded, fact_row, published_policy
from appliance.store.statistics import AuthorDomainFigures, top_author_domains
from reporting.jobs import build_day
from tests.system.behaviour.observing import REPORTING, put_in_force
from tests.system.conftest import INSIDE
from tests.system.counted_mail import (
    COLLEAGUE,
    EVALUATED,
    PERSON,
    RELAY,
    REPORT_ADDRESS,
    STRANGERS,
    UNSEEN,
    Posted,
    Row,
    posts,
    sorts,
)
from tests.system.faults import kill_a_worker_each_second, unrecorded_lines
from tests.system.mixed_mail import EXEMPT, GOOD
from tests.system.read_reports import Key, Report, stored_reports, sums

pytestmark = [pytest.mark.system, pytest.mark.timeout(3600)]

SENDERS = 8
DIGEST_OCTETS = 18
WHOLE, SCALED = 20_000, 750

SETTINGS: dict[str, object] = REPORTING | {
    "reports.address": REPORT_ADDRESS,
    "reports.gate": "all",
    "verification.enabled": True,
    "verification.exceptions": [EXEMPT, f"{EVALUATED} mode=evaluate"],
    "verification.actions.temporary_error": "defer",
    "network.internal": ["127.0.0.0/8", "::1", COLLEAGUE],
    "network.known_hosts": [RELAY],
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> Iterator[Gateway]:
    """With the reports service, which takes mail to bounce addresses."""
    folder = tmp_path_factory.mktemp("gateway")
    with Gateway(folder, inside_domains=(INSIDE,), page=False, reports=True) as running:
        place = running.postfix.filter_socket.with_name("bounces.sock")
        wait_for("the socket for bounces", place.exists, running.service("reports"), seconds=60)
        put_in_force(running, SETTINGS)
        yield running


# ---- a run ----------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Mail as its senders saw it answered, and the reports that were built of it afterwards."""

    gateway: Gateway
    mails: Sequence[Posted]
    killed: Sequence[int]
    began: datetime
    ended: datetime
    reports: Sequence[Report]

    @property
    def wanted(self) -> Counter[Row]:
        """Each message that got its final answer, once for each of its author domains."""
        return Counter(row for mail in self.mails for row in mail.rows)

    @property
    def found(self) -> Counter[Row]:
        return sum((report.rows() for report in self.reports), Counter())

    @property
    def surplus(self) -> Counter[Row]:
        return self.found - self.wanted

    @property
    def interrupted(self) -> Counter[Row]:
        """How often Postfix lost the filter on messages of each record."""
        rows: Counter[Row] = Counter()
        for mail in self.mails:
            for row in mail.rows:
                rows[row] += mail.interrupted
        return +rows


def run(gateway: Gateway, name: str, number: int, *, kill: bool) -> Run:
    """Send so many messages about domains of their own, each until it has its final answer, and build the reports."""
    mails = posts(sorts(name, gateway), number)
    for mail in mails:
        mail.prepare(gateway.zone)
    began = datetime.now(UTC)
    killed = _send(gateway, mails, kill=kill)
    ended = datetime.now(UTC)

    days = sorted({began.date(), ended.date()})
    for day in days:
        build_day(gateway.store, day, gate=Gate.ALL)
    built = datetime.now(UTC)
    found = [
        report
        for report in stored_reports(gateway.store, days)
        if report.job.policy_domain.endswith(f"-{name}.test")
    ]
    done = Run(gateway, mails, killed, began, ended, found)
    assert_built_once_for_each_domain(done)
    print(
        f"{len(mails)} messages, {sum(bool(mail.rows) for mail in mails)} of them for reports, in"
        f" {(ended - began).total_seconds():.0f} s, {sum(mail.deferred for mail in mails)} deferred once;"
        f" {len(killed)} workers killed, {sum(mail.interrupted for mail in mails)} messages interrupted;"
        f" {len(found)} reports of {len(done.found)} records in {(built - ended).total_seconds():.1f} s,"
        f" sum {done.found.total()}, wanted {done.wanted.total()}, surplus {done.surplus.total()}"
    )
    return done


def _send(gateway: Gateway, mails: Sequence[Posted], *, kill: bool) -> list[int]:
    """The workers that were killed meanwhile."""
    over = threading.Event()
    with ThreadPoolExecutor(1) as beside, ThreadPoolExecutor(SENDERS) as senders:
        killer = beside.submit(kill_a_worker_each_second, gateway, over) if kill else None
        try:
            list(senders.map(lambda mail: mail.send_until_answered(gateway), mails))
        finally:
            over.set()
        return killer.result() if killer else []


# ---- what holds after any run ---------------------------------------------------


def assert_answered_as_their_sorts_are(done: Run) -> None:
    answered = {(mail.kind.name, mail.final.code) for mail in done.mails}
    assert answered == {(mail.kind.name, mail.kind.code) for mail in done.mails}
    assert {mail.deferred for mail in done.mails if mail.kind.late} == {1}
    assert unrecorded_lines(done.gateway) == 0, "the store was too slow for this test to tell anything"


def assert_built_once_for_each_domain(done: Run) -> None:
    ready = {JobStatus.BUILT, JobStatus.SENDING, JobStatus.SENT}
    assert {report.job.status for report in done.reports} <= ready, [r.job.reason for r in done.reports]
    about = [(report.job.day, report.job.policy_domain) for report in done.reports]
    assert len(about) == len(set(about))
    assert {domain for _, domain in about} == {row.policy_domain for row in done.wanted}


def assert_readers_agree(done: Run) -> None:
    for report in done.reports:
        assert report.sums() == sums(report.rows())
        assert report.job.messages == report.rows().total()


def assert_counted_as_recorded(done: Run) -> None:
    """An event and its facts are written in one transaction: also those that a killed worker answered nobody."""
    domains = {row.policy_domain for row in done.wanted}
    judged = select(event.c.policy_domain, event.c.disposition, event.c.client_ip).where(
        event.c.policy_domain.in_(domains), event.c.outcome != "defer"
    )
    with done.gateway.store.read() as connection:
        recorded: Counter[Key] = Counter((row[0], row[1], row[2]) for row in connection.execute(judged))
    assert recorded == sums(done.found)


def assert_nothing_personal_or_internal(done: Run) -> None:
    """T27, T48."""
    for report in done.reports:
        text = report.xml.decode()
        assert text.count("@") == 1  # our own address
        assert f"<email>{REPORT_ADDRESS}</email>" in text
        assert PERSON not in text
    assert {row.source_ip for row in done.found} == {GOOD, EVALUATED, *STRANGERS}
    assert not [
        address for address in UNSEEN for report in done.reports if f">{address}<" in report.xml.decode()
    ]


def test_p3_agg_07_without_kills_the_sum_is_exactly_the_messages_with_a_final_answer(
    gateway: Gateway, long_run: bool
) -> None:
    done = run(gateway, "calm", WHOLE if long_run else SCALED, kill=False)

    assert_answered_as_their_sorts_are(done)
    assert not done.interrupted
    assert done.found == done.wanted
    assert_readers_agree(done)
    assert_counted_as_recorded(done)
    assert_nothing_personal_or_internal(done)
    assert figures(done) == wanted_figures(done)


def test_p3_killed_workers_lose_no_count_and_add_one_at_most_for_each_message_in_flight(
    gateway: Gateway, long_run: bool
) -> None:
    done = run(gateway, "killed", WHOLE if long_run else SCALED, kill=True)

    assert_answered_as_their_sorts_are(done)
    assert done.killed
    assert sum(mail.interrupted for mail in done.mails) <= SENDERS * len(done.killed)
    assert done.wanted <= done.found
    assert done.surplus <= done.interrupted
    assert_readers_agree(done)
    assert_counted_as_recorded(done)
    assert_nothing_personal_or_internal(done)


def figures(done: Run) -> dict[str, AuthorDomainFigures]:
    """T50: beside the messages of each author domain, from how many places they came."""
    with done.gateway.store.read() as connection:
        top = top_author_domains(connection, done.began, done.ended, limit=1000)
    domains = {row.header_from for row in done.wanted}
    return {one.author_domain: one for one in top.domains if one.author_domain in domains}


def wanted_figures(done: Run) -> dict[str, AuthorDomainFigures]:
    """Also of messages that were deferred: each time they were judged."""
    found = {}
    for domain in {row.header_from for row in done.wanted}:
        rows = [(mail, row) for mail in done.mails for row in mail.rows if row.header_from == domain]
        found[domain] = AuthorDomainFigures(
            domain,
            messages=len(rows) + sum(mail.deferred for mail, _ in rows),
            failed=sum("pass" not in (row.dkim, row.spf) for _, row in rows),
            clients=len({row.source_ip for _, row in rows}),
        )
    return found


def test_t27_what_is_kept_for_reports_holds_no_address_of_a_person(gateway: Gateway) -> None:
    done = run(gateway, "kept", len(sorts("kept", gateway)), kill=False)

    tables = (fact, fact_row, fact_cause, fact_day, fact_folded, published_policy)
    with gateway.store.read() as connection:
        kept = [value for table in tables for row in connection.execute(select(table)) for value in row]

    texts = [value for value in kept if isinstance(value, str)]
    assert all(any(row.header_from in text for text in texts) for row in done.wanted)
    assert not [text for text in texts if "@" in text or PERSON in text]
    assert {type(value) for value in kept} == {str, bytes, int, bool}
    assert max(len(value) for value in kept if isinstance(value, bytes)) <= DIGEST_OCTETS
