"""Postfix fails, clients drop off or come in floods: no message is lost, and every copy and every event is explained (F4, F5)."""

import contextlib
import os
import signal
import smtplib
import stat
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path

import pytest

from appliance.lab.gateway import AUTHSERV_ID, Gateway
from appliance.lab.services import wait_for
from appliance.lab.smtp import RefusedError, SmtpClient, send_message
from appliance.store import events
from tests.processes import children_of
from tests.system.conftest import INSIDE, Outsider

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

GOOD = "192.0.2.9"
SENDERS = 8


@pytest.fixture(scope="module", autouse=True)
def _settings(gateway: Gateway) -> None:
    gateway.zone.txt("good.example", f"v=spf1 ip4:{GOOD} -all")
    gateway.zone.txt("_dmarc.good.example", "v=DMARC1; p=reject")
    gateway.save(verification__enabled=True)


# ---- a load that keeps account ---------------------------------------------------


def mail(name: str) -> bytes:
    return (
        f"From: Sender <a@good.example>\r\nTo: u@{INSIDE}\r\nSubject: {name}\r\nMessage-ID: <{name}@good.example>\r\n"
        f"\r\nThis is {name}.\r\n"
    ).encode()


@dataclass
class Load:
    """Clients that come again until a message is taken, and remember what they cannot know."""

    gateway: Gateway
    prefix: str
    attempts: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    """Attempts that ended without a reply: the message may have been taken."""
    taken: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def send(self, messages: int, disturb: Callable[[], None], *, drop_every: int = 0) -> None:
        """Send *messages*, and run *disturb* beside that; of some the client drops off after the dot."""
        disturbing = threading.Thread(target=disturb)
        disturbing.start()
        try:
            with ThreadPoolExecutor(SENDERS) as pool:
                list(pool.map(lambda number: self._deliver(number, drop_every), range(messages)))
        finally:
            self.taken.release(messages)  # so that the disturbances end, too
            disturbing.join()

    def _deliver(self, number: int, drop_every: int) -> None:
        name = f"{self.prefix}.{number}"
        if drop_every and number % drop_every == 0:
            self._drop(name)
        for _ in range(400):
            if self._attempt(name):
                self.taken.release()
                return
            time.sleep(0.1)
        raise AssertionError(f"{name} was never taken")

    def _attempt(self, name: str) -> bool:
        self.attempts[name] += 1
        try:
            with SmtpClient(self.gateway.postfix.config.smtp_port, client_ip=GOOD) as client:
                reply = client.send(mail_from="a@good.example", rcpt_to=[f"u@{INSIDE}"], octets=mail(name))
        except RefusedError:
            return False
        except (OSError, smtplib.SMTPException):
            self.unanswered[name] += 1
            return False
        assert reply.code == 250 or 400 <= reply.code < 500, reply
        return reply.code == 250

    def _drop(self, name: str) -> None:
        """Send all of the message and hang up."""
        self.attempts[name] += 1
        self.unanswered[name] += 1
        with contextlib.suppress(OSError, smtplib.SMTPException, RefusedError):
            client = SmtpClient(self.gateway.postfix.config.smtp_port, client_ip=GOOD).__enter__()
            for line in ("MAIL FROM:<a@good.example>", f"RCPT TO:<u@{INSIDE}>", "DATA"):
                client.command(line)
            client._smtp.send(mail(name) + b".\r\n")
            client._smtp.close()

    def assert_accounted_for(self) -> None:
        copies: defaultdict[str, set[str]] = defaultdict(set)
        self._await_delivery()
        for message in self.gateway.inside.messages():
            name = (message.message_id or "").strip("<>").partition("@")[0]
            if name.startswith(f"{self.prefix}."):
                assert message.texts("Authentication-Results")[0].startswith(f"{AUTHSERV_ID};"), name
                assert "dmarc=pass" in message.texts("Authentication-Results")[0]
                copies[name].add(message.queue_ids[0])
        counted: defaultdict[str, list[str]] = defaultdict(list)
        with self.gateway.store.read() as connection:
            for event in events.recent(connection, 100_000):
                counted[event.message_id.strip("<>").partition("@")[0]].append(event.queue_id)
        assert set(copies) == set(self.attempts), "nothing is lost"
        assert not {name: ids for name, ids in copies.items() if len(ids) > 1 + self.unanswered[name]}
        unexplained = {
            name: (copies[name], counted[name], self.attempts[name])
            for name in copies
            if any(counted[name].count(queue_id) != 1 for queue_id in copies[name])
            or len(counted[name]) > self.attempts[name]
        }
        assert not unexplained

    def _await_delivery(self) -> None:
        def all_there() -> bool:
            there = {
                (m.message_id or "").strip("<>").partition("@")[0] for m in self.gateway.inside.messages()
            }
            return self.gateway.postfix.queue_length() == 0 and set(self.attempts) <= there

        wait_for("all mail", all_there, seconds=120)


def processes(gateway: Gateway, name: str) -> list[int]:
    """Postfix's running processes of *name*."""
    found = []
    for pid in gateway.postfix._processes():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                found.append(pid)
    return found


def kill(gateway: Gateway, name: str) -> None:
    for pid in processes(gateway, name)[:2]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def restart(gateway: Gateway) -> None:
    gateway.postfix.stop()
    gateway.postfix.start()


def kill_master(gateway: Gateway) -> None:
    kill(gateway, "master")
    restart(gateway)


DISTURBANCES: dict[str, Callable[[Gateway], None]] = {
    "smtpd": lambda gateway: kill(gateway, "smtpd"),
    "cleanup": lambda gateway: kill(gateway, "cleanup"),
    "reload": lambda gateway: gateway.postfix.reload(),
    "master": kill_master,
    "stop": restart,
}

_loads = count()


def disturb(load: Load, kinds: Iterator[str], messages: int, between: int) -> Callable[[], None]:
    """A disturbance after every *between* messages."""

    def run() -> None:
        for _ in range(messages // between - 1):
            for _ in range(between):
                load.taken.acquire()
            DISTURBANCES[next(kinds)](load.gateway)

    return run


def test_f4_postfix_killed_reloaded_and_restarted_loses_no_message(gateway: Gateway, long_run: bool) -> None:
    """Copies come only from lost replies, as SMTP has it (RFC 5321 section 6.1)."""
    messages, between = (5000, 100) if long_run else (250, 20)
    load = Load(gateway, f"postfix{next(_loads)}")

    load.send(messages, disturb(load, cycle(DISTURBANCES), messages, between))

    load.assert_accounted_for()


def test_f5_clients_that_drop_off_after_the_dot_cost_no_message_and_no_event(
    gateway: Gateway, long_run: bool
) -> None:
    messages = 2000 if long_run else 150
    load = Load(gateway, f"drop{next(_loads)}")

    load.send(messages, lambda: None, drop_every=3)

    load.assert_accounted_for()
    assert sum(load.unanswered.values()) >= messages // 3


# ---- floods ----------------------------------------------------------------------


def workers(gateway: Gateway) -> set[int]:
    return children_of(gateway.service("filter").pid)


def test_f17_two_hundred_clients_at_a_time_are_served_or_put_off_and_then_mail_flows(
    gateway: Gateway, outsider: Outsider
) -> None:
    load, before = Load(gateway, f"flood{next(_loads)}"), workers(gateway)
    done, most_files = threading.Event(), [0]

    def watch() -> None:
        while not done.wait(0.05):
            files = [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in before]
            most_files.append(max(files))

    watching = threading.Thread(target=watch)
    watching.start()
    with ThreadPoolExecutor(200) as pool:
        list(pool.map(lambda number: load._deliver(number, 0), range(200)))
    done.set()
    watching.join()

    load.assert_accounted_for()
    assert max(most_files) < 200
    assert workers(gateway) == before
    assert outsider.send(mail("after"), mail_from="a@good.example", client_ip=GOOD).fate == "delivered"


def test_t42_clients_that_drip_hold_up_nobody(gateway: Gateway, outsider: Outsider) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(20):
            slow = stack.enter_context(SmtpClient(gateway.postfix.config.smtp_port, client_ip=GOOD))
            for line in ("MAIL FROM:<a@good.example>", f"RCPT TO:<u@{INSIDE}>", "DATA")[: number % 3 + 1]:
                slow.command(line)
            slow._smtp.send(b"F")
            stack.callback(slow._smtp.close)

        sent = outsider.send(mail("beside"), mail_from="a@good.example", client_ip=GOOD)

    assert sent.fate == "delivered"


def test_t42_a_helo_name_beyond_all_measure_is_harmless(gateway: Gateway, outsider: Outsider) -> None:
    before = workers(gateway)

    with contextlib.suppress(RefusedError, OSError, smtplib.SMTPException):
        send_message(
            gateway.postfix.config.smtp_port,
            mail_from="a@good.example",
            rcpt_to=[f"u@{INSIDE}"],
            octets=mail("helo"),
            client_ip=GOOD,
            helo="h" * 1_000_000 + ".example",
        )

    assert outsider.send(mail("after-helo"), mail_from="a@good.example", client_ip=GOOD).fate == "delivered"
    assert workers(gateway) == before


def test_t42_a_thousand_recipients_are_one_message_and_one_event(gateway: Gateway) -> None:
    """Postfix's smtpd_recipient_limit: it puts off the one beyond."""
    recipients = [f"r{number}@{INSIDE}" for number in range(1001)]

    reply = send_message(
        gateway.postfix.config.smtp_port,
        mail_from="a@good.example",
        rcpt_to=recipients,
        octets=mail("crowd"),
        client_ip="198.51.100.66",
    )

    assert reply.code == 550
    assert [address for address, _, _ in reply.refused_recipients] == recipients[1000:]
    with gateway.store.read() as connection:
        crowds = [e for e in events.recent(connection, 50) if e.message_id == "<crowd@good.example>"]
    assert [event.outcome for event in crowds] == ["reject"]


@pytest.mark.parametrize(
    ("fields", "fate"),
    [
        pytest.param(b"X-Padding: " + b"x" * 900 + b"\r\n", "quarantined", id="many fields: malformed (FROM-14)"),
        pytest.param(b" " + b"x" * 900 + b"\r\n", "delivered", id="one field: Postfix cuts it at header_size_limit"),
    ],
)  # fmt: skip
def test_t42_a_header_of_ten_megabytes_is_judged(
    gateway: Gateway, outsider: Outsider, fields: bytes, fate: str
) -> None:
    before = workers(gateway)
    header = b"X-Huge: x\r\n" + fields * 11_000

    sent = outsider.send(header + mail("header"), mail_from="a@good.example", client_ip=GOOD)

    assert sent.fate == fate
    assert workers(gateway) == before


# ---- who may connect --------------------------------------------------------------


def test_t41_the_socket_is_open_to_postfix_alone(gateway: Gateway) -> None:
    path = gateway.postfix.filter_socket

    modes = stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode) & 0o777

    assert modes == (0o660, 0o750)
    assert {path.stat().st_gid, path.parent.stat().st_gid} == {gateway.postfix.programs.mail_owner.pw_gid}
