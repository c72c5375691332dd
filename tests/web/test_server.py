"""The running service: its listener, its key, its answers when something is in the way."""

import http.client
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.listening import CannotListen
from appliance.store.engine import StoreUnavailable, open_store
from appliance.web import secret
from appliance.web.secret import UnusableKey
from appliance.web.server import serve
from tests.web.service import running_service, wait_until_it_answers


@pytest.fixture
def made_store(sqlite_url: str) -> str:
    """The URL of a store that is ready."""
    open_store(sqlite_url, create=True).close()
    return sqlite_url


def test_the_service_answers_on_its_port_and_ends_cleanly(
    made_store: str, free_port: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port()

    with running_service(made_store, f"127.0.0.1:{port}", tmp_path) as service:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/login")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        service.send_signal(signal.SIGTERM)
        code = service.wait(timeout=20)

    assert answer.status == 200
    assert code == 0
    assert (tmp_path / "web.log").read_text() == ""


def test_the_service_answers_on_a_unix_socket_that_strangers_cannot_reach(
    made_store: str, tmp_path: Path
) -> None:
    path = tmp_path / "web.sock"

    with running_service(made_store, f"unix:{path}", tmp_path):
        mode = stat.S_IMODE(path.stat().st_mode)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(path))
            client.sendall(b"GET /login HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n")
            answer = client.recv(65536)

    assert answer.startswith(b"HTTP/1.1 200")
    assert mode == 0o660
    assert not path.exists()


def test_a_worker_that_ends_is_replaced_behind_the_same_socket(made_store: str, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"

    with running_service(made_store, f"unix:{path}", tmp_path) as service:
        workers = Path(f"/proc/{service.pid}/task/{service.pid}/children")
        first = int(workers.read_text())
        os.kill(first, signal.SIGTERM)
        wait_until_it_answers(service, f"unix:{path}", tmp_path / "web.log", but_not=first)
        second = int(workers.read_text())

    assert second != first


def test_a_busy_port_is_told_in_one_line(made_store: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

        with pytest.raises(CannotListen) as refused:
            serve(made_store, address, secret_key_file=tmp_path / "key")

    assert str(refused.value).startswith(f"cannot listen at {address}: Address already in use")
    assert refused.value.retry


def test_a_busy_socket_is_left_alone(made_store: str, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    with listening_on(path):
        with pytest.raises(CannotListen, match="another process listens there"):
            serve(made_store, f"unix:{path}", secret_key_file=tmp_path / "key")

        assert path.is_socket()


def test_a_file_in_the_socket_s_place_is_left_alone(made_store: str, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    path.write_text("precious")

    with pytest.raises(CannotListen, match="there is a file of that name"):
        serve(made_store, f"unix:{path}", secret_key_file=tmp_path / "key")

    assert path.read_text() == "precious"


def test_a_socket_that_a_killed_service_left_is_replaced(made_store: str, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    with listening_on(path):
        pass
    assert path.is_socket()

    with running_service(made_store, f"unix:{path}", tmp_path) as service:
        assert service.poll() is None


def test_a_missing_store_is_told_before_anything_is_answered(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="missing"):
        serve(f"sqlite:///{tmp_path}/missing.db", "127.0.0.1:0", secret_key_file=tmp_path / "key")


def test_the_session_key_is_made_once_and_only_we_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "session.key"

    first, second = secret.load_or_make(path), secret.load_or_make(path)

    assert first == second
    assert len(first) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_the_key_s_folder_is_made_for_us_alone(tmp_path: Path) -> None:
    secret.load_or_make(tmp_path / "keys" / "page.key")

    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_services_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from appliance.web import secret; "
        "print(secret.load_or_make(Path(sys.argv[1])).hex())"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "session.key")]

    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    keys = {start.communicate(timeout=60)[0] for start in starts}

    assert len(keys) == 1
    assert all(start.returncode == 0 for start in starts)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"short", "is damaged; delete it", id="damaged"),
        pytest.param(None, "cannot use the session key file", id="no folder"),
    ],
)
def test_an_unusable_session_key_is_told_in_one_line(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "session.key" if content else tmp_path / "no" / "where" / "session.key"
    if content:
        path.write_bytes(content)

    with pytest.raises(UnusableKey, match=words):
        secret.load_or_make(path)


@contextmanager
def listening_on(path: Path) -> Iterator[None]:
    """Somebody else's socket; it stays behind as after a kill."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(os.fspath(path))
        other.listen()
        yield
