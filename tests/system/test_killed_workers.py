"""A filter worker is killed in the middle of a burst: nothing is lost, nothing passes unfiltered (P2, F1, F2)."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from appliance.lab.gateway import AUTHSERV_ID, Gateway
from appliance.lab.smtp import send_message
from appliance.store import events
from tests.processes import children_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

MESSAGES = 500
SENDERS = 8
KILLS = 4


def mail(number: int) -> bytes:
    return (
        f"From: Sender <a@burst.example>\r\nTo: u@corp.example\r\nSubject: burst {number}\r\n"
        f"Message-ID: <{number}@burst.example>\r\n\r\nNumber {number}\r\n"
    ).encode()


def send_until_answered(gateway: Gateway, number: int) -> int:
    """Send like a client: a temporary refusal means to come again. Returns the final code."""
    code = 0
    for _ in range(50):
        code = send_message(
            gateway.postfix.config.smtp_port,
            mail_from="a@burst.example",
            rcpt_to=["u@corp.example"],
            octets=mail(number),
            client_ip="192.0.2.9",
        ).code
        if not 400 <= code < 500:
            break
    return code


def test_f1_f2_killing_workers_in_a_burst_loses_no_message_and_lets_none_pass_unfiltered(
    gateway: Gateway,
) -> None:
    gateway.zone.txt("_dmarc.burst.example", "v=DMARC1; p=none")
    gateway.zone.txt("burst.example", "v=spf1 ip4:192.0.2.9 -all")
    gateway.save(verification__enabled=True)
    filter_pid = gateway.service("filter").pid
    done = threading.Semaphore(0)
    killed: list[int] = []

    def kill() -> None:
        for _ in range(KILLS):
            for _ in range(MESSAGES // (KILLS + 1)):
                done.acquire()
            if workers := children_of(filter_pid):
                killed.append(workers.pop())
                os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()

    def send(number: int) -> int:
        code = send_until_answered(gateway, number)
        done.release()
        return code

    with ThreadPoolExecutor(SENDERS) as pool:
        codes = list(pool.map(send, range(MESSAGES)))
    killer.join()

    assert len(killed) == KILLS
    assert set(codes) == {250}
    delivered = gateway.inside.wait_until(
        lambda message: "burst.example" in (message.message_id or ""), "the burst", count=MESSAGES, seconds=60
    )
    numbers = sorted(int((message.message_id or "<").strip("<>").partition("@")[0]) for message in delivered)
    assert numbers == list(range(MESSAGES))
    unfiltered = [
        message.message_id
        for message in delivered
        if not any(
            text.startswith(f"{AUTHSERV_ID};") and "dmarc=pass" in text
            for text in message.texts("Authentication-Results")
        )
    ]
    assert not unfiltered
    with gateway.store.read() as connection:
        recorded = {event.queue_id for event in events.recent(connection, 2 * MESSAGES)}
    missing = [message.message_id for message in delivered if not recorded & set(message.queue_ids)]
    assert not missing
