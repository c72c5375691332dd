"""The hand-over to Postfix, against its own test server."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reporting.delivery import Attempted, Courier, HandOver
from tests.reporting.sink import running

pytestmark = pytest.mark.system

MESSAGE = b"From: d@gateway.test\r\nSubject: report\r\n\r\n.a line that begins with a dot\r\n"

Requires = Callable[[str], Path]
FreePort = Callable[[], int]


def offer(place: tuple[str, int], times: int = 1) -> list[Attempted]:
    with Courier(*place, timeout_seconds=10) as courier:
        return [courier.hand_over("bounces+1@gateway.test", "a@x.test", MESSAGE) for _ in range(times)]


def test_the_octets_and_the_envelope_arrive_as_given(requires: Requires, free_port: FreePort) -> None:
    with running(requires("smtp-sink"), free_port()) as sink:
        [attempted] = offer(sink.place)

        [taken] = sink.taken()
    assert attempted.outcome is HandOver.ACCEPTED
    assert (taken.mail_from, taken.recipient) == ("bounces+1@gateway.test", "a@x.test")
    assert taken.octets.rstrip(b"\r\n") == MESSAGE.rstrip(b"\r\n")


def test_one_connection_carries_many_messages(requires: Requires, free_port: FreePort) -> None:
    with running(
        requires("smtp-sink"), free_port(), "-n", "2"
    ) as sink:  # the first session is the readiness probe
        attempts = offer(sink.place, times=20)

        assert len(sink.taken()) == 20
    assert {attempted.outcome for attempted in attempts} == {HandOver.ACCEPTED}


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA", "."])
def test_a_temporary_refusal_is_a_deferral(requires: Requires, free_port: FreePort, command: str) -> None:
    with running(requires("smtp-sink"), free_port(), "-r", command) as sink:
        [attempted] = offer(sink.place)

    assert (attempted.outcome, attempted.reply[:3]) == (HandOver.DEFERRED, "450")


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA", "."])
def test_a_final_refusal_is_kept_with_its_reply(
    requires: Requires, free_port: FreePort, command: str
) -> None:
    with running(requires("smtp-sink"), free_port(), "-f", command) as sink:
        [attempted] = offer(sink.place)

    assert attempted == Attempted(HandOver.REFUSED, "500 5.3.0 Error: command failed")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("-f", "CONNECT"), id="greeting 5xx"),
        pytest.param(("-q", "MAIL"), id="hangs up at MAIL"),
        pytest.param(("-q", "."), id="hangs up after the data"),
        pytest.param(("-Q", "RCPT"), id="421"),
    ],
)
def test_trouble_with_the_connection_is_a_deferral_and_the_next_message_gets_a_new_one(
    requires: Requires, free_port: FreePort, options: tuple[str, str]
) -> None:
    with running(requires("smtp-sink"), free_port(), *options) as sink:
        attempts = offer(sink.place, times=2)

    assert [attempted.outcome for attempted in attempts] == [HandOver.DEFERRED] * 2


def test_nobody_listening_is_a_deferral_that_says_where(free_port: FreePort) -> None:
    port = free_port()

    [attempted] = offer(("127.0.0.1", port))

    assert attempted.outcome is HandOver.DEFERRED
    assert f"127.0.0.1:{port}" in attempted.reply
