"""Lists and their look-ups."""

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from appliance.settings import DomainRecord, ExceptionRecord
from appliance.settings.records import DomainSet


def test_s18_a_record_gives_its_line_back() -> None:
    lines = [
        "192.0.2.7",
        "192.0.2.0/24 mode=evaluate",
        "2001:db8::/32 until=2027-01-01 # v6 office",
        "198.51.100.1 mode=evaluate until=2026-12-31",
    ]

    assert [str(ExceptionRecord.parse(line)) for line in lines] == lines


def test_a_star_matches_any_depth_below_but_not_the_name_itself() -> None:
    domains = DomainSet([DomainRecord.parse("*.example.com")])

    found = [
        name in domains for name in ("a.example.com", "a.b.example.com", "example.com", "badexample.com")
    ]

    assert found == [True, True, False, False]


@given(
    st.lists(st.ip_addresses(v=4).flatmap(lambda ip: st.integers(1, 32).map(lambda bits: (ip, bits)))),
    st.ip_addresses(v=4),
)
def test_a_network_map_agrees_with_looking_at_every_network(
    networks: list[tuple[object, int]], address: object
) -> None:
    from appliance.settings.records import NetworkMap

    parsed = [ip_network(f"{ip}/{bits}", strict=False) for ip, bits in networks]
    chosen = ip_address(str(address))

    found = NetworkMap((network, network) for network in parsed).get(chosen)

    holding = [network for network in parsed if chosen in network]
    assert found == max(holding, key=lambda network: network.prefixlen, default=None)
