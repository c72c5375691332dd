"""The effective client behind Known Hosts: section 1 of the behaviour, S15, S17, pain 15."""

from collections.abc import Callable
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.message import Message
from appliance.mail.origin import MAX_RECEIVED_OCTETS, Hop, HowFound, client_in_received, effective_client

MessageOf = Callable[..., Message]


class KnownHosts:
    def __contains__(self, address: object) -> bool:
        return any(address in ip_network(text) for text in ("10.0.0.0/8", "2001:db8:1::/48"))


KNOWN = KnownHosts()
CLIENT = "203.0.113.5"

RECEIVED = [  # value, address, HELO
    pytest.param(
        "from mail.sender.test (mail.sender.test [203.0.113.5])\r\n\tby relay.test (Postfix) with ESMTPS id 4Zq",
        CLIENT,
        "mail.sender.test",
        id="Postfix",
    ),
    pytest.param(
        "from helo.test (unknown [203.0.113.5]) by r", CLIENT, "helo.test", id="Postfix without a name"
    ),
    pytest.param(
        "from a.test (a.test [IPv6:2001:db8::5])\r\n\t(using TLSv1.3 with cipher X (256/256 bits))\r\n\t"
        '(Client CN "a.test", Issuer "CA" (verified OK))\r\n\tby r (Postfix)',
        "2001:db8::5",
        "a.test",
        id="Postfix, IPv6 and TLS",
    ),
    pytest.param(
        "from [198.51.100.1] (a.test [203.0.113.5]) by r", CLIENT, "[198.51.100.1]", id="address as HELO"
    ),
    pytest.param("from a.test (a.test [::ffff:203.0.113.5]) by r", CLIENT, "a.test", id="SPF-13 mapped IPv4"),
    pytest.param("from a.test ([203.0.113.5]) by r", CLIENT, "a.test", id="Exim or Sendmail without a name"),
    pytest.param("from a.test ([203.0.113.5] helo=b.test) by r with esmtp", CLIENT, "b.test", id="Exim"),
    pytest.param("from a.test ([203.0.113.5]:4711 helo=b.test) by r", CLIENT, "b.test", id="Exim with port"),
    pytest.param("from a.test ([2001:db8::5]) by r", "2001:db8::5", "a.test", id="Exim, IPv6"),
    pytest.param("from [203.0.113.5] (helo=b.test) by r", CLIENT, "b.test", id="Exim without a name"),
    pytest.param(
        "from [203.0.113.5] (port=99 helo=b.test) by r", CLIENT, "b.test", id="Exim, port before HELO"
    ),
    pytest.param(
        "from [203.0.113.5] (helo=[198.51.100.1]) by r", CLIENT, "[198.51.100.1]", id="Exim, forged HELO"
    ),
    pytest.param(
        "from a.test (b.test [203.0.113.5] (may be forged)) by r (8.17/8.17)", CLIENT, "a.test", id="Sendmail"
    ),
    pytest.param("from a.test (joe@b.test [203.0.113.5]) by r", CLIENT, "a.test", id="Sendmail with ident"),
    pytest.param(
        "from A.corp.test (203.0.113.5) by B.corp.test (10.0.0.1) with Microsoft SMTP Server (version=TLS1_2)",
        CLIENT,
        "A.corp.test",
        id="Exchange",
    ),
    pytest.param(
        "from A.test (2001:db8::5%12) by B.test", "2001:db8::5", "A.test", id="Exchange, IPv6 scope"
    ),
    pytest.param("from unknown (HELO a.test) (203.0.113.5) by r with SMTP", CLIENT, "a.test", id="qmail"),
    pytest.param("from b.test (HELO a.test) (joe@203.0.113.5) by r", CLIENT, "a.test", id="qmail with ident"),
    pytest.param("from [203.0.113.5] by r", CLIENT, "[203.0.113.5]", id="address alone"),
    pytest.param("from [IPv6:2001:db8::5] by r", "2001:db8::5", "[IPv6:2001:db8::5]", id="IPv6 alone"),
    pytest.param("FROM a.test (a.test [203.0.113.5]) BY r", CLIENT, "a.test", id="upper case"),
]


@pytest.mark.parametrize(("value", "ip", "helo"), RECEIVED)
def test_the_address_that_the_relay_saw_is_read(value: str, ip: str, helo: str) -> None:
    hop = client_in_received(f" {value}; Mon, 23 Nov 2026 00:00:00 +0000".encode())

    assert hop == Hop(ip_address(ip), helo)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param("by relay.test (Postfix, from userid 0) id 4Zq", id="submitted on the relay"),
        pytest.param("from a.test by r", id="no address"),
        pytest.param("from a.test (a.test) by r", id="no address in the comment"),
        pytest.param("from a.test (a.test [203.0.113.500]) by r", id="no valid address"),
        pytest.param("from a.test (a.test [fe80::1%eth0]) by r", id="scope in brackets"),
        pytest.param("from a.test (HELO [203.0.113.9]) by r", id="only a HELO name"),
        pytest.param("from a.test (ehlo [203.0.113.9]) by r", id="only an EHLO name"),
        pytest.param("from a.test (x y [203.0.113.9]) by r", id="more than a name before the address"),
        pytest.param("from a.test (helo=[203.0.113.9]) by r", id="HELO with a name before it"),
        pytest.param("from [203.0.113.9] (account x HELO y) by r", id="literal that may be the HELO name"),
        pytest.param("from [203.0.113.9] (a.test) by r", id="literal with a name only"),
        pytest.param("from a.test (b [203.0.113.9]) (c [203.0.113.5]) by r", id="two addresses"),
        pytest.param("from a b (b [203.0.113.9]) by r", id="two words"),
        pytest.param("from <a> (b [203.0.113.9]) by r", id="no word"),
        pytest.param('from "a" (b [203.0.113.9]) by r', id="quoted word"),
        pytest.param("from a.test (b [203.0.113.9] by r", id="parenthesis without its end"),
        pytest.param("from; by r (b [203.0.113.9])", id="address of the relay itself"),
        pytest.param("from by r (b [203.0.113.9])", id="no client before by"),
        pytest.param("from a.test (a.test [203.0.113.5])\0 by r", id="control character"),
        pytest.param("from a.test (a.test [203.0.113.5]) by" + " r" * MAX_RECEIVED_OCTETS, id="too long"),
    ],
)
def test_a_received_field_in_doubt_names_nobody(value: str) -> None:
    assert client_in_received(value.encode()) is None


def received(client: str) -> tuple[bytes, bytes]:
    helo = "helo.of." + client.replace(":", "-")
    return b"Received", f" from {helo} (name.test [{client}]) by relay.test (Postfix)".encode()


def test_a_peer_that_is_no_known_host_is_the_client(message_of: MessageOf) -> None:
    """S17: its Received fields are not believed, whatever they name."""
    message = message_of(received("198.51.100.7"), client=CLIENT, helo="mx.test")

    origin = effective_client(message, KNOWN)

    assert (origin.client_ip, origin.helo, origin.found) == (ip_address(CLIENT), "mx.test", HowFound.PEER)


def test_behind_known_hosts_the_nearest_other_hop_is_the_client(message_of: MessageOf) -> None:
    fields = received("10.0.0.2"), received(CLIENT), received("198.51.100.7")
    message = message_of(*fields, client="10.0.0.1", helo="relay1.test")

    origin = effective_client(message, KNOWN)

    assert (origin.client_ip, origin.helo) == (ip_address(CLIENT), f"helo.of.{CLIENT}")
    assert origin.found is HowFound.RECEIVED
    assert [str(hop.ip) for hop in origin.relays] == ["10.0.0.1", "10.0.0.2"]


def test_a_known_host_over_ipv6_is_followed(message_of: MessageOf) -> None:
    message = message_of(received("IPv6:2001:db8:2::1"), client="2001:db8:1::25")

    assert effective_client(message, KNOWN).client_ip == ip_address("2001:db8:2::1")


def test_a_filter_on_the_relay_that_hands_back_is_the_relay(message_of: MessageOf) -> None:
    message = message_of(received("127.0.0.1"), received(CLIENT), client="10.0.0.1")

    assert effective_client(message, KNOWN).client_ip == ip_address(CLIENT)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([], id="none"),
        pytest.param([received("10.0.0.2")], id="only Known Hosts"),
        pytest.param(
            [(b"Received", b" by relay.test (Postfix, from userid 0)"), received(CLIENT)], id="no client"
        ),
        pytest.param([(b"Received", b" from junk (("), received(CLIENT)], id="unreadable"),
        pytest.param(
            [received("10.0.0.2"), (b"Received", b""), received(CLIENT)], id="unreadable further down"
        ),
        pytest.param([received("10.0.0.2")] * 80 + [received(CLIENT)], id="a loop"),
    ],
)
def test_what_known_hosts_do_not_tell_is_unknown(
    fields: list[tuple[bytes, bytes]], message_of: MessageOf
) -> None:
    """Never the relay itself, whose address may pass SPF for our own domains."""
    origin = effective_client(message_of(*fields, client="10.0.0.1"), KNOWN)

    assert (origin.client_ip, origin.helo, origin.found) == (None, "", HowFound.UNKNOWN)


def test_a_message_submitted_on_this_machine_has_no_client(message_of: MessageOf) -> None:
    origin = effective_client(message_of(received(CLIENT), client=None), KNOWN)

    assert (origin.client_ip, origin.found) == (None, HowFound.PEER)


@given(value=st.binary(max_size=200) | st.text(alphabet="from by([])x1.:@;=helo ").map(str.encode))
def test_any_received_field_is_read_or_refused(value: bytes) -> None:
    hop = client_in_received(value)

    assert hop is None or str(hop.ip)


@given(helo=st.text(alphabet="ab[]1.: =-", max_size=30))
def test_t6_no_helo_name_changes_the_address_that_postfix_saw(helo: str) -> None:
    """Postfix writes ``?`` for ``<>()\\";:@`` in the HELO name."""
    name = helo.replace(":", "?")

    hop = client_in_received(f" from {name} (unknown [{CLIENT}]) by relay.test (Postfix)".encode())

    assert hop is None or hop.ip == ip_address(CLIENT)


@given(helo=st.text(alphabet="ab[]1.:-()= ", max_size=30))
def test_t6_no_helo_name_changes_the_address_that_exim_saw(helo: str) -> None:
    for value in (f"from [{CLIENT}] (helo={helo}) by r", f"from x ([{CLIENT}] helo={helo}) by r"):
        hop = client_in_received(value.encode())

        assert hop is None or hop.ip == ip_address(CLIENT)
