"""Where receivers see us come from: told, set, or seen; never guessed."""

from ipaddress import ip_address

import pytest

from reporting.readiness.measure import Level
from reporting.readiness.outgoing import find_outgoing

BOUND = {"smtp_bind_address": "192.0.2.7", "smtp_bind_address6": "[2001:db8::7]"}


def test_what_the_administrator_told_goes_before_everything() -> None:
    told = (ip_address("192.0.2.1"), ip_address("2001:db8::1"), ip_address("192.0.2.1"))

    found = find_outgoing(told, BOUND | {"relayhost": "[relay.test]:25"})

    assert found.addresses == told[:2]


def test_postfix_bind_addresses_are_taken() -> None:
    found = find_outgoing((), BOUND)

    assert tuple(map(str, found.addresses)) == ("192.0.2.7", "2001:db8::7")
    assert "smtp_bind_address" in found.measure.measured


@pytest.mark.parametrize(
    ("parameters", "measured"),
    [
        pytest.param(
            BOUND | {"relayhost": "[relay.test]:25"},
            "leaves through [relay.test]:25",
            id="a relay in between",
        ),
        pytest.param({"inet_protocols": "none"}, "no route to the Internet", id="no protocol"),
    ],
)
def test_an_address_that_cannot_be_known_here_must_be_told(parameters: dict[str, str], measured: str) -> None:
    found = find_outgoing((), parameters)

    assert (found.addresses, found.measure.level) == ((), Level.FAILING)
    assert measured in found.measure.measured
    assert "--address" in found.measure.remedy


def test_a_private_address_is_never_taken_for_the_one_that_receivers_see() -> None:
    found = find_outgoing((), {})

    assert all(address.is_global for address in found.addresses)
    assert bool(found.addresses) == (found.measure.level is Level.OK)
