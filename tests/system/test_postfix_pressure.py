"""The appliance's form of Postfix under pressure: a stopped filter, too many clients, a full disk."""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from appliance.lab.postfix import PostfixInstance
from appliance.lab.smtp import Stage, send_message
from appliance.milter.connection import MessageReceived, MilterConnection
from appliance.milter.replies import Accept
from appliance.mta.configuration import Configuration
from tests.mta.inside import SmtpServer
from tests.mta.instances import appliance_below
from tests.postfix import listening_at

pytestmark = pytest.mark.system

PROCESSES = 4
LETTER = b"From: ann@sender.example\r\nMessage-ID: <1@sender.example>\r\nSubject: hello\r\n\r\nHello.\r\n"


@dataclass(frozen=True)
class Site:
    postfix: PostfixInstance
    inside: SmtpServer
    _numbers: Iterator[int] = field(default_factory=count)

    def recipient(self) -> str:
        return f"r{next(self._numbers)}@corp.example"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> Iterator[Site]:
    """Wants a filter, but none listens; serves few clients at a time."""
    with SmtpServer() as inside:
        configuration = Configuration(
            hostname="gw.example",
            inside_domains=("corp.example",),
            inside_host="127.0.0.1",
            inside_port=inside.port,
            smtp_processes=PROCESSES,
        )
        with PostfixInstance(appliance_below(tmp_path_factory.mktemp("gw"), configuration)) as postfix:
            yield Site(postfix, inside)


# ---- a stopped filter ----------------------------------------------------------------


def test_f1_without_the_filter_mail_from_outside_waits_at_its_sender(site: Site) -> None:
    reply = send_message(
        site.postfix.config.smtp_port,
        mail_from="ann@sender.example",
        rcpt_to=[site.recipient()],
        octets=LETTER,
    )

    assert reply.code == 451


@pytest.mark.parametrize("listener", ["release_port", "report_port"])
def test_f1_without_the_filter_releases_and_reports_go_out(site: Site, listener: str) -> None:
    recipient = site.recipient()

    reply = send_message(
        getattr(site.postfix.config, listener),
        mail_from="ann@sender.example",
        rcpt_to=[recipient],
        octets=LETTER,
    )

    assert reply.accepted
    assert site.inside.wait_for(recipient)[0].below_trace == LETTER


# ---- too many clients ------------------------------------------------------------------


class CountingFilter:
    """Lets everything pass, and notes how many connections it had at a time."""

    def __init__(self, listener: socket.socket) -> None:
        self.most = 0
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = listener
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed at the end
            while True:
                connected, _ = self._listener.accept()
                with self._lock:
                    self._open = [*(known for known in self._open if is_open(known)), connected]
                    self.most = max(self.most, len(self._open))
                threading.Thread(target=self._answer, args=(connected,), daemon=True).start()

    def _answer(self, connected: socket.socket) -> None:
        milter = MilterConnection()
        with contextlib.suppress(OSError):
            while octets := connected.recv(65536):
                for event in milter.receive(octets, datetime.now(UTC)):
                    if isinstance(event, MessageReceived):
                        milter.reply(Accept())
                connected.sendall(milter.data_to_send())
        with self._lock:
            connected.close()


def is_open(connected: socket.socket) -> bool:
    """Whether the other end has not closed it, though we may not have read all."""
    if connected.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(connected, select.POLLRDHUP)
    return not poll.poll(0)


@contextlib.contextmanager
def greeted(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        assert client.recv(100).startswith(b"220 ")
        yield client


def test_f17_further_clients_wait_until_a_process_is_free(site: Site) -> None:
    """They wait in the kernel's queue, and cost the filter nothing."""
    port = site.postfix.config.smtp_port
    with listening_at(site.postfix.filter_socket) as listener, contextlib.ExitStack() as stack:
        filtering = CountingFilter(listener)
        first = [stack.enter_context(greeted(port)) for _ in range(PROCESSES)]
        waiting = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=0.5))
        with pytest.raises(TimeoutError):
            waiting.recv(100)

        first[0].sendall(b"QUIT\r\n")

        waiting.settimeout(30)
        assert waiting.recv(100).startswith(b"220 ")
        assert filtering.most <= PROCESSES
        listener.shutdown(socket.SHUT_RDWR)


def test_f17_a_flood_of_connections_is_served_without_a_loss(site: Site) -> None:
    recipient = site.recipient()

    def send(number: int) -> int:
        return send_message(
            site.postfix.config.smtp_port,
            mail_from=f"a{number}@sender.example",
            rcpt_to=[recipient],
            octets=LETTER,
        ).code

    with listening_at(site.postfix.filter_socket) as listener:
        filtering = CountingFilter(listener)
        with ThreadPoolExecutor(100) as clients:
            codes = list(clients.map(send, range(100)))
        listener.shutdown(socket.SHUT_RDWR)

    assert codes == [250] * 100
    assert 0 < filtering.most <= PROCESSES
    taken = site.inside.wait_for(recipient, count=100)
    assert {message.mail_from for message in taken} == {f"a{number}@sender.example" for number in range(100)}


# ---- a full disk -----------------------------------------------------------------------


def test_f6_on_a_full_disk_mail_waits_at_its_sender_and_what_was_taken_is_kept(
    tmp_path: Path, requires_postfix: None
) -> None:
    """In a mount name space of its own, which ends with the program."""
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this user may not mount")
    tmp_path.chmod(0o755)
    mounted = 'mount -t tmpfs -o size=32m,mode=755 none "$1" && exec "$2" -m tests.system.full_disk "$1"'

    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted, "sh", str(tmp_path), sys.executable],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": "."},
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["taken"] > 0
    assert found["first refusal"] == [Stage.MAIL, 452, "4.3.1 Insufficient system storage"]
    assert found["refusals"] == [452] * 20
    assert found["queued after 20 refusals"] == found["taken"], "a refusal writes nothing, not even a notice"
    assert found["delivered once"] == found["taken"]
    assert found["after there was room"] == 250
