"""The domain owner's explanation of an SPF failure, fetched for people only (RFC 7208 section 6.2, T15)."""

import asyncio
import base64
import json
from typing import Any

import pytest

from appliance.cli.verify import answer_line
from appliance.lab.nameserver import Behaviour, NameServer, Zone

EXPLAINED = "v=spf1 exp=why.%{d} -all"


def verify(zone: Zone, *, message: bytes | None = None, **values: Any) -> dict[str, Any]:
    with NameServer(zone) as nameserver:
        request = {
            "id": 1,
            "op": "verify",
            "ip": "192.0.2.1",
            "helo": "mx.example.org",
            "mail_from": "ann@example.org",
            "message_b64": None if message is None else base64.b64encode(message).decode(),
            "now": 1795435200,
            "dns": nameserver.address,
            "dns_timeout": 0.5,
        }
        return asyncio.run(answer_line(json.dumps(request | values).encode(), ""))


def explained(text: str | bytes, record: str = EXPLAINED) -> Zone:
    zone = Zone()
    zone.txt("example.org", record)
    zone.txt("why.example.org", text)
    return zone


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Not from here.", "Not from here.", id="plain"),
        pytest.param(
            "%{i} is %{c} in %{v}, %{l} of %{o} by %{h}",
            "192.0.2.1 is 192.0.2.1 in in-addr, ann of example.org by mx.example.org",
            id="macros",
        ),
        pytest.param("%{t} at %{r}", "1795435200 at unknown", id="macros of explanations only SPF-08"),
        pytest.param(
            "see%_http://x.example/?%{S}%%%-", "see http://x.example/?ann%40example.org%%20", id="escapes"
        ),
        pytest.param("connect from %{p}", "connect from unknown", id="no validated name"),
        pytest.param("a" * 1024, "a" * 1024, id="the longest"),
        pytest.param("a" * 1025, None, id="too long"),
        pytest.param("%{o}" * 200, None, id="too long when expanded"),
        pytest.param("", None, id="empty"),
        pytest.param("Schön", None, id="not ASCII"),
        pytest.param(b"two\r\nlines", None, id="line end"),
        pytest.param(b"bell\x07", None, id="control character"),
        pytest.param("%{x}", None, id="unknown macro"),
        pytest.param("100%", None, id="open macro"),
    ],
)
def test_verify_gives_the_explanation_of_a_failure(text: str | bytes, expected: str | None) -> None:
    answer = verify(explained(text))

    assert (answer["spf"], answer["spf_exp"], answer["error"]) == ("fail", expected, None)


def test_an_explanation_may_name_the_clients_host() -> None:
    zone = explained("connect from %{p}")
    zone.ptr("1.2.0.192.in-addr.arpa", "host.example.net")
    zone.a("host.example.net", "192.0.2.1")

    assert verify(zone)["spf_exp"] == "connect from host.example.net"


@pytest.mark.parametrize("all_", ["+all", "~all", "?all"])
def test_only_a_failure_is_explained(all_: str) -> None:
    assert verify(explained("Never seen.", f"v=spf1 exp=why.example.org {all_}"))["spf_exp"] is None


@pytest.mark.parametrize(
    "record", ["v=spf1 -all", "v=spf1 exp=nowhere.example.org -all", "v=spf1 exp=%{l}..example.org -all"]
)
def test_without_a_text_there_is_no_explanation(record: str) -> None:
    answer = verify(explained("Never seen.", record))

    assert (answer["spf"], answer["spf_exp"]) == ("fail", None)


def test_two_texts_are_none() -> None:
    zone = explained("one")
    zone.txt("why.example.org", "one", "two")

    assert verify(zone)["spf_exp"] is None


@pytest.mark.parametrize("behaviour", [Behaviour.SERVFAIL, Behaviour.SILENCE, Behaviour.GARBAGE])
def test_trouble_with_the_text_does_not_change_the_result(behaviour: Behaviour) -> None:
    zone = explained("Never seen.")
    zone.misbehave("why.example.org", behaviour)
    answer = verify(zone)

    assert (answer["spf"], answer["spf_exp"]) == ("fail", None)


def test_a_redirection_explains_and_an_include_does_not() -> None:
    zone = explained(
        "of the redirection", "v=spf1 include:inc.example exp=never.example redirect=to.example.org"
    )
    zone.txt("inc.example", "v=spf1 exp=never.example -all")
    zone.txt("to.example.org", "v=spf1 exp=why.example.org -all")

    assert verify(zone)["spf_exp"] == "of the redirection"


def test_a_local_part_outside_ascii_gets_no_explanation_that_quotes_it() -> None:
    """SPF-11."""
    answer = verify(explained("not from %{l}"), mail_from="j\u00fcrgen@example.org")

    assert (answer["spf"], answer["spf_exp"]) == ("fail", None)


def test_a_message_that_passes_asks_nothing_for_an_explanation() -> None:
    """T15."""
    zone = explained("Never seen.", "v=spf1 ip4:192.0.2.1 exp=why.example.org -all")
    with NameServer(zone) as nameserver:
        answer = verify(zone, message=b"From: ann@example.org\r\n\r\n", dns=nameserver.address)

        assert (answer["spf"], nameserver.count("why.example.org")) == ("pass", 0)
