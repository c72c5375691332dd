"""``dmarcgate activity``: finding messages as a postmaster does."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from appliance.mail.message import Recipient
from appliance.store import events
from appliance.store.engine import Store
from appliance.store.records import MessageRecord
from tests.cli.commands import Gate
from tests.store.samples import ENVELOPE, failing, message, skipped


@pytest.fixture(autouse=True)
def _mail(sqlite_store: Store) -> None:
    """Three messages: one delivered, one quarantined with another client and recipient, one skipped; oldest first."""
    other = replace(
        ENVELOPE,
        client_ip=ip_address("2001:db8::7"),
        mail_from="",
        queue_id="4ZqOTHER",
        recipients=(Recipient("carol@inside.example"), Recipient("dan@inside.example")),
    )
    spoofed = replace(
        message("222222222222", failing("bank.example"), envelope=other),
        subject="Pay\x1b[31m now",
        message_id="<spoof@bank.example>",
    )
    record(sqlite_store, [message("111111111111"), spoofed, skipped("333333333333")])


def record(store: Store, records: Sequence[MessageRecord]) -> None:
    with store.begin() as connection:
        events.record(connection, records)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        pytest.param((), ["333333333333", "222222222222", "111111111111"], id="all, newest first"),
        pytest.param(("--author", "BANK.example"), ["222222222222"], id="author domain"),
        pytest.param(("--author", "*.example"), ["222222222222", "111111111111"], id="domains below one"),
        pytest.param(("--sender", ""), ["222222222222"], id="null sender"),
        pytest.param(("--recipient", "Dan@inside.example"), ["222222222222"], id="any of its recipients"),
        pytest.param(("--client", "2001:db8::/32"), ["222222222222"], id="network"),
        pytest.param(("--client", "192.0.2.7"), ["333333333333", "111111111111"], id="address"),
        pytest.param(
            ("--message-id", "spoof@bank.example"), ["222222222222"], id="Message-ID without brackets"
        ),
        pytest.param(("--queue-id", "4ZqOTHER"), ["222222222222"], id="queue ID"),
        pytest.param(("--id", "111111111111"), ["111111111111"], id="our id"),
        pytest.param(("--result", "fail"), ["222222222222"], id="result"),
        pytest.param(("--result", "unverified"), ["333333333333"], id="not verified"),
        pytest.param(("--action", "quarantine"), ["222222222222"], id="action"),
        pytest.param(("--action", "quarantine", "--result", "pass"), [], id="both must fit"),
        pytest.param(("--until", "2026-03-04T10:20:30"), [], id="before that second"),
        pytest.param(
            ("--since", "2026-03-04"), ["333333333333", "222222222222", "111111111111"], id="that day"
        ),
    ],
)
def test_messages_are_found_by(gate: Gate, words: tuple[str, ...], found: list[str]) -> None:
    done = gate("activity", "search", "--json", *words)

    assert done.status == 0
    assert [json.loads(line)["event_id"] for line in done.out.splitlines()] == found


def test_a_page_says_where_the_next_begins(gate: Gate) -> None:
    first = gate("activity", "search", "--limit", "2", "--json")
    after = first.err.strip().removeprefix("more: --after ")

    second = gate("activity", "search", "--limit", "2", "--json", "--after", after)

    assert len(first.out.splitlines()) == 2
    assert [json.loads(line)["event_id"] for line in second.out.splitlines()] == ["111111111111"]
    assert "more" not in second.err


def test_t33_a_line_names_the_message_and_steers_no_terminal(gate: Gate) -> None:
    done = gate("activity", "search", "--author", "bank.example")

    [line] = done.out.splitlines()
    assert line.split()[2:8] == [
        "222222222222",
        "4ZqOTHER",
        "2001:db8::7",
        "bank.example",
        "fail",
        "quarantine",
    ]
    assert "carol@inside.example +1" in line
    assert "\x1b" not in line


def test_a_client_that_is_no_address_is_refused_with_an_example(gate: Gate) -> None:
    done = gate("activity", "search", "--client", "mx.example")

    assert done.status == 2
    assert '"mx.example" is not an IP address or network such as 192.0.2.0/24' in done.err


def test_t50_author_domains_show_how_many_clients_sent_their_mail(gate: Gate, sqlite_store: Store) -> None:
    now = datetime.now(UTC) - timedelta(minutes=1)
    clients = [ip_address(f"198.51.100.{number}") for number in (1, 1, 2)]
    envelopes = [replace(ENVELOPE, client_ip=client, received_at=now) for client in clients]
    record(
        sqlite_store,
        [
            message(f"{number:012x}", failing("forged.example"), envelope=envelope)
            for number, envelope in enumerate(envelopes)
        ],
    )

    done = gate("activity", "domains", "--json")

    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"author_domain": "forged.example", "messages": 3, "failed": 3, "clients": 2}
    ]
