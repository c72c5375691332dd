"""Failure reports through a real Postfix: who gets one and how many, who gets none, and that none answers another."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from secrets import token_bytes
from typing import Any

import pytest
from sqlalchemy import update

from appliance.lab.gateway import Gateway
from appliance.lab.mailbox import DeliveredMessage
from appliance.lab.services import Command, Service, wait_for
from appliance.lab.smtp import send_message
from appliance.store import failure_intake, failures
from appliance.store.failures import FailureRow
from appliance.store.reports import JobStatus
from appliance.store.schema import failure
from reporting.failure_jobs import send_failures
from reporting.failure_sending import FailureResult
from tests.failing import HEADER, PERSONAL
from tests.reporting.reader import read_failure
from tests.system.behaviour.observing import REPORTING, put_in_force
from tests.system.behaviour.post import OWN, Letter, Owner, Post, genuine, mail, spoof
from tests.system.conftest import INSIDE

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

REPORTS: Mapping[str, object] = {
    "verification.enabled": True,
    **REPORTING,
    "reports.gate": "all",
    "reports.failure_enabled": True,
}
A_DAY = 86_400_000_000
_clients = (f"198.51.100.{number}" for number in count(100))
_labels = count(1)


@pytest.fixture(scope="module")
def post(gateway: Gateway) -> Post:
    put_in_force(gateway, REPORTS)
    return Post(gateway)


@pytest.fixture(scope="module")
def owner(gateway: Gateway) -> Owner:
    return Owner.of(gateway.zone)


@pytest.fixture
def changed(gateway: Gateway) -> Iterator[Callable[..., None]]:
    """Puts other settings in force for one test."""

    def change(**reports: Any) -> None:
        put_in_force(gateway, {**REPORTS, **{f"reports.{name}": value for name, value in reports.items()}})

    yield change
    put_in_force(gateway, REPORTS)


def send(gateway: Gateway) -> list[FailureResult]:
    listener = ("127.0.0.1", gateway.postfix.config.report_port)
    return send_failures(gateway.store, nameserver=gateway.nameserver.address, listener=listener)


def rows(gateway: Gateway, domain: str = "") -> list[FailureRow]:
    """Oldest first; of all domains or of one."""
    with gateway.store.read() as connection:
        found = failures.recent(connection, 10_000)
    return [row for row in reversed(found) if domain in {"", row.policy_domain}]


def mails(gateway: Gateway, recipient: str, number: int = 1) -> tuple[DeliveredMessage, ...]:
    """What *recipient* outside has got: *number* of mails and no more."""
    gateway.outside.wait_until(
        lambda m: m.recipient == recipient, f"mail to {recipient}", count=number, seconds=30
    )
    wait_for("an empty queue", lambda: gateway.postfix.queue_length() == 0, seconds=60)
    found = tuple(m for m in gateway.outside.messages() if m.recipient == recipient)
    assert len(found) == number
    return found


def a_day_passes(gateway: Gateway, domain: str) -> None:
    """As if all that is known of failures of *domain* had happened a day earlier."""
    with gateway.store.begin() as connection:
        for row in rows(gateway, domain):
            connection.execute(
                update(failure)
                .where(failure.c.id == row.id)
                .values(
                    key=token_bytes(16),
                    first_at=failure.c.first_at - A_DAY,
                    last_at=failure.c.last_at - A_DAY,
                    updated_at=failure.c.updated_at - A_DAY,
                )
            )


def asking(owner: Owner, more: str = "") -> str:
    """A domain that asks for failure reports at an address of its own."""
    domain = f"f{next(_labels)}.test"
    owner.authenticate(domain)
    owner.zone.txt(f"_dmarc.{domain}", f"v=DMARC1; p=reject; ruf=mailto:f@{domain}{more}")
    return domain


# ---- who gets one ---------------------------------------------------------------


def test_ruf_04_a_forgery_is_reported_once_an_hour_and_the_next_report_tells_of_the_others(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    domain = asking(owner)

    first = post.one(spoof(domain))
    assert [result.status for result in send(gateway)] == [JobStatus.SENT]
    post.send(*[spoof(domain)] * 20)
    assert send(gateway) == []
    mails(gateway, f"f@{domain}", 1)
    a_day_passes(gateway, domain)
    post.one(spoof(domain))
    assert [result.status for result in send(gateway)] == [JobStatus.SENT]

    one, other = (read_failure(sent.octets) for sent in mails(gateway, f"f@{domain}", 2))
    assert ("incidents" in one, other["incidents"]) == (False, "21")
    assert one["original_envelope_id"] == first.event.envelope.queue_id
    assert one["reported_domain"] == domain
    assert (one["delivery_result"], one["auth_failure"]) == ("reject", ["dmarc"])
    assert one["authentication_mechanisms"] == ["dkim", "spf"]


def test_ruf_10_t24_the_report_tells_nothing_personal_and_has_a_return_path_of_its_own(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    domain = asking(owner)
    octets = HEADER.replace(b"bank.test", domain.encode())

    seen = post.one(Letter(octets, mail_from="boniface@stranger.test"))
    send(gateway)

    [sent] = mails(gateway, f"f@{domain}")
    assert [word for word in PERSONAL if word.encode() in sent.octets.lower()] == []
    assert seen.recipients[0].partition("@")[0].encode() not in sent.octets
    assert sent.texts("Auto-Submitted") == ("auto-generated",)
    [row] = rows(gateway, domain)
    assert sent.return_path.startswith(f"bounces+{row.report_id}.")
    assert row.copies[f"f@{domain}"].queue_id in sent.queue_ids
    assert read_failure(sent.octets)["sample_headers_only"] is True


def test_ruf_05_what_passes_is_reported_only_to_those_who_want_to_hear_of_every_mechanism(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    quiet, curious = asking(owner), asking(owner, "; fo=1")

    post.send(genuine(quiet), genuine(curious))
    send(gateway)

    [sent] = mails(gateway, f"f@{curious}")
    read = read_failure(sent.octets)
    assert read["authentication_mechanisms"] == ["dkim"]
    assert "dmarc=pass" in read["authentication_results"]
    assert rows(gateway, quiet) == []


def test_ruf_06_the_kinds_of_d_and_s_name_the_signature_and_the_records_that_failed(
    gateway: Gateway, post: Post, owner: Owner, changed: Callable[..., None]
) -> None:
    changed(failure_per_destination=10)
    domain = asking(owner, "; fo=d:s")
    broken = owner.signed(mail(f"a@{domain}"), domain).replace(b"Hello", b"Hallo")

    post.one(Letter(broken, mail_from=f"a@{domain}"))
    send(gateway)

    found = {read["auth_failure"][0]: read for read in map(read_mail, mails(gateway, f"f@{domain}", 2))}
    assert (found["bodyhash"]["dkim_domain"], found["bodyhash"]["dkim_selector"]) == (domain, "s")
    assert found["spf"]["spf_dns"] == f'txt : {domain} : "v=spf1 ip4:{OWN} -all"'


def read_mail(sent: DeliveredMessage) -> dict[str, Any]:
    return read_failure(sent.octets)


def test_the_reports_service_sends_what_waits(gateway: Gateway, post: Post, owner: Owner) -> None:
    domain = asking(owner)
    post.one(spoof(domain))

    command = Command("reports", ("reports", "--config", str(gateway.node_file)), gateway.directory)
    service = Service(command, gateway.directory / "reports.log")
    try:
        mails(gateway, f"f@{domain}")
        wait_for("the end", lambda: rows(gateway, domain)[0].status is JobStatus.SENT, service, seconds=30)
    finally:
        service.stop()


# ---- who gets none --------------------------------------------------------------


def test_ruf_03_ext_04_an_outside_host_that_did_not_agree_gets_none(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    """T24, pain 8: nobody can have us write to a victim."""
    domain, victim = asking(owner), "ann@victim.test"
    gateway.zone.txt(f"_dmarc.{domain}", f"v=DMARC1; p=reject; ruf=mailto:{victim},mailto:f@{domain}")

    post.one(spoof(domain))
    [result] = send(gateway)

    mails(gateway, f"f@{domain}")
    assert result.accepted == (f"f@{domain}",)
    assert result.reason == f"victim.test did not agree to reports about {domain}"
    assert not [m for m in gateway.outside.messages() if m.recipient == victim]


def test_ruf_01_switched_off_nothing_is_kept(
    gateway: Gateway, post: Post, owner: Owner, changed: Callable[..., None]
) -> None:
    domain = asking(owner, "; fo=1:d:s")

    changed(failure_enabled=False)
    post.send(spoof(domain), genuine(domain))
    changed(enabled=False)
    post.send(spoof(domain), genuine(domain))

    assert rows(gateway, domain) == []


def test_ruf_09_mail_that_is_about_mail_causes_none(gateway: Gateway, post: Post, owner: Owner) -> None:
    domain = asking(owner)
    letters = (
        Letter(mail(f"a@{domain}"), mail_from=""),
        spoof(domain, "Auto-Submitted: auto-replied"),
        spoof(domain, "Content-Type: multipart/report; report-type=feedback-report; boundary=x"),
        spoof("corp.example"),
    )
    gateway.zone.txt("_dmarc.corp.example", "v=DMARC1; p=reject; ruf=mailto:f@corp.example")

    post.send(*letters)
    to_us = send_message(
        gateway.postfix.config.smtp_port,
        mail_from="a@stranger.test",
        rcpt_to=["dmarc@corp.example"],
        octets=mail(f"a@{domain}"),
        client_ip="198.51.100.66",
    )

    assert to_us.code == 550
    assert rows(gateway, domain) == []
    assert rows(gateway, "corp.example") == []


def test_t48_mail_of_our_own_people_causes_none(gateway: Gateway, post: Post, owner: Owner) -> None:
    domain = asking(owner, "; fo=1:d:s")

    post.send(
        Letter(mail(f"a@{domain}"), login="anna"),
        Letter(mail(f"a@{domain}"), client_ip="127.0.0.1"),
    )

    assert rows(gateway, domain) == []


def test_t24_a_flood_of_names_gets_no_more_than_the_caps_and_the_rest_is_counted(
    tmp_path: Path, requires_postfix: None
) -> None:
    with Gateway(tmp_path, inside_domains=(INSIDE,), page=False, workers=1) as gateway:
        put_in_force(gateway, {**REPORTS, "reports.failure_per_day": 2})
        gateway.zone.txt("_dmarc.flood.test", "v=DMARC1; p=reject; ruf=mailto:f@flood.test")

        Post(gateway).send(*[spoof(f"n{number}.flood.test") for number in range(40)])
        results = send(gateway)

        mails(gateway, "f@flood.test", 2)
        *kept, left_over = sorted(rows(gateway), key=lambda row: row.incidents)
        assert sorted(result.status for result in results) == [JobStatus.REFUSED] * 18 + [JobStatus.SENT] * 2
        assert [row.incidents for row in kept] == [1] * 20
        assert (left_over.incidents, left_over.reason) == (20, failure_intake.NO_ROOM)


# ---- two that report to each other ----------------------------------------------


class Reporter:
    """A gateway that reports failures without any cap that would hide a loop, at an address inside."""

    def __init__(self, gateway: Gateway, domain: str) -> None:
        self.gateway = gateway
        self.domain = domain
        self.address = f"dmarc@{domain}"
        self._forwarded = 0
        put_in_force(
            gateway,
            {
                **REPORTS,
                "reports.address": self.address,
                "reports.failure_per_destination": 1000,
                "reports.failure_per_day": 10_000,
            },
        )

    def send_to(self, other: "Reporter") -> int:
        """Send what is due, and carry what left for *other* there; how many mails that were."""
        send(self.gateway)
        wait_for("an empty queue", lambda: self.gateway.postfix.queue_length() == 0, seconds=60)
        left = self.gateway.outside.messages()[self._forwarded :]
        self._forwarded += len(left)
        for one in left:
            other.receive(one.octets, one.return_path, one.recipient)
        return len(left)

    def receive(self, octets: bytes, mail_from: str, recipient: str) -> None:
        """From another client each time: all that is alike would be one report."""
        reply = send_message(
            self.gateway.postfix.config.smtp_port,
            mail_from=mail_from,
            rcpt_to=[recipient],
            octets=octets,
            client_ip=next(_clients),
        )
        assert reply.code in {250, 550}, reply


def test_t24_two_gateways_that_report_to_each_other_fall_silent(
    tmp_path: Path, requires_postfix: None
) -> None:
    """Pain 3. Whatever one sends fails DMARC at the other, and each asks for failure reports about everything."""
    with ExitStack() as running:
        one, other = (
            Reporter(
                running.enter_context(
                    Gateway(tmp_path / name, inside_domains=(f"{name}.test",), page=False, workers=1)
                ),
                f"{name}.test",
            )
            for name in ("one", "other")
        )
        for reporter in (one, other):
            for zone in (one.gateway.zone, other.gateway.zone):
                record = f"v=DMARC1; p=none; fo=1:d:s; ruf=mailto:{reporter.address}"
                zone.txt(f"_dmarc.{reporter.domain}", record)
                zone.txt(reporter.domain, "v=spf1 -all")
        other.receive(mail(f"a@{one.domain}"), "a@stranger.test", f"u@{other.domain}")
        one.receive(mail(f"a@{other.domain}"), f"a@{other.domain}", f"u@{one.domain}")

        exchanged = [(one.send_to(other), other.send_to(one)) for _ in range(4)]

    assert exchanged == [(2, 1), (0, 0), (0, 0), (0, 0)]
