"""F17, T42: many connections, slow ones and huge ones at the filter's socket take nothing away from the others."""

import contextlib
import resource
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.filter.client import MilterClient
from tests.filter.conftest import RunningFilter, Start, enable_verification
from tests.milter.frames import frame

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


def deliver(running: RunningFilter) -> bytes:
    with MilterClient(running.socket_path) as client:
        client.begin()
        client.fields((b"From", b" a@example.org"))
        client.body(b"Hello\r\n")
        return client.end()


def open_files(running: RunningFilter) -> int:
    return max(len(list(Path(f"/proc/{worker}/fd").iterdir())) for worker in running.workers)


def test_f17_connections_beyond_the_limit_wait_for_room(start_filter: Start) -> None:
    running = start_filter("--workers", "1", limits={"connections": 8})
    files = open_files(running)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        open_ones = [stack.enter_context(MilterClient(running.socket_path)) for _ in range(8)]
        beyond = [running.connect() for _ in range(20)]

        waiting = pool.submit(deliver, running)

        assert open_files(running) <= files + 8
        for client in beyond:
            client.close()
        assert not waiting.done()
        open_ones[0].socket.close()
        assert waiting.result(60) == b"c"
    assert deliver(running) == b"c"


def test_f17_a_worker_without_file_descriptors_goes_on_when_some_are_free(start_filter: Start) -> None:
    running = start_filter("--workers", "1")
    (worker,) = running.workers
    files = open_files(running)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (files + 10, files + 10))
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(running.connect())
        running.wait_for(lambda: "cannot-accept" in running.log, "the limit")

    assert deliver(running) == b"c"
    assert running.workers == {worker}


def await_questions(nameserver: socket.socket, *labels: bytes) -> None:
    nameserver.settimeout(20)
    missing = set(labels)
    while missing:
        question = nameserver.recv(4096)
        missing -= {label for label in missing if label in question}


def test_f17_messages_beyond_the_limit_wait_for_their_turn_and_then_are_put_off(
    start_filter: Start, tmp_path: Path
) -> None:
    """The name server says nothing, so each message takes the time that questions may take."""
    url = f"sqlite:///{tmp_path}/busy.db"
    enable_verification(url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, contextlib.ExitStack() as stack:
        silent.bind(("127.0.0.1", 0))
        running = start_filter(
            *("--workers", "1", "--store", url, "--resolver", f"127.0.0.1:{silent.getsockname()[1]}"),
            limits={"evaluations": 2, "evaluation_wait_seconds": 0.5},
        )
        first = [stack.enter_context(MilterClient(running.socket_path)) for _ in range(2)]
        for number, client in enumerate(first):
            client.begin()
            client.fields((b"From", b" a@holds%d.example" % number))
            client.body(b"Hello\r\n")
            client.socket.sendall(frame(b"E"))
        await_questions(silent, b"holds0", b"holds1")
        last = deliver(running)

        assert last.startswith(b"y451 4.3.2")
        assert [client.verdict() for client in first] == [b"c", b"c"]
    assert running.log.count("busy level=warning") == 1


def test_t42_content_that_drips_is_cut_off_and_disturbs_nobody(start_filter: Start) -> None:
    running = start_filter("--workers", "1", limits={"content_seconds": 1})
    with MilterClient(running.socket_path) as slow, MilterClient(running.socket_path) as quiet:
        slow.begin()
        slow.fields((b"From", b" a@example.org"))
        quiet.begin()  # its client is still sending to Postfix
        other = deliver(running)

        closed = slow.read()
        quiet.fields((b"From", b" a@example.org"))
        quiet.body(b"Hello\r\n")

        assert (other, closed, quiet.end()) == (b"c", b"", b"c")
    assert running.log.count("content-too-slow") == 1


HUGE = {
    "HELO": frame(b"H", b"h" * 1_000_000 + b"\0"),
    "recipients": frame(b"M", b"<a@example.org>\0") + frame(b"R", b"<u@corp.example>\0") * 100_000,
    "parameters": frame(b"M", b"<a@example.org>\0" + b"X=" * 400_000 + b"\0"),
    "macros": frame(b"D", b"M" + b"{x}\0y\0" * 10_000),
}


@pytest.mark.parametrize("name", HUGE)
def test_t42_huge_commands_do_not_bring_a_worker_down(running_filter: RunningFilter, name: str) -> None:
    running_filter.wait_until_ready()
    before = running_filter.workers

    with MilterClient(running_filter.socket_path) as client, contextlib.suppress(OSError):
        client.socket.sendall(HUGE[name])

    assert deliver(running_filter) == b"c"
    assert running_filter.workers == before


@pytest.mark.parametrize(
    ("value", "copies"),
    [
        pytest.param(b"x" * 998, 10_000, id="10 MB in fields of a line"),
        pytest.param(b"", 300_000, id="as many fields as there can be"),
        pytest.param(b"x" * 1_000_000, 10, id="10 MB in fields of a megabyte"),
    ],
)
def test_t42_a_header_of_ten_megabytes_is_answered(
    running_filter: RunningFilter, value: bytes, copies: int
) -> None:
    running_filter.wait_until_ready()
    before = running_filter.workers

    with MilterClient(running_filter.socket_path) as client:
        client.begin()
        client.fields((b"From", b" a@example.org"))
        client.socket.sendall(frame(b"L", b"X\0" + value + b"\0") * copies)
        client.body(b"")
        reply = client.end()

    assert reply == b"c" or reply.startswith(b"y552")
    assert deliver(running_filter) == b"c"
    assert running_filter.workers == before
