"""Reports that do not arrive: what receivers answer, what comes back, and what follows from it, through a real Postfix."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import count as numbers
from pathlib import Path

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.nameserver import NameServer
from appliance.lab.postfix import PostfixInstance
from appliance.lab.postfix_programs import clean_environment
from appliance.lab.smtp import Reply, Stage, send_message
from appliance.mta.configuration import Configuration
from appliance.node import Endpoint
from appliance.store import reports, suppression
from appliance.store.engine import Store, open_store
from appliance.store.reports import Attempt, Fate, JobStatus, ReportJob
from appliance.store.suppression import Suppression
from reporting.bounces import Bounces
from reporting.following import Follower
from reporting.jobs import build_day, send_pending
from reporting.lmtp import BounceServer
from reporting.return_path import return_paths
from tests.mta.inside import SmtpServer
from tests.mta.instances import appliance_below
from tests.reporting.notices import notice
from tests.reporting.outside import Outside
from tests.reporting.samples import ROW, count, save, settings

pytestmark = pytest.mark.system

HOST = "gateway.test"
FIRST_DAY = date(2026, 3, 1)


@dataclass
class Reporter:
    """The appliance's Postfix with the job behind it, and the world in front; time is what *now* says."""

    store: Store
    postfix: PostfixInstance
    nameserver: NameServer
    world: Outside
    inside: SmtpServer
    now: datetime = datetime(2026, 3, 2, 12, tzinfo=UTC)
    _names: Iterator[int] = field(default_factory=numbers)

    def new_domain(self, *names: str) -> tuple[str, tuple[str, ...]]:
        """A policy domain that wants its reports at addresses of these *names*."""
        domain = f"d{next(self._names)}.test"
        addresses = tuple(f"{name}@{domain}" for name in names)
        rua = ",".join(f"mailto:{address}" for address in addresses)
        self.nameserver.zone.txt(f"_dmarc.{domain}", f"v=DMARC1; p=reject; rua={rua}")
        return domain, addresses

    def report(self, domain: str) -> ReportJob:
        """Build the report about the day before, and send it."""
        day = self.now.date() - timedelta(days=1)
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        count(self.store, replace(ROW, policy_domain=domain, header_from=domain), at=int(noon.timestamp()))
        [job] = [job for job in build_day(self.store, day, now=self.now) if job.policy_domain == domain]
        listener = ("127.0.0.1", self.postfix.config.report_port)
        send_pending(self.store, nameserver=self.nameserver.address, listener=listener, now=self.now)
        return self.job(job.id)

    def job(self, job_id: int) -> ReportJob:
        with self.store.read() as connection:
            job = reports.get(connection, job_id)
        assert job is not None
        return job

    def attempts(self, job: ReportJob) -> dict[str, Attempt]:
        """By recipient."""
        with self.store.read() as connection:
            return {attempt.recipient: attempt for attempt in reports.attempts(connection, job.id)}

    def suppression(self, address: str) -> Suppression | None:
        with self.store.read() as connection:
            return next((s for s in suppression.known(connection) if s.address == address), None)

    def wait_for_fate(self, job: ReportJob, address: str, fate: Fate) -> Attempt:
        self.wait(lambda: self.attempts(job)[address].fate is fate, f"{address} {fate}")
        return self.attempts(job)[address]

    def wait(self, is_so: Callable[[], bool], what: str) -> None:
        give_up_at = time.monotonic() + 60
        while not is_so():
            assert time.monotonic() < give_up_at, f"not {what}:\n{self.postfix.log_tail(40)}"
            time.sleep(0.05)

    def return_path(self, job: ReportJob, address: str) -> str:
        return return_paths(self.store, settings()).of(f"dmarc@{HOST}", job.report_id, address)

    def from_outside(
        self, recipient: str, *, mail_from: str = "", octets: bytes = b"Subject: x\r\n\r\n\r\n"
    ) -> Reply:
        return send_message(
            self.postfix.config.smtp_port, mail_from=mail_from, rcpt_to=[recipient], octets=octets
        )

    def postfix_command(self, *words: str) -> str:
        program, *arguments = words
        command = [program, "-c", str(self.postfix.configuration_directory), *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env=clean_environment(), timeout=60
        ).stdout

    def logged(self, text: str) -> bool:
        return text in self.postfix.log_path.read_text(encoding="utf-8", errors="replace")


@pytest.fixture(scope="module")
def reporter(
    tmp_path_factory: pytest.TempPathFactory, migrated_file: Path, requires_postfix: None
) -> Iterator[Reporter]:
    folder = tmp_path_factory.mktemp("bounces")
    (folder / "dmarcgate.db").write_bytes(migrated_file.read_bytes())
    store = open_store(f"sqlite:///{folder}/dmarcgate.db")
    save(store, settings())
    with Outside() as world, SmtpServer() as inside, NameServer() as nameserver:
        form = Configuration(
            hostname=HOST,
            inside_domains=("inside.test",),
            inside_host="127.0.0.1",
            inside_port=inside.port,
            outgoing_host="127.0.0.1",
            outgoing_port=world.port,
            filter_endpoint="",
            bounce_domain=HOST,
        )
        with PostfixInstance(appliance_below(folder, form)) as postfix:
            running = Reporter(store, postfix, nameserver, world, inside)
            place = os.open(
                postfix.filter_socket.parent, os.O_RDONLY
            )  # the path may be too long for a socket
            server = BounceServer(
                Endpoint(path=f"/proc/self/fd/{place}/bounces.sock"),
                Bounces(store, clock=lambda: running.now),
                hostname=HOST,
            )
            server.start()
            try:
                yield running
            finally:
                server.stop()
                os.close(place)
                store.close()


def test_f13_what_each_receiver_answers_is_seen(reporter: Reporter) -> None:
    """F13: 550, 552, 451, a closed connection; only Postfix tries again."""
    domain, (taken, gone, full, large, busy, hangs_up) = reporter.new_domain(
        "taken", "gone", "full", "large", "busy", "hangsup"
    )
    follower = Follower(reporter.postfix.log_path)

    job = reporter.report(domain)
    for address in (gone, full, large):
        reporter.wait_for_fate(job, address, Fate.BOUNCED)

    def all_are_followed() -> bool:
        follower.follow(reporter.store, reporter.now)
        return all(attempt.fate for attempt in reporter.attempts(job).values())

    reporter.wait(all_are_followed, "followed")

    found = {address: attempt.fate for address, attempt in reporter.attempts(job).items()}
    assert found == {
        taken: Fate.DELIVERED,
        gone: Fate.BOUNCED,
        full: Fate.BOUNCED,
        large: Fate.BOUNCED,
        busy: Fate.DEFERRED,
        hangs_up: Fate.DEFERRED,
    }
    said = {address: attempt.diagnostic for address, attempt in reporter.attempts(job).items()}
    assert "no such user" in said[gone]
    assert "mailbox full" in said[full]
    assert "message too big" in said[large]
    assert "greylisted" in said[busy]
    suppressed = [a for a in found if reporter.suppression(a) is not None]
    assert suppressed == [gone, full, large]
    assert reporter.job(job.id).status is JobStatus.SENT


def test_bnc_03_an_address_that_bounces_gets_nothing_for_7_days_then_30_then_until_it_is_edited(
    reporter: Reporter,
) -> None:
    """Pain 2: dead mailboxes are not mailed for years. BNC-01: the token leads to the destination."""
    domain, (gone,) = reporter.new_domain("gone")
    untils: list[timedelta | None] = []
    for _ in range(3):
        job = reporter.report(domain)
        reporter.wait_for_fate(job, gone, Fate.BOUNCED)
        found = reporter.suppression(gone)
        assert found is not None
        assert found.reason == f"bounce {len(untils) + 1} on {reporter.now:%Y-%m-%d}: 550 5.1.1 no such user"
        untils.append(found.until - reporter.now if found.until else None)
        reporter.now += timedelta(days=1)
        refused = reporter.report(domain)
        assert refused.status is JobStatus.REFUSED
        assert "on the suppression list" in refused.reason
        reporter.now = found.until or reporter.now + timedelta(days=400)

    never = reporter.report(domain)

    assert untils == [timedelta(days=7), timedelta(days=30), None]
    assert never.status is JobStatus.REFUSED
    with reporter.store.begin() as connection:
        suppression.unsuppress(connection, gone)
    reporter.now += timedelta(days=1)
    reporter.wait_for_fate(reporter.report(domain), gone, Fate.BOUNCED)


def test_agg_43_a_report_that_came_back_is_failed_and_not_built_again(reporter: Reporter) -> None:
    domain, (gone,) = reporter.new_domain("gone")

    job = reporter.report(domain)
    reporter.wait_for_fate(job, gone, Fate.BOUNCED)
    Follower(reporter.postfix.log_path).follow(reporter.store, reporter.now)

    failed = reporter.job(job.id)
    assert failed.status is JobStatus.FAILED
    assert failed.reason == "bounced: 550 5.1.1 no such user"
    again = build_day(reporter.store, job.day, now=reporter.now)
    assert domain not in {built.policy_domain for built in again}


def test_agg_43_a_report_that_postfix_gave_up_is_failed_and_its_address_still_gets_others(
    reporter: Reporter,
) -> None:
    domain, (busy,) = reporter.new_domain("busy")
    job = reporter.report(domain)
    queue_id = reporter.attempts(job)[busy].queue_id
    reporter.wait(lambda: reporter.logged(f"{queue_id}: to=<{busy}>"), "tried")

    reporter.postfix_command("postsuper", "-e", queue_id)
    reporter.postfix_command("postqueue", "-i", queue_id)

    assert "greylisted" in reporter.wait_for_fate(job, busy, Fate.EXPIRED).diagnostic
    assert reporter.suppression(busy) is None
    Follower(reporter.postfix.log_path).follow(reporter.store, reporter.now)
    assert reporter.job(job.id).status is JobStatus.FAILED


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda path: re.sub(r"\.[0-9a-f]{12}@", ".0123456789ab@", path), id="wrong code"),
        pytest.param(lambda path: path.replace("+", "+00"), id="no such report"),
        pytest.param(lambda path: path.replace(".", ".00", 1), id="code too long"),
        pytest.param(lambda path: path.partition("+")[0] + f"@{HOST}", id="no token"),
        pytest.param(lambda _: f"somebody@{HOST}", id="no bounce address"),
    ],
)
def test_bnc_05_a_forged_bounce_is_refused_550(reporter: Reporter, forge: Callable[[str], str]) -> None:
    domain, (taken,) = reporter.new_domain("taken")
    job = reporter.report(domain)

    reply = reporter.from_outside(forge(reporter.return_path(job, taken)))

    assert (reply.stage, reply.code) == (Stage.RCPT, 550)


def test_bnc_05_a_token_is_good_for_ten_days(reporter: Reporter) -> None:
    domain, (one, two) = reporter.new_domain("one", "two")
    job = reporter.report(domain)
    sent_at = reporter.now

    try:
        reporter.now = sent_at + timedelta(days=10)
        last = reporter.from_outside(reporter.return_path(job, one))
        reporter.now += timedelta(seconds=1)
        late = reporter.from_outside(reporter.return_path(job, two))
    finally:
        reporter.now = sent_at + timedelta(days=11)

    assert last.accepted
    assert (late.stage, late.code) == (Stage.RCPT, 550)


def test_bnc_04_nobody_is_answered_and_people_are_refused_at_once(reporter: Reporter) -> None:
    """Pain 3: a bounce causes no mail. Who is no mail system is told so before we take the message."""
    domain, (taken,) = reporter.new_domain("taken")
    job = reporter.report(domain)
    path = reporter.return_path(job, taken)
    reporter.wait(lambda: any(address == taken for _, address in reporter.world.taken), "taken")
    before = len(reporter.world.taken)

    person = reporter.from_outside(path, mail_from="ann@sender.example")
    robot = reporter.from_outside(path, octets=b"Subject: Out of office\r\n\r\nI am away.\r\n")
    system = reporter.from_outside(path, mail_from="MAILER-DAEMON@sender.example")

    assert (person.stage, person.code) == (Stage.RCPT, 554)
    assert robot.accepted
    assert system.accepted
    reporter.wait(lambda: _only_reports_wait(reporter), "delivered")
    attempt = reporter.wait_for_fate(job, taken, Fate.DEFERRED)
    assert "not a delivery status notification" in attempt.diagnostic
    assert reporter.suppression(taken) is None
    assert len(reporter.world.taken) == before


def _only_reports_wait(reporter: Reporter) -> bool:
    listed = reporter.postfix_command("postqueue", "-j")
    return all("busy@" in line or "hangsup@" in line for line in listed.splitlines())


def test_bnc_02_a_server_s_late_bounce_from_outside_counts_for_its_destination_only(
    reporter: Reporter,
) -> None:
    """Whoever knows the token, the receiver and the servers on the way, can do what any bounce can, and no more."""
    domain, (one, two) = reporter.new_domain("one", "two")
    job = reporter.report(domain)
    octets = notice(action="failed", status="5.1.1", recipient=two, diagnostic="smtp; 550 5.1.1 left us")

    reply = reporter.from_outside(reporter.return_path(job, one), octets=octets)

    assert reply.accepted
    assert reporter.wait_for_fate(job, one, Fate.BOUNCED).diagnostic == "550 5.1.1 left us"
    assert reporter.attempts(job)[two].fate is not Fate.BOUNCED
    assert reporter.suppression(two) is None


def test_the_postmaster_of_the_bounce_domain_is_still_reached(reporter: Reporter) -> None:
    reply = reporter.from_outside(f"postmaster@{HOST}", mail_from="ann@sender.example")

    assert reply.accepted
    reporter.inside.wait_for("postmaster@inside.test")


def test_bnc_05_the_service_listens_where_postfix_brings_bounces(
    tmp_path: Path, requires_postfix: None
) -> None:
    """In the whole gateway, with the service's own account of who may connect."""
    with Gateway(tmp_path, inside_domains=("corp.example",), page=False, reports=True) as gateway:
        gateway.save(
            verification__enabled=True,
            reports__enabled=True,
            reports__readiness_override="tests",
            reports__organization="Example",
            reports__address="dmarc@corp.example",
            reports__gate="all",
        )
        gateway.zone.txt("_dmarc.bank.test", "v=DMARC1; p=none; rua=mailto:d@bank.test")
        now = datetime.now(UTC)
        count(gateway.store, ROW, at=int(now.timestamp()))
        [job] = build_day(gateway.store, now.date(), now=now, until=now + timedelta(seconds=1))
        listener = ("127.0.0.1", gateway.postfix.config.report_port)
        send_pending(gateway.store, nameserver=gateway.nameserver.address, listener=listener)
        [report] = gateway.outside.wait_until(lambda m: m.recipient == "d@bank.test", "the report")
        port = gateway.postfix.config.smtp_port

        def bounce(path: str) -> Reply:
            octets = notice(
                action="failed", status="5.1.1", recipient="d@bank.test", diagnostic="smtp; 550 no"
            )
            return send_message(port, mail_from="", rcpt_to=[path], octets=octets, client_ip="192.0.2.9")

        forged = bounce("bounces+0123.0123456789ab@corp.example")
        real = bounce(report.return_path)

        assert (forged.stage, forged.code) == (Stage.RCPT, 550)
        assert real.accepted
        give_up_at = time.monotonic() + 30
        while True:
            with gateway.store.read() as connection:
                [attempt] = reports.attempts(connection, job.id)
            if attempt.fate is Fate.BOUNCED:
                break
            assert time.monotonic() < give_up_at, gateway.service("reports").log_tail()
            time.sleep(0.05)
