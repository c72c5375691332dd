"""The filter's socket: garbage disturbs nobody, a stop drains, what keeps it from starting is one line."""

import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.filter.conftest import RunningFilter
from tests.milter.frames import frame, offer

pytestmark = pytest.mark.system

NEGOTIATION = offer()


def read_frame(client: socket.socket) -> bytes:
    length = struct.unpack("!I", client.recv(4, socket.MSG_WAITALL))[0]
    return client.recv(length, socket.MSG_WAITALL)


def message() -> bytes:
    return b"".join(
        (
            frame(b"C", b"client.example\0" + b"4" + struct.pack("!H", 25) + b"192.0.2.1\0"),
            frame(b"H", b"client.example\0"),
            frame(b"M", b"<a@example.org>\0"),
            frame(b"R", b"<u@corp.example>\0"),
            frame(b"T"),
            frame(b"L", b"From\0 a@example.org\0"),
            frame(b"N"),
            frame(b"B", b"Hello\r\n"),
            frame(b"E"),
        )
    )


@pytest.mark.parametrize(
    "garbage", [b"\xff" * 8, b"GET / HTTP/1.0\r\n\r\n", struct.pack("!Ic", 1, b"E"), bytes(5)]
)
def test_garbage_closes_that_connection_only_and_leaves_one_log_line(
    running_filter: RunningFilter, garbage: bytes
) -> None:
    with running_filter.connect() as other, running_filter.connect() as hostile:
        other.sendall(NEGOTIATION)
        assert read_frame(other)[:1] == b"O"

        hostile.sendall(garbage)

        assert hostile.recv(100) == b""
        other.sendall(message())
        assert read_frame(other) == b"c"
    assert running_filter.log.count("protocol-error") == 1


def test_s28_with_dmarc_off_a_message_passes_unmarked(running_filter: RunningFilter) -> None:
    with running_filter.connect() as client:
        client.sendall(NEGOTIATION + message())

        assert read_frame(client)[:1] == b"O"
        assert read_frame(client) == b"c"


def test_f18_on_stop_an_open_session_may_end_its_message(running_filter: RunningFilter) -> None:
    with running_filter.connect() as client:
        client.sendall(NEGOTIATION + message()[:-5])
        read_frame(client)
        running_filter.wait_for(lambda: "filter-started" in running_filter.log, "the start")

        running_filter.process.terminate()
        running_filter.wait_for(lambda: not accepts(running_filter), "the end of new connections")
        client.sendall(message()[-5:])

        assert read_frame(client) == b"c"
        client.sendall(frame(b"Q"))
        assert client.recv(10) == b""
    assert running_filter.process.wait(20) == 0
    assert not running_filter.socket_path.exists()


def accepts(running: RunningFilter) -> bool:
    """Whether a new connection is answered."""
    try:
        with running.connect() as probe:
            probe.settimeout(0.5)
            probe.sendall(NEGOTIATION)
            return bool(probe.recv(10))
    except OSError:
        return False


def test_a_killed_worker_is_replaced(running_filter: RunningFilter) -> None:
    running_filter.wait_for(lambda: len(running_filter.workers) == 2, "two workers")
    first = running_filter.workers

    os.kill(min(first), signal.SIGKILL)

    running_filter.wait_for(
        lambda: len(now := running_filter.workers) == 2 and now != first,
        "a new worker",
    )
    assert "worker-died" in running_filter.log


def test_workers_end_when_their_supervisor_is_killed(running_filter: RunningFilter) -> None:
    running_filter.wait_for(lambda: len(running_filter.workers) == 2, "two workers")
    running_filter.wait_for(lambda: accepts(running_filter), "an answer")
    workers = running_filter.workers

    os.kill(running_filter.process.pid, signal.SIGKILL)
    running_filter.process.wait()

    for _ in range(400):
        if not any(Path(f"/proc/{pid}").exists() for pid in workers):
            return
        signal.sigtimedwait([], 0.05)
    pytest.fail("workers live on without their supervisor")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "appliance", "filter", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_busy_socket_is_one_line_and_exit_75(running_filter: RunningFilter, tmp_path: Path) -> None:
    done = run("--listen", f"unix:{running_filter.socket_path}", "--store", f"sqlite:///{tmp_path}/other.db")

    assert done.returncode == 75
    assert done.stderr.count("\n") == 1
    assert str(running_filter.socket_path) in done.stderr


def test_an_unbindable_socket_is_one_line_and_exit_2(tmp_path: Path) -> None:
    done = run("--listen", f"unix:{tmp_path}/absent/f.sock", "--store", f"sqlite:///{tmp_path}/gate.db")

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "create the folder" in done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "no such file"), ("colour = 1\n", "colour: unknown key")],
    ids=["missing", "unknown-key"],
)
def test_a_node_file_that_can_not_be_used_is_one_line_and_exit_2(
    tmp_path: Path, text: str | None, says: str
) -> None:
    file = tmp_path / "dmarcgate.toml"
    if text is not None:
        file.write_text(text)

    done = run("--config", str(file))

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(file) in done.stderr
    assert says in done.stderr


def test_a_store_that_can_not_be_reached_is_one_line_and_exit_75(tmp_path: Path) -> None:
    done = run(
        "--listen",
        f"unix:{tmp_path}/f.sock",
        "--store",
        "postgresql+psycopg://nobody:secret@127.0.0.1:9/none",
    )

    assert done.returncode == 75
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr
    assert not (tmp_path / "f.sock").exists()


def test_f2_a_socket_handed_over_by_systemd_is_served_and_left_in_place(tmp_path: Path) -> None:
    path = tmp_path / "f.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        command = (
            f"export LISTEN_PID=$$ LISTEN_FDS=1; exec {sys.executable} -m appliance filter --workers 1"
            f" --store sqlite:///{tmp_path}/gate.db --listen unix:{tmp_path}/other.sock 3<&{listening.fileno()}"
        )
        started = subprocess.Popen(
            ["bash", "-c", command], pass_fds=[listening.fileno()], stderr=subprocess.PIPE, text=True
        )
    with started, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        client.sendall(NEGOTIATION + message())

        assert read_frame(client)[:1] == b"O"
        assert read_frame(client) == b"c"
        client.close()
        started.terminate()
        assert started.wait(20) == 0
        assert started.stderr
        assert "listen=systemd" in started.stderr.read()
    assert path.exists()
    assert not (tmp_path / "other.sock").exists()
