"""IP addresses as mail names them."""

from ipaddress import ip_address

import pytest

from appliance.mail.address import parse_ip


@pytest.mark.parametrize(
    ("text", "address"),
    [
        pytest.param("192.0.2.1", "192.0.2.1", id="IPv4"),
        pytest.param("2001:DB8::1", "2001:db8::1", id="IPv6"),
        pytest.param("IPv6:2001:db8::1", "2001:db8::1", id="IPv6 with its tag"),
        pytest.param("ipv6:::1", "::1", id="tag in lower case"),
        pytest.param("::ffff:192.0.2.1", "192.0.2.1", id="SPF-13 IPv4-mapped"),
        pytest.param("IPv6:::ffff:192.0.2.1", "192.0.2.1", id="SPF-13 IPv4-mapped with the tag"),
    ],
)
def test_an_address_is_read(text: str, address: str) -> None:
    assert parse_ip(text) == ip_address(address)


@pytest.mark.parametrize("text", ["", "IPv6:", "192.0.2", "192.0.2.1/32", "mx.example.org", "fe80::1%eth0"])
def test_anything_else_is_no_address(text: str) -> None:
    assert parse_ip(text) is None
