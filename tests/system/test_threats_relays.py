"""Known Hosts through a real Postfix: SPF, exceptions and reports see the client behind them, and nobody can lie about it."""

import time

import pytest

from appliance.lab.gateway import Gateway
from appliance.store import facts
from tests.system.conftest import Outsider

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

RELAY = "203.0.113.1"
INNER = "203.0.113.2"
RELAY_V6 = "2001:db8:0:1::1"
GOOD = "192.0.2.1"
STRANGER = "198.51.100.66"
EXEMPT = "192.0.2.99"
EVALUATED = "192.0.2.98"


@pytest.fixture(scope="module", autouse=True)
def _settings(gateway: Gateway) -> None:
    zone = gateway.zone
    zone.txt("legit.test", f"v=spf1 ip4:{GOOD} -all")
    zone.txt("_dmarc.legit.test", "v=DMARC1; p=reject; rua=mailto:r@legit.test")
    zone.txt("mx.legit.test", f"v=spf1 ip4:{GOOD} -all")
    gateway.save(
        verification__enabled=True,
        network__known_hosts=[RELAY, INNER, "2001:db8:0:1::/64"],
        verification__exceptions=[EXEMPT, f"{EVALUATED} mode=evaluate"],
        reports__enabled=True,
        reports__organization="Corp",
        reports__address="dmarc@corp.example",
        reports__readiness_override="a test",
    )


def hop(client: str, *, by: str = "relay.corp.example", helo: str = "mx.legit.test") -> bytes:
    """As Postfix on a relay writes it."""
    shown = f"IPv6:{client}" if ":" in client else client
    return (
        f"Received: from {helo} (unknown [{shown}])\r\n\tby {by} (Postfix) with ESMTP id 4X\r\n"
        "\tfor <u@corp.example>; Mon, 23 Nov 2026 14:00:00 +0000 (UTC)\r\n"
    ).encode()


FORGED = b"From: admin@legit.test\r\nSubject: x\r\n\r\nHello\r\n"


@pytest.mark.parametrize(
    ("peer", "received", "client", "fate"),
    [
        pytest.param(GOOD, b"", GOOD, "delivered", id="no relay: the peer"),
        pytest.param(STRANGER, b"", STRANGER, "rejected", id="no relay: a stranger"),
        pytest.param(RELAY, hop(GOOD), GOOD, "delivered", id="one relay"),
        pytest.param(RELAY, hop(STRANGER), STRANGER, "rejected", id="one relay, a stranger behind it"),
        pytest.param(RELAY, hop(INNER) + hop(GOOD), GOOD, "delivered", id="two relays"),
        pytest.param(RELAY, hop("127.0.0.1") + hop(GOOD), GOOD, "delivered", id="a filter on the relay"),
        pytest.param(RELAY_V6, hop(GOOD), GOOD, "delivered", id="a relay with IPv6"),
        pytest.param(RELAY, hop(STRANGER) + hop(GOOD), STRANGER, "rejected", id="a forged field below the stranger's"),
        pytest.param(STRANGER, hop(GOOD), STRANGER, "rejected", id="S17 a forged field from an unknown peer"),
        pytest.param(STRANGER, hop(RELAY) + hop(GOOD), STRANGER, "rejected", id="S17 a forged chain of relays"),
        pytest.param(RELAY, hop(STRANGER, helo=f"[{GOOD}]"), STRANGER, "rejected", id="a HELO that looks like an address"),
        pytest.param(RELAY, b"", "", "rejected", id="a relay that does not say from where"),
        pytest.param(RELAY, b"Received: by relay.corp.example; Mon, 23 Nov 2026 14:00:00 +0000\r\n" + hop(GOOD), "",
                     "rejected", id="a hop that cannot be read ends the search"),
    ],
)  # fmt: skip
def test_s15_spf_sees_the_client_behind_the_known_hosts(
    outsider: Outsider, peer: str, received: bytes, client: str, fate: str
) -> None:
    sent = outsider.send(received + FORGED, mail_from="admin@legit.test", client_ip=peer)

    assert (sent.event.client_ip, sent.fate) == (client, fate)


def test_s6_the_null_path_is_checked_by_the_helo_that_the_relay_saw(outsider: Outsider) -> None:
    """ALN-01: the relay's own HELO name says nothing about the client."""
    behind = outsider.send(hop(GOOD) + FORGED, mail_from="", client_ip=RELAY, helo="relay.corp.example")

    assert behind.event.authentication is not None
    spf = behind.event.authentication.spf
    assert (spf.result, spf.domain, behind.event.result) == ("pass", "mx.legit.test", "pass")


@pytest.mark.parametrize(
    ("peer", "received", "skip"),
    [
        pytest.param(EXEMPT, b"", "exception", id="the peer itself"),
        pytest.param(RELAY, hop(EXEMPT), "exception", id="behind a relay"),
        pytest.param(RELAY, hop(INNER) + hop(EXEMPT), "exception", id="behind two relays"),
        pytest.param(STRANGER, hop(EXEMPT), "", id="S17 forged by an unknown peer"),
        pytest.param(RELAY, hop(STRANGER) + hop(EXEMPT), "", id="S17 forged below the stranger's"),
        pytest.param(EXEMPT, hop(STRANGER), "exception", id="fields from an unlisted peer are not read"),
    ],
)
def test_s15_s17_exceptions_hold_for_the_client_behind_the_known_hosts(
    outsider: Outsider, peer: str, received: bytes, skip: str
) -> None:
    sent = outsider.send(received + FORGED, mail_from="admin@legit.test", client_ip=peer)

    assert sent.event.skip == skip
    assert sent.fate == ("delivered" if skip else "rejected")


def test_s15_an_evaluated_exception_behind_a_relay_is_marked_and_not_acted_on(outsider: Outsider) -> None:
    sent = outsider.send(hop(EVALUATED) + FORGED, mail_from="admin@legit.test", client_ip=RELAY)

    assert (sent.fate, sent.event.result) == ("delivered", "fail")
    assert "dmarc=fail" in sent.results()


def test_pain_15_reports_count_the_client_behind_the_known_hosts(
    gateway: Gateway, outsider: Outsider
) -> None:
    client = "198.51.100.200"
    outsider.send(hop(client) + FORGED, mail_from="admin@legit.test", client_ip=RELAY)

    now = int(time.time()) // 86_400 * 86_400
    with gateway.store.read() as connection:
        begin, end = now - 86_400, now + 2 * 86_400
        reported = {
            row.source_ip
            for group in facts.policy_groups(connection, begin, end)
            for row, _count in facts.aggregate_rows(connection, group, begin, end)
        }

    assert client in reported
    assert RELAY not in reported
