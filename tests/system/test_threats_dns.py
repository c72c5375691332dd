"""Trouble in the DNS, through a real Postfix: never a rejection for good, never an unmarked delivery (T20, F10, S22)."""

import time
from dataclasses import dataclass

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.nameserver import Behaviour
from appliance.lab.samples import SigningKey
from reporting.signing import sign
from tests.system.conftest import Outsider

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

STRANGER = "198.51.100.66"
OWN = "192.0.2.1"
TROUBLE = [
    Behaviour.SERVFAIL,
    Behaviour.REFUSED,
    Behaviour.FORMERR,
    Behaviour.TRUNCATED,
    Behaviour.TRUNCATED_EVERYWHERE,
    Behaviour.CNAME_LOOP,
]


@dataclass(frozen=True)
class Domain:
    """One that nobody has asked for before, so that no cache knows it; it rejects what does not pass."""

    name: str
    signature: bytes

    @property
    def octets(self) -> bytes:
        return f"From: admin@{self.name}\r\nSubject: x\r\n\r\nHello\r\n".encode()


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey()


@pytest.fixture
def domain(gateway: Gateway, key: SigningKey) -> Domain:
    name = f"d{time.monotonic_ns()}.test"
    zone = gateway.zone
    zone.txt(f"_dmarc.{name}", "v=DMARC1; p=reject")
    zone.txt(name, f"v=spf1 ip4:{OWN} -all")
    zone.txt(f"s._domainkey.{name}", key.record)
    octets = Domain(name, b"").octets
    return Domain(name, sign(octets, domain=name, selector="s", private_key=key.pem))


@pytest.fixture(scope="module", params=["deliver", "defer"])
def action(request: pytest.FixtureRequest, gateway: Gateway) -> str:
    action: str = request.param
    gateway.save(verification__enabled=True, verification__actions__temporary_error=action)
    return action


FATE = {"deliver": "delivered", "defer": "deferred"}


@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.parametrize(
    ("prefix", "is_signed", "client"),
    [
        pytest.param("_dmarc.", False, STRANGER, id="policy"),
        pytest.param("", False, OWN, id="SPF record"),
        pytest.param("s._domainkey.", True, STRANGER, id="DKIM key"),
    ],
)
def test_t20_f10_trouble_where_an_answer_is_needed_is_temperror(
    gateway: Gateway,
    outsider: Outsider,
    action: str,
    domain: Domain,
    trouble: Behaviour,
    prefix: str,
    is_signed: bool,
    client: str,
) -> None:
    """DISC-40, DISC-42, DISC-43, ENF-07: each name in turn is the one that could have made it a pass."""
    gateway.zone.misbehave(prefix + domain.name, trouble)
    octets = (domain.signature if is_signed else b"") + domain.octets

    sent = outsider.send(octets, mail_from=f"any@{domain.name}", client_ip=client)

    assert (sent.event.result, sent.event.row, sent.fate) == ("temperror", "temporary_error", FATE[action])
    if sent.fate == "delivered":
        assert "dmarc=temperror" in sent.results()
    else:
        assert sent.reply.text.startswith("4.7.0 ")


@pytest.mark.parametrize("trouble", TROUBLE)
def test_t20_disc_41_a_pass_stands_beside_trouble_elsewhere(
    gateway: Gateway, outsider: Outsider, action: str, domain: Domain, trouble: Behaviour
) -> None:
    gateway.zone.misbehave(f"s._domainkey.{domain.name}", trouble)

    sent = outsider.send(domain.signature + domain.octets, mail_from=f"any@{domain.name}", client_ip=OWN)

    assert (sent.event.result, sent.fate) == ("pass", "delivered")


def test_f10_without_any_name_server_nothing_is_rejected(
    gateway: Gateway, outsider: Outsider, action: str
) -> None:
    port = gateway.nameserver.port
    gateway.nameserver.stop()
    try:
        sent = outsider.send(
            b"From: a@unknown-" + action.encode() + b".test\r\n\r\nHello\r\n",
            mail_from=f"a@new-{action}.test",
        )
    finally:
        gateway.nameserver.start()
    assert gateway.nameserver.port == port

    assert (sent.event.result, sent.fate) == ("temperror", FATE[action])
