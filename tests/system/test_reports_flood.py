"""A day on which somebody forges mail of domains without end, each of which asks for reports (T23, pain 1).

Whole with ``--long``: 100,000 domains.
"""

import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from appliance.lab.nameserver import NameServer
from appliance.settings import Gate
from appliance.store import facts, report_copies, reports
from appliance.store.engine import Store
from appliance.store.reports import JobStatus
from appliance.store.schema import report_attempt, report_copy, report_destination, report_job
from reporting.jobs import build_day, send_pending
from reporting.mailto import MAX_DESTINATIONS
from tests.reporting.samples import DAY, HOUR, MIDNIGHT, NEXT_MORNING, ROW, save, settings
from tests.reporting.sink import Sink, running

pytestmark = [pytest.mark.system, pytest.mark.timeout(3600)]

WHOLE = 100_000
KINDS = {
    "mine": "mailto:r@{domain}",
    "crowd": "mailto:all@watch.test",
    "victim": "mailto:z@victim.test,mailto:abuse@victim.test",
    "many": ",".join(f"mailto:r{number}@{{domain}}" for number in range(15)),
}
"""What the forged domains want: an address of their own; one that agreed to all; victims; many of their own."""


@pytest.fixture
def sink(requires: Callable[[str], Path], free_port: Callable[[], int]) -> Iterator[Sink]:
    with running(requires("smtp-sink"), free_port()) as receiver:
        yield receiver


@dataclass(frozen=True)
class Scale:
    domains: int
    limits: dict[str, int]
    """Settings of the reports; none: the defaults."""


@pytest.fixture
def scale(long_run: bool) -> Scale:
    small = {"new_destinations_per_day": 10, "destinations_per_day": 100}
    return Scale(WHOLE, {}) if long_run else Scale(600, small)


def flood(store: Store, nameserver: NameServer, domains: int) -> None:
    nameserver.zone.txt("*._report._dmarc.watch.test", "v=DMARC1")
    kinds = list(KINDS.items())
    names = [f"{kinds[number % len(kinds)][0]}{number}.test" for number in range(domains)]
    for number, domain in enumerate(names):
        record = f"v=DMARC1; p=none; rua={kinds[number % len(kinds)][1].format(domain=domain)}"
        nameserver.zone.txt(f"_dmarc.{domain}", record)
    for at in range(0, domains, 1000):
        with store.begin() as connection:
            rows = [
                replace(ROW, policy_domain=domain, header_from=domain, dkim_aligned=False)
                for domain in names[at : at + 1000]
            ]
            facts.add(connection, MIDNIGHT + 12 * HOUR, rows)


def size_of(store: Store) -> int:
    with store.read() as connection:
        pages, octets = (connection.scalar(text(f"PRAGMA {name}")) for name in ("page_count", "page_size"))
    assert pages
    assert octets
    return int(pages) * int(octets)


def counted(store: Store, table: object, *where: object) -> int:
    with store.read() as connection:
        return connection.scalar(select(func.count()).select_from(table).where(*where)) or 0  # type: ignore[arg-type]


def send(store: Store, nameserver: NameServer, sink: Sink, days: int = 0) -> None:
    now = NEXT_MORNING + timedelta(days=days, hours=2)
    send_pending(store, nameserver=nameserver.address, listener=sink.place, now=now, due_only=True)


def test_t23_a_flood_of_forged_domains_gets_no_more_reports_than_the_limits_and_the_rest_is_told(
    sqlite_store: Store, nameserver: NameServer, sink: Sink, scale: Scale
) -> None:
    """With the gate wide open. The whole form has the default limits."""
    store = sqlite_store
    wanted, domains = settings(gate="all", **scale.limits), scale.domains
    limits = wanted.reports
    save(store, wanted)
    flood(store, nameserver, domains)
    before, began = size_of(store), time.monotonic()

    built = build_day(store, DAY, now=NEXT_MORNING)
    planned, built_in = size_of(store), time.monotonic() - began
    send(store, nameserver, sink)
    sent_in = time.monotonic() - began - built_in

    recipients = [taken.recipient for taken in sink.taken()]
    with store.read() as connection:
        day = report_copies.day_of_sending(connection, NEXT_MORNING)
        jobs = Counter(job.status for job in reports.jobs(connection, 2 * domains))
        reasons = Counter(
            job.reason for job in reports.jobs(connection, 2 * domains, status=JobStatus.REFUSED)
        )
    assert len(built) == limits.destinations_per_day
    assert len(recipients) == day.copies <= limits.destinations_per_day
    assert len(set(recipients)) == day.new_destinations == limits.new_destinations_per_day
    assert not [recipient for recipient in recipients if "victim" in recipient]
    assert day.waiting > 0
    assert day.refused == domains - limits.destinations_per_day
    assert sum(jobs.values()) == domains, "each domain has its answer"
    assert any(reason.startswith(f"one of {day.refused} too many") for reason in reasons)
    assert counted(store, report_job, report_job.c.message.is_not(None)) == limits.destinations_per_day
    assert counted(store, report_copy) == day.copies
    assert counted(store, report_destination) == limits.new_destinations_per_day
    assert counted(store, report_attempt) <= MAX_DESTINATIONS * limits.destinations_per_day
    grown = size_of(store) - before
    assert grown < 600 * domains + 30_000 * limits.destinations_per_day
    print(
        f"{domains} domains: {len(built)} built in {built_in:.0f} s, {day} in {sent_in:.0f} s, jobs {dict(jobs)}; "
        f"the store grew from {before >> 20} MiB by {(planned - before) >> 20} MiB, then {grown >> 20} MiB in all; "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB of memory"
    )


def test_t23_the_day_after_brings_as_many_again_and_then_the_flood_is_over(
    sqlite_store: Store, nameserver: NameServer, sink: Sink
) -> None:
    store = sqlite_store
    save(store, settings(gate="all", new_destinations_per_day=10, destinations_per_day=60))
    flood(store, nameserver, 400)
    build_day(store, DAY, now=NEXT_MORNING)

    for days in range(4):
        send(store, nameserver, sink, days)

    with store.read() as connection:
        days_ = list(report_copies.days_of_sending(connection, NEXT_MORNING).values())
        left = [job for job in reports.jobs(connection, 500) if job.status is JobStatus.SENDING]
    assert all(day.copies <= 60 and day.new_destinations <= 10 for day in days_)
    assert [day.new_destinations for day in days_][:2] == [10, 10]
    assert left == [], "after two days nobody waits any more (AGG-43)"


def test_t23_the_default_gate_gives_a_domain_of_one_day_nothing(
    sqlite_store: Store, nameserver: NameServer, sink: Sink
) -> None:
    store = sqlite_store
    save(store, settings(gate=Gate.ESTABLISHED.value))
    flood(store, nameserver, 400)

    built = build_day(store, DAY, now=NEXT_MORNING)
    send(store, nameserver, sink)

    with store.read() as connection:
        jobs = reports.jobs(connection, 1000)
    assert (built, sink.taken()) == ([], [])
    assert {job.reason for job in jobs} == {"seen on 1 of the last 30 days; it takes 2"}
    assert len(jobs) == 400
