"""Killed at each step of sending a report: none is missing, none doubled but by a repeat of the same octets (F13, pains 4 and 5).

Whole with ``--long``: 1,000 policy domains at each of the six steps.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from appliance.lab.mailbox import DeliveredMessage, Mailbox
from appliance.lab.nameserver import NameServer
from appliance.lab.postfix import PostfixInstance
from appliance.store import keys, reports
from appliance.store.engine import Store
from appliance.store.keys import Algorithm
from appliance.store.reports import JobStatus, ReportJob
from appliance.store.schema import report_job, signing_key
from reporting.jobs import build_day, send_pending
from tests.postfix import config_below
from tests.reporting.dying import NODE
from tests.reporting.samples import ROW, count, save, settings

pytestmark = [pytest.mark.system, pytest.mark.timeout(7200)]

FIRST_DAY = date(2026, 3, 1)
WHOLE = 1000


@dataclass
class Outbox:
    """Reports that are ready, the Postfix that takes them, and processes that die."""

    store: Store
    nameserver: NameServer
    postfix: PostfixInstance
    processes: subprocess.Popen[str]
    now: datetime
    _days: int = 0

    def fill(self, domains: int) -> list[ReportJob]:
        """Reports about a day of their own, for so many domains."""
        day = FIRST_DAY + timedelta(days=self._days)
        self._days += 1
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        for number in range(domains):
            domain = f"d{number}.test"
            self.nameserver.zone.txt(f"_dmarc.{domain}", f"v=DMARC1; p=none; rua=mailto:r@{domain}")
            row = replace(ROW, policy_domain=domain, header_from=domain)
            count(self.store, row, at=int(midnight.timestamp()))
        built = build_day(self.store, day, now=self.now)
        assert len(built) == domains
        return built

    def run(self, lives: int | str) -> tuple[int, list[str]]:
        """A process that sends; it dies before its call number *lives*. Its exit status, and the calls that it tells."""
        assert self.processes.stdin is not None
        assert self.processes.stdout is not None
        print(lives, file=self.processes.stdin, flush=True)
        status, names = json.loads(self.processes.stdout.readline())
        return status, names

    def calls(self) -> list[str]:
        """Those of a run that sends one report; the very first run of all makes a secret in the store as well."""
        calls: list[str] = []
        for _ in range(2):
            self.fill(1)
            status, calls = self.run("all")
            assert status == 0
        return calls

    def recover(self) -> None:
        """The leases of the dead run out, and a process that lives sends what is left."""
        with self.store.begin() as connection:
            connection.execute(update(report_job).values(lease_until=0))
        self.await_idle_listener()
        send_pending(
            self.store,
            nameserver=self.nameserver.address,
            listener=("127.0.0.1", self.postfix.config.report_port),
            now=self.now,
            node=NODE,
            log=self.postfix.log_path,
        )

    def await_idle_listener(self) -> None:
        """Until Postfix has noted the end of each session, and has nothing left to deliver."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            log = self.postfix.log_path.read_text(encoding="utf-8", errors="replace")
            begun, ended = (
                len(re.findall(rf"/report/smtpd\[\d+\]: {word} from", log))
                for word in ("connect", "disconnect")
            )
            if begun == ended and not self.postfix.queue_length():
                return
            time.sleep(0.05)
        raise AssertionError("a session of the report listener doesn't end")

    def delivered(self) -> dict[tuple[str, str], list[DeliveredMessage]]:
        """What arrived, by Report-ID and recipient."""
        self.await_idle_listener()
        found = defaultdict(list)
        for message in Mailbox(self.postfix.outside_maildir).messages():
            [subject] = message.texts("Subject")
            found[subject.partition("Report-ID: <")[2].rstrip(">"), message.recipient].append(message)
        return found


@pytest.fixture
def outbox(
    sqlite_store: Store, nameserver: NameServer, tmp_path: Path, requires_postfix: None
) -> Iterator[Outbox]:
    now = datetime(2026, 4, 1, 1, tzinfo=UTC)
    save(sqlite_store, settings(destinations_per_day=1_000_000, new_destinations_per_day=100_000))
    key = keys.generate(sqlite_store, "gateway.test", Algorithm.RSA, actor="tests", now=now)
    with sqlite_store.begin() as connection:
        keys.activate(connection, key, actor="tests", now=now)
    with PostfixInstance(config_below(tmp_path / "postfix", "inside.test")) as postfix:
        place = (nameserver.address, str(postfix.config.report_port), str(postfix.log_path), now.isoformat())
        command = [sys.executable, "-m", "tests.reporting.dying", sqlite_store.url, *place]
        with (
            (tmp_path / "dying.log").open("wb") as log,
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            ) as processes,
        ):
            try:
                yield Outbox(sqlite_store, nameserver, postfix, processes, now)
            finally:
                assert processes.stdin is not None
                with contextlib.suppress(BrokenPipeError):
                    processes.stdin.close()
                processes.wait(30)


def six_steps(calls: list[str]) -> dict[str, int]:
    """Before which call of a run each step ends."""
    claimed = calls.index("commit UPDATE report_job")
    fetched = calls.index("commit UPDATE report_job", claimed + 1)
    frozen = calls.index("commit UPDATE report_copy")
    handed_over = next(at for at, name in enumerate(calls) if name == "send DKIM")
    recorded = calls.index("commit UPDATE report_copy", handed_over)
    return {
        "claimed": claimed + 1,
        "destinations fetched": fetched,
        "octets frozen": frozen + 1,
        "handed over, no reply yet": handed_over + 1,
        "reply read, not recorded": recorded,
        "recorded, the report's status not": recorded + 1,
    }


def assert_sent_once(
    outbox: Outbox, jobs: list[ReportJob], kills: int
) -> dict[tuple[str, str], list[DeliveredMessage]]:
    """Every report is where it should be, as often as it should; returns those that came twice."""
    delivered = {
        key: copies for key, copies in outbox.delivered().items() if key[0] in {j.report_id for j in jobs}
    }
    assert delivered.keys() == {(job.report_id, f"r@{job.policy_domain}") for job in jobs}
    for copies in delivered.values():
        assert len(copies) <= 2
        assert len({copy.octets[copy.octets.index(b"DKIM-Signature") :] for copy in copies}) == 1
        assert len({copy.return_path for copy in copies}) == 1
    twice = {key: copies for key, copies in delivered.items() if len(copies) > 1}
    assert len(twice) <= kills
    for job in jobs:
        with outbox.store.read() as connection:
            now = reports.get(connection, job.id)
            [attempt] = [a for a in reports.attempts(connection, job.id) if a.outcome == "accepted"]
        assert now is not None
        assert now.status is JobStatus.SENT
        copies = delivered[job.report_id, attempt.recipient]
        assert any(attempt.queue_id in copy.queue_ids for copy in copies)
    return twice


def test_f13_a_sender_killed_at_any_call_loses_no_report_and_doubles_none(outbox: Outbox) -> None:
    """Every call of the system that changes something, or talks to somebody, once."""
    calls = outbox.calls()
    jobs = outbox.fill(len(calls))

    statuses = [outbox.run(lives)[0] for lives in range(len(calls))]
    outbox.recover()

    assert set(statuses) == {-9}
    twice = assert_sent_once(outbox, jobs, kills=0)
    print(f"{len(calls)} calls {calls}, {len(twice)} reports came twice")


def test_f13_reports_of_many_domains_survive_kills_at_each_of_six_steps(
    outbox: Outbox, long_run: bool
) -> None:
    """Without Postfix's log at most one repeat for each kill; with it, as here, none."""
    domains = WHOLE if long_run else 8
    calls = outbox.calls()

    for step, lives in six_steps(calls).items():
        jobs = outbox.fill(domains)
        began = time.monotonic()
        statuses = {outbox.run(lives)[0] for _ in jobs}
        outbox.recover()

        twice = assert_sent_once(outbox, jobs, kills=0)
        assert statuses == {-9}
        print(f"{step}: {domains} kills, {len(twice)} came twice, {time.monotonic() - began:.0f} s")


def test_f13_without_the_log_a_kill_costs_at_most_one_repeat_of_the_same_octets_agg_32(
    outbox: Outbox,
) -> None:
    """As on a machine whose log can't be read: the sender then can't know, and keys may have changed meanwhile."""
    steps = six_steps(outbox.calls())
    jobs = outbox.fill(6)

    for step in ("octets frozen", "handed over, no reply yet", "reply read, not recorded"):
        outbox.run(steps[step])
        outbox.run(steps[step])
    outbox.await_idle_listener()
    outbox.postfix.log_path.rename(outbox.postfix.log_path.with_name("gone"))
    with outbox.store.begin() as connection:
        connection.execute(delete(signing_key))
        connection.execute(update(report_job).values(lease_until=0))
    send_pending(
        outbox.store,
        nameserver=outbox.nameserver.address,
        listener=("127.0.0.1", outbox.postfix.config.report_port),
        now=outbox.now,
        node=NODE,
        log=outbox.postfix.log_path,
    )
    (outbox.postfix.log_path.with_name("gone")).rename(outbox.postfix.log_path)

    twice = assert_sent_once(outbox, jobs, kills=4)
    assert len(twice) == 4, "those that Postfix had before the kill"
