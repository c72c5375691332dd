"""The hand-over to Postfix, against its own test server."""

from collections.abc import Callable

import pytest

from reporting.delivery import Attempted, Courier, HandOver
from tests.reporting.sink import StartSink

pytestmark = pytest.mark.system

MESSAGE = b"From: d@gateway.test\r\nSubject: report\r\n\r\n.a line that begins with a dot\r\n"


def offer(place: tuple[str, int], times: int = 1) -> list[Attempted]:
    with Courier(*place, timeout_seconds=10) as courier:
        return [courier.hand_over("bounces+1@gateway.test", "a@x.test", MESSAGE) for _ in range(times)]


def test_the_octets_and_the_envelope_arrive_as_given(start_sink: StartSink) -> None:
    sink = start_sink()

    [attempted] = offer(sink.place)

    [taken] = sink.taken()
    assert attempted.outcome is HandOver.ACCEPTED
    assert (taken.mail_from, taken.recipient) == ("bounces+1@gateway.test", "a@x.test")
    assert taken.octets.rstrip(b"\r\n") == MESSAGE.rstrip(b"\r\n")


def test_one_connection_carries_many_messages(start_sink: StartSink) -> None:
    sink = start_sink("-n", "2")  # sessions; the first is the readiness probe

    attempts = offer(sink.place, times=20)

    assert len(sink.taken()) == 20
    assert {attempted.outcome for attempted in attempts} == {HandOver.ACCEPTED}


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA", "."])
def test_a_temporary_refusal_is_a_deferral(start_sink: StartSink, command: str) -> None:
    sink = start_sink("-r", command)

    [attempted] = offer(sink.place)

    assert (attempted.outcome, attempted.reply[:3]) == (HandOver.DEFERRED, "450")


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA", "."])
def test_a_final_refusal_is_kept_with_its_reply(start_sink: StartSink, command: str) -> None:
    sink = start_sink("-f", command)

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
    start_sink: StartSink, options: tuple[str, str]
) -> None:
    sink = start_sink(*options)

    attempts = offer(sink.place, times=2)

    assert [attempted.outcome for attempted in attempts] == [HandOver.DEFERRED] * 2


@pytest.mark.parametrize(
    ("options", "is_uncertain", "is_unreachable"),
    [
        pytest.param(("-q", "CONNECT"), False, True, id="at the greeting"),
        pytest.param(("-q", "EHLO"), False, True, id="at EHLO"),
        pytest.param(("-q", "MAIL"), False, False, id="at MAIL"),
        pytest.param(("-q", "RCPT"), False, False, id="at RCPT"),
        pytest.param(("-q", "."), True, False, id="after the data"),
        pytest.param(("-r", "."), False, False, id="refused after the data"),
        pytest.param((), False, False, id="taken"),
    ],
)
def test_f13_where_the_connection_broke_says_whether_postfix_may_have_the_message(
    start_sink: StartSink, options: tuple[str, ...], is_uncertain: bool, is_unreachable: bool
) -> None:
    [attempted] = offer(start_sink(*options).place)

    assert (attempted.is_uncertain, attempted.is_unreachable) == (is_uncertain, is_unreachable)


def test_nobody_listening_is_a_deferral_that_says_where(free_port: Callable[[], int]) -> None:
    port = free_port()

    [attempted] = offer(("127.0.0.1", port))

    assert attempted.outcome is HandOver.DEFERRED
    assert attempted.is_unreachable
    assert f"127.0.0.1:{port}" in attempted.reply
