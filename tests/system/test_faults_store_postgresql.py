"""PostgreSQL in trouble under a running gateway: mail goes on by its verdicts, and workers connect again (F9)."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.services import wait_for
from tests.conftest import unused_port
from tests.postgresql import (
    PostgresqlServer,
    postgresql_server,
    running,
    server_options,
    unprivileged,
    wait_until_ready,
)
from tests.system.conftest import INSIDE
from tests.system.faults import (
    RECORDED,
    UNRECORDED,
    await_recovery,
    held,
    kill_all_workers,
    logged,
    prepare,
    send_round,
    unrecorded_lines,
)
from tests.system.mixed_mail import KINDS, PASS, QUARANTINE, Mail, judgements, recorded

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

DATABASE = "gate"


@dataclass
class Server:
    """A PostgreSQL server that can be stopped and started."""

    private: PostgresqlServer
    program: Path
    stack: contextlib.ExitStack

    def stop(self) -> None:
        """Return when it is gone."""
        pid_file = self.private.folder / "data" / "postmaster.pid"
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGINT)
        wait_for("the end of PostgreSQL", lambda: not pid_file.exists(), seconds=60)

    def start(self) -> None:
        folder = self.private.folder
        command = [
            *unprivileged(folder),
            str(self.program),
            "-D",
            str(folder / "data"),
            *server_options(self.private),
        ]
        process = self.stack.enter_context(running(command, folder / "log-again"))
        wait_until_ready(self.private, process)

    def end_sessions(self) -> None:
        """As an administrator, or a fail-over, ends them."""
        with self.private.connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (DATABASE,)
            )

    def allow_writes(self, *, allowed: bool) -> None:
        """Sessions that are open already go on as they were, so they are ended."""
        with self.private.connect() as connection:
            value = b"off" if allowed else b"on"
            connection.execute(
                b"ALTER DATABASE " + DATABASE.encode() + b" SET default_transaction_read_only = " + value
            )


@pytest.fixture(scope="module")
def server(requires: Callable[[str], Path]) -> Iterator[Server]:
    program = requires("postgres")
    with (
        postgresql_server(requires("initdb"), program, unused_port()) as private,
        contextlib.ExitStack() as stack,
    ):
        private.create_database(DATABASE)
        yield Server(private, program, stack)


@dataclass
class Wire:
    """Between the filter and its server, to be cut at the worst moment: the server has committed, nobody heard of it."""

    target: int
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    cut_at_commit: threading.Event = field(default_factory=threading.Event)
    cuts: int = 0
    _threads: list[threading.Thread] = field(default_factory=list)
    _sockets: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        hang_up(self.listener, *self._sockets)
        for thread in self._threads:
            thread.join()
        for each in (self.listener, *self._sockets):
            each.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # the end of the test
                return
            self._sockets.append(client)
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:  # as if we were not there
                client.close()
                continue
            self._sockets.append(server)
            committing = threading.Event()
            self._start(self._up, client, server, committing)
            self._start(self._down, server, client, committing)

    def _up(self, client: socket.socket, server: socket.socket, committing: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if b"COMMIT" in data and self.cut_at_commit.is_set():
                    committing.set()
                server.sendall(data)
        hang_up(server, client)

    def _down(self, server: socket.socket, client: socket.socket, committing: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if committing.is_set() and b"COMMIT" in data:
                    self.cuts += 1
                    break
                client.sendall(data)
        hang_up(server, client)


def hang_up(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def wire(server: Server) -> Iterator[Wire]:
    with Wire(server.private.port) as running_wire:
        yield running_wire


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, requires_postfix: None, server: Server, wire: Wire
) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    url = f"postgresql://postgres@127.0.0.1:{wire.port}/{DATABASE}"
    with Gateway(folder, inside_domains=(INSIDE,), store_url=url, page=False) as running_gateway:
        prepare(running_gateway)
        yield running_gateway


def test_f9_a_stopped_server_stops_no_mail_but_what_would_be_quarantined(
    gateway: Gateway, server: Server
) -> None:
    before = send_round(gateway)
    server.stop()
    try:
        stopped = send_round(gateway)
        kill_all_workers(gateway)
        with_new_workers = send_round(gateway)
    finally:
        server.start()
    after = await_recovery(gateway)

    assert (before.codes, stopped.codes, with_new_workers.codes) == (RECORDED, UNRECORDED, UNRECORDED)
    for sent in (before, stopped, with_new_workers, after):
        sent.assert_filtered()
    assert stopped.recorded() == with_new_workers.recorded() == set()
    assert held(gateway) >= {sent.mails["quarantine"].message_id for sent in (before, after)}
    assert f"the database {DATABASE} on 127.0.0.1 can't be used: " in logged(gateway)


def test_f9_a_server_that_became_read_only_stops_no_mail_but_what_would_be_quarantined(
    gateway: Gateway, server: Server
) -> None:
    """As after a fail-over, when the filter still talks to what is a standby now."""
    server.allow_writes(allowed=False)
    server.end_sessions()
    try:
        during = send_round(gateway)
        second = send_round(gateway)
    finally:
        server.allow_writes(allowed=True)  # which sessions that are open do not notice
    after = await_recovery(gateway)

    assert (during.codes, second.codes) == (UNRECORDED, UNRECORDED)
    for sent in (during, second, after):
        sent.assert_filtered()
    assert during.recorded() == second.recorded() == set()
    assert "takes no writes: its server is a read-only standby" in logged(gateway)


def test_f9_ended_sessions_lose_no_message_and_every_event_is_recorded_or_counted(
    gateway: Gateway, server: Server
) -> None:
    listed = unrecorded_lines(gateway)
    over = threading.Event()
    mails = [Mail(3_000_000 + number, KINDS[number % len(KINDS)]) for number in range(165)]

    def end_again_and_again() -> None:
        while not over.wait(0.2):
            server.end_sessions()

    ending = threading.Thread(target=end_again_and_again)
    ending.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda mail: mail.send_until_answered(gateway), mails))
    finally:
        over.set()
        ending.join()
    await_recovery(gateway)

    assert {reply.code for reply in replies} == {250, 550}
    queue_ids = [message.queue_ids[0] for message in gateway.inside.messages()]
    assert len(queue_ids) == len(set(queue_ids))
    judged = judgements(gateway, *mails)
    attempts = sum(len(mail.replies) for mail in mails)
    unrecorded = unrecorded_lines(gateway) - listed
    assert judged <= attempts <= judged + unrecorded
    assert held(gateway) >= {mail.message_id for mail in mails if mail.kind is QUARANTINE}


def test_f9_a_connection_cut_between_commit_and_its_answer_costs_one_surplus_at_most(
    gateway: Gateway, wire: Wire
) -> None:
    """What was committed unheard counts as unrecorded; a message to be quarantined comes again, and is held twice."""
    await_recovery(gateway)
    numbers = iter(range(4_000_000, 5_000_000))

    def send_while_cutting(mail: Mail) -> None:
        """Until the cut met this message, not a heartbeat."""
        wire.cut_at_commit.set()
        cuts = wire.cuts
        mail.send(gateway)
        wire.cut_at_commit.clear()
        assert wire.cuts > cuts

    delivered, quarantined = Mail(next(numbers), PASS), Mail(next(numbers), QUARANTINE)
    send_while_cutting(delivered)
    send_while_cutting(quarantined)
    quarantined.send_until_answered(gateway)

    assert [reply.code for reply in delivered.replies] == [250]
    assert [reply.code for reply in quarantined.replies] == [451, 250]
    assert [len(recorded(gateway, mail)) for mail in (delivered, quarantined)] == [1, 2]
