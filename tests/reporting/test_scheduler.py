"""The reports service: does what is due when it starts, and ends when it is told to."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.lab.nameserver import NameServer
from appliance.node import Node
from appliance.store import reports
from appliance.store.engine import Store
from appliance.store.reports import JobStatus
from reporting.jobs import build_due
from reporting.scheduler import make_scheduler
from tests.reporting.samples import HOUR, ROW, count, save, settings
from tests.reporting.sink import StartSink

pytestmark = pytest.mark.system

SERVICE = """
import sys
from appliance.node import Node
from reporting.scheduler import run_forever

store, resolver, listener, folder = sys.argv[1:]
postfix = {"reports": listener, "bounces": f"unix:{folder}/bounces.sock", "log": f"{folder}/maillog"}
run_forever(Node(store=store, resolver=resolver, postfix=postfix))
"""


@contextlib.contextmanager
def service(store_url: str, nameserver: NameServer, listener: str) -> Iterator[subprocess.Popen[bytes]]:
    folder = Path(store_url.removeprefix("sqlite:///")).parent
    command = [sys.executable, "-c", SERVICE, store_url, nameserver.address, listener, str(folder)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_sent(store: Store, *, but: int = 0) -> None:
    give_up_at = time.monotonic() + 60
    while True:
        with store.read() as connection:
            jobs = [job for job in reports.jobs(connection) if job.id != but]
        if jobs and all(job.status is JobStatus.SENT for job in jobs):
            return
        if time.monotonic() > give_up_at:
            pytest.fail(f"not sent: {jobs}")
        time.sleep(0.1)


def test_the_service_sends_what_was_missed_and_ends_on_sigterm(
    sqlite_store: Store,
    nameserver: NameServer,
    start_sink: StartSink,
) -> None:
    save(sqlite_store, settings())
    two_days_ago = datetime.now(UTC) - timedelta(days=2)
    count(sqlite_store, ROW, at=int(two_days_ago.timestamp()) // HOUR * HOUR)
    nameserver.zone.txt("_dmarc.bank.test", "v=DMARC1; p=reject; rua=mailto:d@bank.test")

    sink = start_sink()

    with service(sqlite_store.url, nameserver, f"127.0.0.1:{sink.port}") as process:
        wait_until_sent(sqlite_store)
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=30)

    assert [taken.recipient for taken in sink.taken()] == ["d@bank.test"]
    assert status == 0


def test_the_day_is_built_soon_after_half_past_midnight_by_each_node_at_its_own_time_agg_19(
    sqlite_store: Store,
) -> None:
    scheduler = make_scheduler(sqlite_store, Node())
    trigger = scheduler.get_job("report").trigger
    noon = datetime(2026, 3, 29, 12, tzinfo=UTC)

    moments = {trigger.get_next_fire_time(None, noon) for _ in range(50)}

    assert len(moments) == 50
    assert min(moments) >= datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
    assert max(moments) <= datetime(2026, 3, 30, 0, 35, tzinfo=UTC)


def test_f11_runs_that_were_missed_are_one_run_and_none_overlaps_another(sqlite_store: Store) -> None:
    """A machine that slept, or whose clock jumped: the scheduler makes up for it once."""
    scheduler = make_scheduler(sqlite_store, Node())

    jobs = [scheduler.get_job(name) for name in ("catch up", "report", "send")]
    scheduler.start(paused=True)  # defaults count from here on
    try:
        assert {(job.coalesce, job.max_instances, job.misfire_grace_time) for job in jobs} == {
            (True, 1, None)
        }
        assert {job.executor for job in jobs} == {"default"}
    finally:
        scheduler.shutdown()


def test_agg_19_the_service_sends_nothing_before_its_time(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    save(sqlite_store, settings())
    two_days_ago = datetime.now(UTC) - timedelta(days=2)
    for domain in ("now.test", "later.test"):
        row = replace(ROW, policy_domain=domain)
        count(sqlite_store, row, at=int(two_days_ago.timestamp()) // HOUR * HOUR)
        nameserver.zone.txt(f"_dmarc.{domain}", f"v=DMARC1; p=reject; rua=mailto:d@{domain}")
    later, _ = sorted(build_due(sqlite_store), key=lambda job: job.policy_domain)
    with sqlite_store.begin() as connection:
        reports.set_due(connection, later.id, datetime.now(UTC) + timedelta(hours=1))
    sink = start_sink()

    with service(sqlite_store.url, nameserver, f"127.0.0.1:{sink.port}") as process:
        wait_until_sent(sqlite_store, but=later.id)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)

    assert [taken.recipient for taken in sink.taken()] == ["d@now.test"]
