"""standards.md 9.4 and 13.2: reports leave the organization only for hosts that agreed (RFC 9990 section 4)."""

import asyncio
import time

import pytest

from appliance.dmarc.record import parse_record
from appliance.lab.nameserver import Behaviour, NameServer
from appliance.resolver import Resolver
from reporting.destinations import Destinations, Kind, ReportAddresses, find_destinations, report_addresses

BLUE = "blue.example.com"
RED = "red.example.net"
PERMISSION = f"{BLUE}._report._dmarc.{RED}"
RECORD = f"v=DMARC1; p=none; rua=mailto:dmarc@{RED}"


def found(nameserver: NameServer, record: str = RECORD, policy_domain: str = BLUE) -> Destinations:
    async def run() -> Destinations:
        resolver = Resolver(nameserver.address, query_timeout_seconds=0.3, attempts=1)
        parsed = parse_record(record.encode())
        assert parsed
        try:
            deadline = time.monotonic() + 20
            return await find_destinations(policy_domain, parsed, Kind.AGGREGATE, resolver, deadline)
        finally:
            await resolver.close()

    return asyncio.run(run())


def names(destinations: Destinations) -> list[str]:
    return [str(address) for address in destinations.addresses]


def test_the_policy_domain_itself_needs_no_permission(nameserver: NameServer) -> None:
    destinations = found(nameserver, "v=DMARC1; p=none; rua=mailto:d@example.com", "example.com")

    assert names(destinations) == ["d@example.com"]
    assert not nameserver.queries


def test_a_host_of_the_same_organization_needs_no_permission_ext_01(nameserver: NameServer) -> None:
    nameserver.zone.txt("_dmarc.example.com", "v=DMARC1; p=none")

    destinations = found(nameserver, "v=DMARC1; p=none; rua=mailto:d@mail.example.com", "example.com")

    assert names(destinations) == ["d@mail.example.com"]
    assert not any("_report" in query.name for query in nameserver.queries)


def test_a_parent_of_the_same_organization_needs_no_permission_ext_01(nameserver: NameServer) -> None:
    nameserver.zone.txt("_dmarc.example.com", "v=DMARC1; p=none")
    nameserver.zone.txt(f"_dmarc.{BLUE}", "v=DMARC1; p=none")

    destinations = found(nameserver, "v=DMARC1; p=none; rua=mailto:d@example.com")

    assert names(destinations) == ["d@example.com"]


def test_two_registrants_under_one_suffix_are_not_one_organization_ext_01(nameserver: NameServer) -> None:
    nameserver.zone.txt("_dmarc.com", "v=DMARC1; psd=y; p=none")

    destinations = found(nameserver, "v=DMARC1; p=none; rua=mailto:d@other.com", "example.com")

    assert names(destinations) == []
    assert nameserver.count("example.com._report._dmarc.other.com", "TXT") == 1


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param(["v=DMARC1;"], [f"dmarc@{RED}"], id="agreed"),
        pytest.param(["v = DMARC1 ;"], [f"dmarc@{RED}"], id="agreed with spaces EXT-03"),
        pytest.param(["v=DMARC1", "junk"], [f"dmarc@{RED}"], id="one record and junk"),
        pytest.param(["v=DMARC1;", "v=DMARC1; p=none"], [f"dmarc@{RED}"], id="two records EXT-03"),
        pytest.param([f"v=DMARC1; rua=mailto:new@{RED}"], [f"new@{RED}"], id="another address EXT-05"),
        pytest.param(["v=DMARC1; rua=mailto:x@other.net"], [], id="another host EXT-05"),
        pytest.param(
            [f"v=DMARC1; rua=mailto:new@{RED},mailto:x@other.net"],
            [],
            id="one of them at another host EXT-05",
        ),
        pytest.param([f"v=DMARC1; ruf=mailto:new@{RED}"], [f"dmarc@{RED}"], id="only ruf is replaced B.2.4"),
        pytest.param(
            [f"v=DMARC1; rua=mailto:b@{RED}", f"v=DMARC1; rua=mailto:a@{RED}"],
            [f"a@{RED}"],
            id="first EXT-07",
        ),
        pytest.param([], [], id="no such name EXT-04"),
        pytest.param(["v=spf1 -all"], [], id="another record EXT-04"),
        pytest.param(["v=dmarc1"], [], id="version in lower case"),
    ],
)
def test_a_foreign_host_is_asked(nameserver: NameServer, texts: list[str], expected: list[str]) -> None:
    if texts:
        nameserver.zone.txt(PERMISSION, *texts)

    destinations = found(nameserver)

    assert names(destinations) == expected
    assert bool(destinations.refused) is (not expected)
    assert nameserver.count(PERMISSION, "TXT") == 1


@pytest.mark.parametrize("trouble", [Behaviour.SERVFAIL, Behaviour.SILENCE, Behaviour.REFUSED], ids=str)
def test_trouble_postpones_and_never_permits_ext_06(nameserver: NameServer, trouble: Behaviour) -> None:
    nameserver.zone.misbehave(PERMISSION, trouble)
    nameserver.zone.txt(f"{BLUE}._report._dmarc.agreed.test", "v=DMARC1")

    destinations = found(nameserver, RECORD + ",mailto:b@agreed.test")

    assert names(destinations) == ["b@agreed.test"]
    assert len(destinations.postponed) == 1
    assert not destinations.refused


def test_an_unknown_organization_postpones(nameserver: NameServer) -> None:
    nameserver.zone.misbehave("_dmarc.example.com", Behaviour.SERVFAIL)

    destinations = found(nameserver, "v=DMARC1; p=none; rua=mailto:d@mail.example.com")

    assert (names(destinations), len(destinations.postponed)) == ([], 1)


def test_a_wildcard_agrees_for_every_domain() -> None:
    with NameServer(f'*._report._dmarc.{RED}. TXT "v=DMARC1"') as nameserver:
        destinations = found(nameserver)

    assert names(destinations) == [f"dmarc@{RED}"]


def test_a_name_that_is_too_long_to_ask_is_no_permission_ext_02(nameserver: NameServer) -> None:
    host = ".".join(["x" * 60] * 4)
    record = f"v=DMARC1; p=none; rua=mailto:d@{host}"

    destinations = found(nameserver, record)

    assert (names(destinations), len(destinations.refused)) == ([], 1)


def test_two_uris_that_lead_to_one_address_give_one_destination(nameserver: NameServer) -> None:
    nameserver.zone.txt(PERMISSION, f"v=DMARC1; rua=mailto:new@{RED}")

    destinations = found(nameserver, f"v=DMARC1; p=none; rua=mailto:a@{RED},mailto:b@{RED}")

    assert names(destinations) == [f"new@{RED}"]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(
            f"v=DMARC1; p=none; rua=mailto:a@{RED},mailto:a@{BLUE}; ruf=mailto:f@{RED}",
            ReportAddresses((f"new@{RED}", f"a@{BLUE}"), (f"f@{RED}",)),
            id="both tags",
        ),
        pytest.param("v=DMARC1; p=none", ReportAddresses(), id="no addresses"),
        pytest.param("v=spf1", ReportAddresses(), id="no DMARC record"),
        pytest.param("v=DMARC1; p=none; rua=mailto:a@mute.test", ReportAddresses(), id="no answer"),
    ],
)
def test_the_addresses_of_a_record_text(
    nameserver: NameServer, record: str, expected: ReportAddresses
) -> None:
    nameserver.zone.txt(PERMISSION, f"v=DMARC1; rua=mailto:new@{RED}")
    nameserver.zone.misbehave(f"{BLUE}._report._dmarc.mute.test", Behaviour.SERVFAIL)

    async def run() -> ReportAddresses:
        resolver = Resolver(nameserver.address)
        try:
            return await report_addresses(BLUE, record.encode(), resolver)
        finally:
            await resolver.close()

    assert asyncio.run(run()) == expected
