"""SPF alone decides nothing about a message, and says nothing outside the results field."""

from datetime import UTC, datetime

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.samples import SAMPLES, SigningKey, compose, sample_zone
from tests.system.conftest import Outsider, Sent

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

NOW = datetime.now(UTC)  # of the signature


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> SigningKey:
    """What bank.example signs with: it sends from nowhere, by its SPF record, and wants forgeries rejected."""
    key = SigningKey()
    for (name, record_type), values in sample_zone(key).items():
        if record_type == "TXT":
            gateway.zone.txt(name, *values)
    gateway.save(verification__enabled=True)
    return key


def spf_result(sent: Sent) -> str:
    assert sent.event.authentication
    return sent.event.authentication.spf.result


def test_spf_12_a_failure_does_not_hide_a_valid_signature(outsider: Outsider, key: SigningKey) -> None:
    """RFC 9989 section 7.1: refused by SPF before DATA, the message would have no DKIM result, and no report."""
    [signed] = [sample for sample in SAMPLES if sample.signed]
    octets = compose(signed, key, message_id="spf-12@bank.example", now=NOW)

    sent = outsider.send(octets, mail_from="alerts@bank.example")

    assert (sent.fate, sent.event.result) == ("delivered", "pass")
    assert spf_result(sent) == "fail"


def test_spf_12_a_failure_alone_is_delivered_and_counted(outsider: Outsider, key: SigningKey) -> None:
    sent = outsider.send(b"From: bob@plain.example\r\n\r\nHello\r\n", mail_from="someone@relay.example")

    assert (sent.fate, sent.event.result) == ("delivered", "none")
    assert spf_result(sent) == "fail"


@pytest.mark.parametrize("mail_from", ["someone@relay.example", "bob@plain.example", ""])
def test_spf_14_no_received_spf_field_is_written(outsider: Outsider, key: SigningKey, mail_from: str) -> None:
    """RFC 7208 section 9: the results field is the record, and there is one of them."""
    sent = outsider.send(b"From: bob@plain.example\r\n\r\nHello\r\n", mail_from=mail_from)

    assert sent.delivered().texts("Received-SPF") == ()
    assert "spf=" in sent.results()
