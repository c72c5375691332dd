"""The LMTP server on its socket: one answer to each recipient, bounds, strangers, ends (RFC 2033)."""

import contextlib
import logging
import os
import smtplib
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from appliance.node import Endpoint
from appliance.settings import Settings
from appliance.store import reports
from appliance.store.engine import Store
from appliance.store.reports import Attempt, Fate, NewJob
from reporting.bounces import Bounces
from reporting.lmtp import MAX_OCTETS, BounceServer
from reporting.return_path import return_paths
from tests.reporting.notices import notice

NOW = datetime(2026, 3, 5, tzinfo=UTC)
REPORT_ID = "0123456789abcdef0123456789ab"
R = "d@bank.test"


@pytest.fixture
def report(sqlite_store: Store) -> str:
    """The return path of a report that was sent."""
    new = NewJob(date(2026, 3, 4), "bank.test", "ab" * 16, 0, 1, REPORT_ID)
    with sqlite_store.begin() as connection:
        job = reports.plan(connection, new, NOW)
        reports.add_attempt(connection, job.id, Attempt(NOW, R, "accepted", "250 Ok", "4Zq"))
    return return_paths(sqlite_store, Settings()).of("dmarc@gateway.test", REPORT_ID, R)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[str]:
    """Where the socket lies, whatever the length of the path to it."""
    folder = os.open(tmp_path, os.O_RDONLY)
    yield f"/proc/self/fd/{folder}/bounces.sock"
    os.close(folder)


@contextlib.contextmanager
def serving(store: Store, place: str, **options: Callable[[socket.socket], str]) -> Iterator[BounceServer]:
    server = BounceServer(
        Endpoint(path=place), Bounces(store, clock=lambda: NOW), hostname="gateway.test", **options
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def client(sqlite_store: Store, place: str) -> Iterator[smtplib.LMTP]:
    with serving(sqlite_store, place), smtplib.LMTP(place, local_hostname="mx") as connected:
        connected.ehlo()
        yield connected


def fate(store: Store) -> Fate:
    with store.read() as connection:
        [job] = reports.jobs(connection)
        [attempt] = reports.attempts(connection, job.id)
    return attempt.fate


def test_a_notice_is_taken_and_noted(client: smtplib.LMTP, report: str, sqlite_store: Store) -> None:
    refused = client.sendmail("", [report], notice())

    assert refused == {}
    assert fate(sqlite_store) is Fate.BOUNCED


def test_bnc_05_an_address_is_refused_before_its_message(client: smtplib.LMTP, report: str) -> None:
    client.docmd("MAIL", "FROM:<>")

    wrong = client.docmd("RCPT", "TO:<bounces+1.0123456789ab@gateway.test>")
    right = client.docmd("RCPT", f"TO:<{report}>")

    assert (wrong[0], right[0]) == (550, 250)


def test_there_is_one_status_for_each_recipient(client: smtplib.LMTP, report: str) -> None:
    """RFC 2033 section 4.2: the second recipient is told to wait, so one answer to the data is all there is to say."""
    client.docmd("MAIL", "FROM:<>")

    codes = [client.docmd("RCPT", f"TO:<{report}>")[0] for _ in range(2)]
    answer = client.data(b"Subject: x\r\n\r\n")
    after = client.noop()

    assert codes == [250, 452]
    assert answer[0] == 250
    assert after[0] == 250


def test_one_connection_carries_many_messages(client: smtplib.LMTP, report: str) -> None:
    for _ in range(3):
        assert client.sendmail("", [report], notice(action="delayed", status="4.0.0")) == {}


def test_t30_a_message_beyond_the_limit_is_refused_and_the_connection_goes_on(
    client: smtplib.LMTP, report: str, sqlite_store: Store
) -> None:
    client.docmd("MAIL", "FROM:<>")
    client.docmd("RCPT", f"TO:<{report}>")

    code, _ = client.data(notice() + b"x\r\n" * (MAX_OCTETS // 3))

    assert code == 552
    assert fate(sqlite_store) is Fate.UNKNOWN
    assert client.sendmail("", [report], notice()) == {}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"MAIL FROM:<\xff\xfe@x>", id="no UTF-8"),
        pytest.param(b"MAIL FROM:<" + b"(" * 400, id="comments"),
        pytest.param(b"RCPT TO:" + b'<"' * 200, id="quotation marks"),
        pytest.param(b"X" * 100_000, id="long"),
        pytest.param(b"\0\0\0", id="NUL"),
        pytest.param(b"DATA", id="out of order"),
    ],
)
def test_bad_commands_are_refused_and_the_connection_goes_on(client: smtplib.LMTP, line: bytes) -> None:
    client.docmd("MAIL", "FROM:<>")
    client.send(line + b"\r\n")

    code, _ = client.getreply()

    assert 400 <= code < 600
    assert client.noop()[0] == 250


def test_the_socket_is_for_owner_and_group_and_goes_with_the_server(sqlite_store: Store, place: str) -> None:
    with serving(sqlite_store, place):
        mode = stat.S_IMODE(Path(place).stat().st_mode)

    assert mode == 0o660
    assert not Path(place).exists()


def test_t41_a_stranger_is_not_spoken_to(sqlite_store: Store, place: str) -> None:
    with serving(sqlite_store, place, stranger=lambda _: "uid 65534"), socket.socket(socket.AF_UNIX) as other:
        other.connect(place)

        with contextlib.suppress(ConnectionResetError):
            assert other.recv(100) == b""


def test_an_end_waits_for_nobody_who_is_silent(sqlite_store: Store, place: str) -> None:
    with serving(sqlite_store, place) as server, socket.socket(socket.AF_UNIX) as silent:
        silent.connect(place)
        assert silent.recv(100).startswith(b"220 ")

        stopping = threading.Thread(target=server.stop)
        stopping.start()
        stopping.join(30)

        assert not stopping.is_alive()


def test_it_goes_on_without_a_place_to_listen_and_can_be_stopped(
    sqlite_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reports go on without bounces."""
    with serving(sqlite_store, str(tmp_path / "missing" / "bounces.sock")):
        pass

    assert "create the folder first" in "".join(capsys.readouterr())


def test_the_library_does_not_tell_every_line_that_is_spoken(client: smtplib.LMTP) -> None:
    assert not logging.getLogger("mail.log").isEnabledFor(logging.INFO)
