"""T41: only the MTA speaks to the filter."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.filter.peers import Peers
from appliance.lab.ports import free_ports
from appliance.listening import CannotListen
from tests.filter.client import MilterClient
from tests.filter.conftest import RunningFilter, Start
from tests.milter.frames import offer

pytestmark = pytest.mark.system

NOBODY = 65534

CONNECT_AS = f"""
import os, socket, sys
os.chdir(os.path.dirname(sys.argv[1]))  # whoever stands here needs no way to it
os.setuid({NOBODY})
client = socket.socket(socket.AF_UNIX)
client.settimeout(20)
client.connect(os.path.basename(sys.argv[1]))
try:
    client.sendall({offer()!r})
    answer = client.recv(100)
except OSError:  # closed already
    answer = b""
print(len(answer))
"""


def connect_as_nobody(path: str) -> int:
    """How many octets the filter answers."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", CONNECT_AS, path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.fixture
def reachable(running_filter: RunningFilter) -> RunningFilter:
    """Its socket lets anybody in, on purpose."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    running_filter.wait_until_ready()
    make_reachable(running_filter)
    return running_filter


def make_reachable(running: RunningFilter) -> None:
    running.socket_path.chmod(0o666)
    running.folder.chmod(0o755)


def test_t41_a_stranger_is_closed_at_once_and_named_in_the_log(reachable: RunningFilter) -> None:
    answered = connect_as_nobody(str(reachable.socket_path))

    assert answered == 0
    assert reachable.log.count(f'connection-refused level=warning peer="uid {NOBODY}, process ') == 1
    with MilterClient(reachable.socket_path):
        pass


def test_t41_the_mta_is_known_by_its_user(start_filter: Start, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    node = tmp_path / "node.toml"
    node.write_text(
        f'store = "sqlite:///{tmp_path}/peers.db"\nstate = "{tmp_path}"\n[filter]\npeers = ["nobody"]\n'
    )
    running = start_filter("--config", str(node))
    make_reachable(running)

    assert connect_as_nobody(str(running.socket_path)) > 0


def test_t41_a_user_that_does_not_exist_is_told_and_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    peers = Peers.named(["no-such-user"])

    assert peers.uids == {0, os.geteuid()}
    assert "unknown-peer" in "".join(capfd.readouterr())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_t41_a_port_on_this_machine_alone_may_be_listened_at(host: str) -> None:
    Peers.named(()).check_listener(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "mail.example.org"])
def test_t41_another_port_only_for_mail_servers_that_are_named(host: str) -> None:
    with pytest.raises(CannotListen, match=r"filter\.peers") as caught:
        Peers.named(["postfix"]).check_listener(host)

    assert not caught.value.retry
    Peers.named(["192.0.2.0/28"]).check_listener(host)


def test_t41_an_open_port_is_refused_at_the_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "filter", "--listen", "inet:0.0.0.0:0", "--store", f"sqlite:///{tmp_path}/x.db"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "filter.peers" in done.stderr


def test_t41_a_port_answers_this_machine_and_the_networks_that_are_named() -> None:
    peers = Peers.named(["192.0.2.0/28"])
    (port,) = free_ports(1)

    with (
        socket.create_server(("127.0.0.1", port)) as listening,
        socket.create_connection(("127.0.0.1", port)),
    ):
        accepted, _ = listening.accept()
        with accepted:
            assert peers.stranger(accepted) == ""
