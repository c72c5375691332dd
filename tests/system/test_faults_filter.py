"""A worker of the filter fails at any stage of a message: that message is put off, nothing passes unfiltered (F1–F3, T47)."""

import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from appliance.lab.gateway import AUTHSERV_ID, NODE_NAME, Gateway
from appliance.lab.services import wait_for
from appliance.lab.smtp import RefusedError, Reply, SmtpClient, send_message
from appliance.store import events, nodes
from tests.processes import children_of
from tests.system.conftest import INSIDE

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SILENT_SECONDS = 3
UNCHECKED = 3
UNCHECKED_SECONDS = 8
LIMITS = {
    "silent_seconds": SILENT_SECONDS,
    "data_octets": 256 << 20,
    "unchecked_messages": UNCHECKED,
    "unchecked_seconds": UNCHECKED_SECONDS,
}

STAGES = ["connect", "helo", "mail", "rcpt", "data", "header", "eoh", "body", "eom", "decided", "committed"]
ALWAYS = ["helo", "eom", "decided"]
"""Of the faults that take their time; all stages with ``--long``."""

_numbers = count()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> Iterator[Gateway]:
    """With one worker, so that the one that fails is the one that has the connection, and no other helps out."""
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("LIMITS", json.dumps(LIMITS))
        running = stack.enter_context(
            Gateway(
                tmp_path_factory.mktemp("gateway"),
                inside_domains=(INSIDE,),
                page=False,
                workers=1,
                filter_module="tests.filter.launcher",
            )
        )
        running.zone.txt("_dmarc.faults.example", "v=DMARC1; p=none")
        running.save(verification__enabled=True)
        yield running


def mail(name: str) -> bytes:
    return (
        f"From: a@faults.example\r\nTo: u@{INSIDE}\r\nSubject: {name}\r\nMessage-ID: <{name}@faults.example>\r\n"
        "\r\nHello\r\n"
    ).encode()


def send(client: SmtpClient, name: str, sender: str = "a") -> Reply:
    return client.send(mail_from=f"{sender}@faults.example", rcpt_to=[f"u@{INSIDE}"], octets=mail(name))


def send_alone(gateway: Gateway, name: str, sender: str = "a") -> Reply:
    return send_message(
        gateway.postfix.config.smtp_port,
        mail_from=f"{sender}@faults.example",
        rcpt_to=[f"u@{INSIDE}"],
        octets=mail(name),
        client_ip="192.0.2.9",
    )


def send_at_fault(gateway: Gateway, fault: str, stage: str, name: str) -> list[int]:
    """The codes of a message with which the worker fails, and of the next on the same connection."""
    wish = f"{fault}-{stage}"
    try:
        with SmtpClient(
            gateway.postfix.config.smtp_port,
            helo=f"{wish}.example" if stage == "helo" else "client.example",
            client_ip="192.0.2.9",
            client_name=f"{wish}.example" if stage == "connect" else "client.example",
        ) as client:
            sender = wish if stage not in {"connect", "helo"} else "a"
            return [send(client, f"{name}.1", sender).code, send(client, f"{name}.2").code]
    except RefusedError as refused:
        return [refused.reply.code] * 2


def delivered(gateway: Gateway, name: str) -> list[str]:
    """The names of the messages delivered, of those that begin with *name*, once the last of them, NAME.3, is there."""
    gateway.inside.wait_until(
        lambda m: (m.message_id or "").startswith(f"<{name}.3@"), f"{name}.3", seconds=30
    )
    found = [m for m in gateway.inside.messages() if (m.message_id or "").startswith(f"<{name}.")]
    for message in found:
        assert message.texts("Authentication-Results")[0].startswith(f"{AUTHSERV_ID}; ")
    return [(m.message_id or "").strip("<>").partition("@")[0] for m in found]


def observe(gateway: Gateway, fault: str, stage: str) -> None:
    name = f"{fault}.{stage}.{next(_numbers)}"

    codes = send_at_fault(gateway, fault, stage, name)
    after = send_alone(gateway, f"{name}.3")

    assert codes == [451, 451]
    assert after.code == 250
    assert delivered(gateway, name) == [f"{name}.3"]


@pytest.mark.parametrize("stage", STAGES)
def test_f1_a_worker_killed_at_any_stage_costs_that_connection_a_451(gateway: Gateway, stage: str) -> None:
    """Postfix puts off whatever follows on the connection; a new one is filtered."""
    observe(gateway, "kill", stage)


@pytest.mark.parametrize("fault", ["hang", "memory"])
def test_f1_f3_a_worker_that_hangs_or_runs_out_of_memory_is_replaced(
    gateway: Gateway, fault: str, long_run: bool
) -> None:
    for stage in STAGES if long_run else ALWAYS:
        observe(gateway, fault, stage)

    log = gateway.service("filter").log.read_text()
    assert ("worker-hangs" if fault == "hang" else "out-of-memory") in log


def test_f1_a_message_lost_between_commit_and_reply_is_counted_once_too_often_at_most(
    gateway: Gateway,
) -> None:
    codes = send_at_fault(gateway, "kill", "committed", "surplus")
    again = send_alone(gateway, "surplus.3")

    with gateway.store.read() as connection:
        counted = [e for e in events.recent(connection, 100) if "surplus." in e.message_id]
    assert (codes, again.code, len(counted)) == ([451, 451], 250, 2)


def test_f3_a_stopped_worker_is_killed_and_mail_flows_again(gateway: Gateway) -> None:
    (worker,) = children_of(gateway.service("filter").pid)

    os.kill(worker, signal.SIGSTOP)
    reply = send_alone(gateway, f"stopped.{next(_numbers)}.3")

    assert reply.code == 250
    assert worker not in children_of(gateway.service("filter").pid)
    assert f"pid={worker}" in gateway.service("filter").log.read_text()


def test_f2_the_listening_socket_refuses_nobody_while_workers_are_killed(gateway: Gateway) -> None:
    path = Path("/proc") / str(gateway.service("filter").pid) / "cwd" / "dmarcgate" / "filter.sock"
    done, refused = threading.Event(), []

    def probe() -> None:
        while not done.wait(0.005):
            with socket.socket(socket.AF_UNIX) as client:
                try:
                    client.connect(str(path))
                except ConnectionRefusedError as error:
                    refused.append(error)

    probing = threading.Thread(target=probe)
    probing.start()
    try:
        for _ in range(3):
            workers: set[int] = set()
            wait_for("a worker", lambda: bool(children_of(gateway.service("filter").pid)))
            workers = children_of(gateway.service("filter").pid)
            os.kill(workers.pop(), signal.SIGKILL)
            wait_for("its end", lambda: send_alone(gateway, f"probe.{next(_numbers)}").code == 250)
    finally:
        done.set()
        probing.join()

    assert refused == []


# ---- failing open ---------------------------------------------------------------


def counted(gateway: Gateway) -> dict[str, int]:
    with gateway.store.read() as connection:
        [status] = [status for status in nodes.list_nodes(connection) if status.node == NODE_NAME]
    return dict(status.counters)


def test_t47_failing_open_lets_few_messages_pass_and_then_puts_off(gateway: Gateway) -> None:
    gateway.save(verification__engine_failure="deliver")
    before = counted(gateway)
    log_before = len(gateway.service("filter").log.read_text())

    codes = [send_alone(gateway, f"open.{number}", "error-decided").code for number in range(UNCHECKED + 2)]

    assert codes == [250] * UNCHECKED + [451] * 2
    log = gateway.service("filter").log.read_text()[log_before:]
    assert log.count("let-through-unchecked level=error") == UNCHECKED
    assert log.count("too-many-unchecked") == 1
    passed = gateway.inside.wait_until(
        lambda m: (m.message_id or "").startswith("<open."), "the messages", count=UNCHECKED, seconds=30
    )
    assert {m.texts("Authentication-Results")[0] for m in passed} == {f"{AUTHSERV_ID}; dmarc=temperror"}
    wait_for(
        "it to be over",
        lambda: send_alone(gateway, f"later.{next(_numbers)}", "error-decided").code == 250,
        seconds=4 * UNCHECKED_SECONDS,
    )
    wait_for(
        "the counters",
        lambda: counted(gateway)["let_through_unchecked"] >= before["let_through_unchecked"] + UNCHECKED + 1,
        seconds=30,
    )
    assert counted(gateway)["deferred_by_failure"] >= before["deferred_by_failure"] + 2
    gateway.save(verification__engine_failure="defer")


def test_t47_killing_workers_never_lets_mail_pass_whatever_the_setting(gateway: Gateway) -> None:
    gateway.save(verification__engine_failure="deliver")
    deaths = counted(gateway)["worker_deaths"]

    codes = [send_alone(gateway, f"killed.{number}", "kill-eom").code for number in range(4)]
    after = send_alone(gateway, "killed.3.3")

    assert (codes, after.code) == ([451] * 4, 250)
    assert delivered(gateway, "killed.3") == ["killed.3.3"]
    wait_for("the counters", lambda: counted(gateway)["worker_deaths"] >= deaths + 4, seconds=30)
    gateway.save(verification__engine_failure="defer")
