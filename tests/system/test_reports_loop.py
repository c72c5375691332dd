"""Two gateways that report to each other: what their users write causes reports, the reports cause none (AGG-20, T24, pain 3)."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from appliance.lab.gateway import Gateway
from appliance.lab.mailbox import DeliveredMessage
from appliance.lab.services import wait_for
from appliance.lab.smtp import send_message
from appliance.store.schema import fact, fact_cause
from reporting.failure_jobs import send_failures
from reporting.jobs import build_day, send_pending

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

DAY = 86_400
DAYS = 5
FIRST_DAY = datetime.now(UTC).date() + timedelta(days=10)
"""The filter counts by the machine's clock; what it counted is moved to the day that is played."""


def seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


@dataclass
class Side:
    """One organization: its domain, its gateway, the address that its mail comes from."""

    domain: str
    ip: str
    gateway: Gateway
    carried: set[Path] = field(default_factory=set)

    def receive(self, octets: bytes, *, mail_from: str, recipient: str, sender: "Side") -> None:
        reply = send_message(
            self.gateway.postfix.config.smtp_port,
            mail_from=mail_from,
            rcpt_to=[recipient],
            octets=octets,
            helo=f"mx.{sender.domain}",
            client_ip=sender.ip,
        )
        assert reply.accepted, reply

    def outgoing(self) -> list[DeliveredMessage]:
        """What left this gateway and was not carried on yet."""
        assert_idle(self.gateway)
        new = [message for message in self.gateway.outside.messages() if message.path not in self.carried]
        self.carried.update(message.path for message in new)
        return new

    def date_back(self, day: date) -> None:
        """What was counted by now was counted on *day*."""
        start, first = seconds(day), seconds(FIRST_DAY)
        with self.gateway.store.begin() as connection:
            connection.execute(update(fact).where(fact.c.hour < first).values(hour=start + fact.c.hour % DAY))
            connection.execute(
                update(fact_cause).where(fact_cause.c.day < first // DAY).values(day=start // DAY)
            )


def assert_idle(gateway: Gateway) -> None:
    wait_for("an empty queue", lambda: not gateway.postfix.queue_length(), seconds=60)


def send_aggregate_reports(side: Side, day: date, now: datetime) -> None:
    build_day(side.gateway.store, day, now=now)
    send_pending(
        side.gateway.store,
        nameserver=side.gateway.nameserver.address,
        listener=("127.0.0.1", side.gateway.postfix.config.report_port),
        now=now,
    )


def send_failure_reports(side: Side, _day: date, _now: datetime) -> None:
    """By the machine's clock, like the samples that the filter took."""
    send_failures(
        side.gateway.store,
        nameserver=side.gateway.nameserver.address,
        listener=("127.0.0.1", side.gateway.postfix.config.report_port),
    )


NIGHTLY: tuple[Callable[[Side, date, datetime], None], ...] = (send_aggregate_reports, send_failure_reports)
"""All that a gateway mails on its own."""


@pytest.fixture
def sides(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> Iterator[tuple[Side, Side]]:
    names = (("ann.example", "192.0.2.1"), ("bob.example", "192.0.2.2"))
    with ExitStack() as running:
        gateways = [
            running.enter_context(
                Gateway(tmp_path_factory.mktemp("side"), inside_domains=(domain,), page=False, workers=1)
            )
            for domain, _ in names
        ]
        for (domain, _), gateway in zip(names, gateways, strict=True):
            for author, ip in names:
                rua, ruf = (",".join(f"mailto:{tag}@{other}" for other, _ in names) for tag in ("rua", "ruf"))
                gateway.zone.txt(f"_dmarc.{author}", f"v=DMARC1; p=none; fo=1; rua={rua}; ruf={ruf}")
                gateway.zone.txt(author, f"v=spf1 ip4:{ip} -all")
                gateway.zone.txt(f"*._report._dmarc.{author}", "v=DMARC1")
            gateway.save(
                verification__enabled=True,
                identity__protected_domains=[domain],
                reports__enabled=True,
                reports__readiness_override="tests",
                reports__organization=domain,
                reports__address=f"dmarc-reports@{domain}",
                reports__gate="all",
                reports__failure_enabled=True,
                reports__failure_per_destination=1000,
                reports__failure_per_day=1000,
            )
        ann, bob = (Side(domain, ip, gateway) for (domain, ip), gateway in zip(names, gateways, strict=True))
        yield ann, bob


def write(sender: Side, receiver: Side) -> None:
    """One of the *sender*'s people writes to one of the *receiver*'s."""
    author = f"person@{sender.domain}"
    octets = (
        f"From: {author}\r\nSubject: lunch\r\nMessage-ID: <1@{sender.domain}>\r\n\r\nAt noon?\r\n".encode()
    )
    receiver.receive(octets, mail_from=author, recipient=f"person@{receiver.domain}", sender=sender)


def bounce(sender: Side, receiver: Side, returned: DeliveredMessage) -> None:
    """The *sender*'s server says that its mailbox is gone."""
    octets = (
        f"From: MAILER-DAEMON@{sender.domain}\r\nAuto-Submitted: auto-replied\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\nMIME-Version: 1.0\r\n\r\n--b--\r\n"
    ).encode()
    receiver.receive(octets, mail_from="", recipient=f"postmaster@{receiver.domain}", sender=sender)
    assert returned.return_path


def test_t24_report_traffic_between_two_gateways_ends_when_their_users_fall_silent(
    sides: tuple[Side, Side],
) -> None:
    """Five days: users write on the first two, every report arrives, is bounced as well, and is counted like all mail."""
    ann, bob = sides
    arrived: list[int] = []

    for number in range(DAYS):
        day = FIRST_DAY + timedelta(days=number)
        mail = [(ann, bob, message) for message in ann.outgoing()]
        mail += [(bob, ann, message) for message in bob.outgoing()]
        arrived.append(len(mail))
        for sender, receiver, message in mail:
            receiver.receive(
                message.octets, mail_from=message.return_path, recipient=message.recipient, sender=sender
            )
            bounce(receiver, sender, message)
        if number < 2:
            write(ann, bob)
            write(bob, ann)
        for side in sides:
            side.date_back(day)
            for mails in NIGHTLY:
                mails(side, day, datetime(day.year, day.month, day.day, 1, tzinfo=UTC) + timedelta(days=1))

    # The second day's failures are like the first day's: told of only when the clock's hour has changed meanwhile.
    assert arrived in ([0, 4, 2, 0, 0], [0, 4, 4, 0, 0])
    assert not [message for side in sides for message in side.outgoing()]
