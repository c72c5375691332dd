"""Listening sockets: bound with care, and one line about what is in the way."""

import os
import socket
import stat
from pathlib import Path

import pytest

from appliance.listening import CannotListen, bind, inherited_socket, unlink
from appliance.node import Endpoint


def test_t41_a_unix_socket_is_open_to_owner_and_group_only(tmp_path: Path) -> None:
    path = tmp_path / "f.sock"

    with bind(Endpoint(path=str(path))):
        mode = path.stat().st_mode

    assert stat.S_IMODE(mode) == 0o660


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "f.sock"
    bind(Endpoint(path=str(path))).close()

    with bind(Endpoint(path=str(path))) as listening, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))

        accepted, _ = listening.accept()
    accepted.close()


def test_a_busy_socket_is_left_alone_and_worth_trying_again(tmp_path: Path) -> None:
    path = tmp_path / "f.sock"

    with (
        bind(Endpoint(path=str(path))),
        pytest.raises(CannotListen, match="another process listens") as caught,
    ):
        bind(Endpoint(path=str(path)))

    assert caught.value.retry
    assert path.exists()


def test_a_busy_port_is_worth_trying_again() -> None:
    with bind(Endpoint(host="127.0.0.1", port=0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(CannotListen, match=f"127.0.0.1:{port}") as caught:
            bind(Endpoint(host="127.0.0.1", port=port))

    assert caught.value.retry


def test_another_kind_of_file_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "f.sock"
    path.write_text("precious")

    with pytest.raises(CannotListen, match="remove it") as caught:
        bind(Endpoint(path=str(path)))

    assert not caught.value.retry
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("path", "says"),
    [("absent/f.sock", "create the folder"), ("x" * 200, "too long")],
    ids=["folder", "length"],
)
def test_a_path_that_can_not_be_bound_is_explained(tmp_path: Path, path: str, says: str) -> None:
    with pytest.raises(CannotListen, match=says) as caught:
        bind(Endpoint(path=str(tmp_path / path)))

    assert not caught.value.retry
    assert "\n" not in str(caught.value)


def test_only_our_own_socket_file_is_unlinked(tmp_path: Path) -> None:
    endpoint = Endpoint(path=str(tmp_path / "f.sock"))
    with bind(endpoint) as listening:
        unlink(endpoint, listening)

    assert not Path(endpoint.path).exists()


def test_a_socket_meant_for_another_process_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))

    assert inherited_socket() is None
