"""``dmarcgate lookup``: what a domain publishes, and an exit status that says whether it is right."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from appliance.cli.failures import CommandFailed
from appliance.cli.lookup import lookup_command
from appliance.lab.nameserver import Behaviour, NameServer, Zone
from tests.checks.mails import new_rsa_key

LookUp = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def nameserver() -> Iterator[NameServer]:
    zone = Zone()
    for domain in ("good.test", "shop.test", "mild.test", "mail.good.test"):
        zone.a(domain, "192.0.2.80")
        zone.txt(domain, "v=spf1 ip4:192.0.2.1 -all")
    zone.txt("_dmarc.good.test", "v=DMARC1; p=reject; rua=mailto:r@good.test,mailto:r@helper.example")
    zone.txt("good.test._report._dmarc.helper.example", "v=DMARC1")
    zone.txt("k._domainkey.good.test", new_rsa_key().record)
    zone.txt("_dmarc.shop.test", "v=DMARC1; p=reject; rua=mailto:r@stranger.example; ruf=mailto:r@shop.test")
    zone.txt("_dmarc.mild.test", "v=DMARC1; p=none; rua=mailto:r@mild.test")
    zone.misbehave("_dmarc.down.test", Behaviour.SERVFAIL)
    zone.txt("down.test", "v=spf1 -all")
    zone.txt("_dmarc.evil.test", b"v=DMARC1; p=none; x=\x1b[2J\xe2\x80\xae")
    zone.txt("evil.test", b"v=spf1 include:\x1b[2J -all", b"v=spf1;\x1b")
    with NameServer(zone) as running:
        yield running


@pytest.fixture(scope="module")
def look_up(nameserver: NameServer) -> LookUp:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "appliance", "lookup", *arguments, "--dns", nameserver.address],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return command


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_clean_domain_is_told_with_keys_and_permitted_destinations(look_up: LookUp) -> None:
    done = look_up("Good.Test.", "--selector", "k", "--json")

    found = told(done)
    assert (done.returncode, found["domain"], found["findings"]) == (0, "good.test", [])
    assert found["keys"][0]["key"] == "RSA, 2048 bits"
    assert found["reports"][0]["permitted"] == ["r@good.test", "r@helper.example"]
    assert found["walk"]["organizational_domain"] == "good.test"


def test_a_name_below_is_told_with_the_record_that_speaks_for_it(look_up: LookUp) -> None:
    found = told(look_up("mail.good.test", "--json"))

    assert found["wishes"]["policy_domain"] == "good.test"
    assert found["walk"]["organizational_domain"] == "good.test"


def test_ext_02_a_destination_that_did_not_agree_is_a_mistake(look_up: LookUp) -> None:
    done = look_up("shop.test")

    assert done.returncode == 1
    assert "reports: stranger.example did not agree to reports about shop.test" in done.stdout
    assert "goes to    r@shop.test" in done.stdout


def test_advice_alone_is_no_negative_result(look_up: LookUp) -> None:
    done = look_up("mild.test")

    assert done.returncode == 0
    assert "COULD BE BETTER" in done.stdout
    assert "p=none asks receivers to do nothing" in done.stdout


def test_what_the_dns_cannot_tell_is_worth_another_try(look_up: LookUp) -> None:
    done = look_up("down.test")

    assert done.returncode == 75
    assert "the policy cannot be told now (policy discovery: SERVFAIL)" in done.stdout


def test_a_missing_selector_is_a_mistake(look_up: LookUp) -> None:
    done = look_up("good.test", "--selector", "none")

    assert done.returncode == 1
    assert "none._domainkey.good.test: nothing there" in done.stdout


def test_hostile_records_are_shown_as_escapes(look_up: LookUp) -> None:
    done = look_up("evil.test")

    assert done.returncode == 1
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert "v=spf1;\\x1b" in done.stdout


@pytest.mark.parametrize("domain", ["b..x", "a b", "\x1b[2J", "x" * 70 + ".test"])
def test_what_is_no_domain_is_wrong_usage(domain: str) -> None:
    done = CliRunner().invoke(lookup_command, [domain, "--dns", "127.0.0.1:53"], standalone_mode=False)

    assert isinstance(done.exception, CommandFailed)
    assert done.exception.status == 2
    assert "is no domain name" in str(done.exception)
    assert str(done.exception).isprintable()
