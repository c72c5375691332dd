"""``dmarcgate key``: keys are made, told and exchanged; private halves are never told."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from appliance.settings import from_document
from appliance.store import audit, keys
from appliance.store.engine import Store
from appliance.store.keys import KeyState
from appliance.store.schema import signing_key
from tests.cli.commands import Gate
from tests.cli.conftest import Saved

DOMAIN = "gateway.test"
REPORTER = from_document({"reports": {"address": f"dmarc@{DOMAIN}", "organization": "Gateway"}})


@pytest.fixture(autouse=True)
def _reporter(saved: Saved) -> None:
    saved.save(REPORTER)


def known(store: Store) -> list[keys.PublicKey]:
    with store.read() as connection:
        return keys.keys(connection)


def test_generate_tells_name_value_and_strings_for_a_zone_file(gate: Gate, sqlite_store: Store) -> None:
    done = gate("key", "generate", "--selector", "Mine")

    [key] = known(sqlite_store)
    assert done.status == 0
    assert (key.selector, key.domain, key.algorithm, key.state) == ("mine", DOMAIN, "rsa", KeyState.NEXT)
    assert f"  name   mine._domainkey.{DOMAIN}\n" in done.out
    assert f"  value  v=DKIM1; k=rsa; p={key.public_key}\n" in done.out
    zone_file = done.out.partition("in a zone file:\n")[2]
    strings = re.findall(r'"([^"]*)"', zone_file)
    assert zone_file.startswith(f"mine._domainkey.{DOMAIN}. IN TXT (")
    assert "".join(strings) == key.record
    assert max(map(len, strings)) <= 255


def test_generate_names_the_selector_after_the_day(gate: Gate, sqlite_store: Store) -> None:
    before = datetime.now(UTC)
    done = gate("key", "generate", "--algorithm", "ed25519", "--domain", "Ünder.test")

    [key] = known(sqlite_store)
    days = {f"{day:%Y%m%d}-ed25519" for day in (before, datetime.now(UTC))}
    assert (done.status, key.domain) == (0, "xn--nder-zra.test")
    assert key.selector in days


def test_show_and_list_as_json_hold_what_is_published(gate: Gate, sqlite_store: Store) -> None:
    gate("key", "generate")
    gate("key", "generate", "--algorithm", "ed25519")
    [rsa, ed25519] = known(sqlite_store)

    shown = json.loads(gate("key", "show", ed25519.selector, "--json").out)
    listed = [json.loads(line) for line in gate("key", "list", "--json").out.splitlines()]

    assert shown["value"] == ed25519.record
    assert shown["strings"] == [ed25519.record]
    assert [key["name"] for key in listed] == [rsa.record_name, ed25519.record_name]
    assert {key["state"] for key in listed} == {"next"}


def test_rotate_tells_what_to_publish_and_leaves_the_old_key_in_use(gate: Gate, sqlite_store: Store) -> None:
    gate("key", "generate", "--selector", "old")
    gate("key", "rotate", "--now")

    done = gate("key", "rotate")

    [old, new] = known(sqlite_store)
    assert (done.status, old.state, new.state) == (0, KeyState.ACTIVE, KeyState.NEXT)
    assert f"  name   {new.record_name}\n" in done.out
    assert old.record_name not in done.out


def test_rotate_now_takes_over_at_once_and_tells_how_long_the_old_record_stays(
    gate: Gate, sqlite_store: Store
) -> None:
    gate("key", "generate", "--selector", "old")
    gate("key", "rotate", "--now")

    done = gate("key", "rotate", "--now")

    [old, new] = known(sqlite_store)
    assert (old.state, new.state) == (KeyState.RETIRED, KeyState.ACTIVE)
    until = old.changed_at + timedelta(days=7)
    assert f"its record must stay published until {until:%Y-%m-%d %H:%M} UTC" in done.out
    assert f"must stay published until {until:%Y-%m-%d}" in gate("key", "list").out


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        pytest.param(["rotate"], 1, "dmarcgate key generate", id="nothing to rotate"),
        pytest.param(["show"], 1, "gateway.test has no key", id="nothing to show"),
        pytest.param(["show", "x"], 1, 'no key with the selector "x"', id="unknown selector"),
        pytest.param(["generate", "--selector", "a b"], 1, "small letters, digits", id="bad selector"),
        pytest.param(["generate", "--domain", "a..b"], 2, "is no domain name", id="bad domain"),
        pytest.param(["generate", "--algorithm", "rsa-sha1"], 2, "rsa-sha1", id="bad algorithm"),
    ],
)
def test_what_cannot_be_done_is_told_in_words(gate: Gate, words: list[str], status: int, told: str) -> None:
    done = gate("key", *words)

    assert done.status == status
    assert told in done.err
    assert "Traceback" not in done.err


def test_without_a_report_address_the_domain_must_be_said(gate: Gate, saved: Saved) -> None:
    saved.save(from_document({}))

    done = gate("key", "generate")

    assert done.status == 2
    assert "say --domain, or set reports.address first" in done.err


def test_no_command_tells_a_private_key_and_each_leaves_a_trace(gate: Gate, sqlite_store: Store) -> None:
    told = [
        gate("key", *words)
        for words in (
            ["generate"],
            ["generate", "--algorithm", "ed25519"],
            ["rotate", "--now"],
            ["rotate"],
            ["show"],
            ["show", "--json"],
            ["list"],
            ["list", "--json"],
        )
    ]
    told.append(gate("settings", "export"))

    everything = "".join(done.out + done.err for done in told)
    with sqlite_store.read() as connection:
        private = list(connection.scalars(select(signing_key.c.private_key)))
        trail = audit.recent(connection)
    assert len(private) == 4
    for pem in private:
        assert pem.splitlines()[1] not in everything
    assert "PRIVATE" not in everything
    assert [entry.action for entry in reversed(trail)].count("key made") == 4
    assert all("(command line)" in entry.actor for entry in trail)
