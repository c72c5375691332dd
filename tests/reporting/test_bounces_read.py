"""Notices about reports, from the plain to the hostile: what they are taken to say."""

import base64
import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.store.deliveries import News
from appliance.store.reports import Fate
from reporting.notice import MAX_DIAGNOSTIC, read_notice
from tests.reporting.notices import group, multipart, notice

US = "d@bank.test"


@pytest.mark.parametrize(
    ("octets", "fate"),
    [
        pytest.param(notice(action="failed", status="5.1.1"), Fate.BOUNCED, id="BNC-02 failed, 5.x"),
        pytest.param(
            notice(action="Failed (no such user)", status="5.7.26 (refused)"), Fate.BOUNCED, id="comments"
        ),
        pytest.param(notice(action="failed", status="4.4.1"), Fate.EXPIRED, id="BNC-02 failed, 4.x"),
        pytest.param(notice(action="failed", status="5"), Fate.EXPIRED, id="BNC-02 a status that is none"),
        pytest.param(notice(action="delayed", status="4.2.1"), Fate.DEFERRED, id="BNC-02 delayed"),
        pytest.param(notice(action="delayed", status="5.1.1"), Fate.DEFERRED, id="BNC-02 delayed, whatever 5.x says"),
        pytest.param(notice(action="delivered", status="2.0.0"), Fate.DELIVERED, id="delivered"),
        pytest.param(notice(action="relayed", status="2.0.0"), Fate.DELIVERED, id="relayed"),
        pytest.param(notice(action="exploded", status="5.0.0"), Fate.DEFERRED, id="BNC-02 an action that is none"),
        pytest.param(multipart(group(status="5.1.1"), content_type="message/global-delivery-status"), Fate.BOUNCED, id="RFC 6533"),
        pytest.param(notice().replace(b"\r\n", b"\n"), Fate.BOUNCED, id="LF alone"),
        pytest.param(notice().replace(b'"A1.mx"', b"A1.mx"), Fate.BOUNCED, id="boundary without quotation marks"),
        pytest.param(notice().replace(b"multipart/report; report-type=delivery-status", b"multipart/mixed"), Fate.BOUNCED, id="another multipart"),
        pytest.param(notice().replace(b"delivery-status\r\n", b"feedback-report\r\n"), Fate.DEFERRED, id="BNC-02 another report"),
        pytest.param(b"Subject: Out of office\r\n\r\nAction: failed\r\nStatus: 5.1.1\r\n", Fate.DEFERRED, id="BNC-02 text that looks alike"),
        pytest.param(b"", Fate.DEFERRED, id="BNC-02 nothing"),
    ],
)  # fmt: skip
def test_what_a_notice_says(octets: bytes, fate: Fate) -> None:
    assert read_notice(octets, US).fate is fate


@pytest.mark.parametrize(
    ("groups", "fate"),
    [
        pytest.param(
            [group(recipient="a@x.test"), group(action="delivered", status="2.0.0", recipient="b@x.test")],
            Fate.DELIVERED,
            id="one behind the address got it",
        ),
        pytest.param(
            [group(recipient=US.upper()), group(action="delivered", status="2.0.0", recipient="b@x.test")],
            Fate.BOUNCED,
            id="the group about us decides",
        ),
        pytest.param([group(recipient="a@x.test")] * 3, Fate.BOUNCED, id="none behind the address got it"),
    ],
)
def test_an_address_that_stands_for_many_is_dead_only_when_all_are(groups: list[str], fate: Fate) -> None:
    assert read_notice(multipart(*groups), US).fate is fate


@pytest.mark.parametrize(
    ("diagnostic", "shown"),
    [
        pytest.param("smtp; 550 5.1.1 no such user", "550 5.1.1 no such user", id="reply"),
        pytest.param("smtp; 550 no such user", "5.1.1 550 no such user", id="reply without status"),
        pytest.param("", "5.1.1", id="the status alone"),
        pytest.param("x-unix; a\x1b[31m\x00\tb\u202e", "5.1.1 a [31m b", id="controls"),
    ],
)
def test_what_the_receiver_said_is_kept_for_people(diagnostic: str, shown: str) -> None:
    assert read_notice(notice(diagnostic=diagnostic), US).diagnostic == shown


def test_what_the_receiver_said_is_cut() -> None:
    said = read_notice(notice(diagnostic="smtp; " + "x" * 100_000), US).diagnostic

    assert len(said) == MAX_DIAGNOSTIC


DOCTYPE = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "' + "b" * 1000 + '">]><a>' + "&b;" * 1000 + "</a>"


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(base64.encodebytes(gzip.compress(bytes(50_000_000))).decode(), id="T30 gzip"),
        pytest.param(DOCTYPE, id="T31 entities"),
        pytest.param("".join(f"--b{n}\nContent-Type: multipart/x; boundary=b{n + 1}\n\n" for n in range(15_000)), id="nested"),
        pytest.param("Content-Type: message/rfc822\n\n" * 20_000, id="messages in messages"),
        pytest.param("--A1.mx\n\n" * 80_000, id="many parts"),
    ],
)  # fmt: skip
def test_t30_t31_bombs_stay_shut(bomb: str) -> None:
    octets = multipart(group(), after=f"--A1.mx\nContent-Type: application/gzip\n\n{bomb}\n")

    tracemalloc.start()
    try:
        news = read_notice(octets, US)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert news == News(Fate.BOUNCED, "5.1.1")
    assert peak < 80 * 1024 * 1024


PIECES = st.lists(
    st.sampled_from(
        [
            b"--A1.mx",
            b"--",
            b"\r\n",
            b"\n",
            b"\r\n\r\n",
            b"Action: failed",
            b"Status: 5.1.1",
            b"Content-Type: ",
            b"multipart/report;",
            b' boundary="A1.mx"',
            b"message/delivery-status",
            b" ",
            b"\xff\x00",
            b":",
            b"Final-Recipient: rfc822;" + US.encode(),
        ]
    )
    | st.binary(max_size=20),
    max_size=60,
)


@given(PIECES)
def test_any_octets_are_read_as_some_news(pieces: list[bytes]) -> None:
    news = read_notice(b"".join(pieces), US)

    assert news.fate in {Fate.DEFERRED, Fate.EXPIRED, Fate.BOUNCED}
    assert news.diagnostic.isprintable()
