"""Figures for the postmaster."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

from appliance.store import events
from appliance.store.engine import Store
from appliance.store.records import MessageRecord
from appliance.store.statistics import AuthorDomainFigures, top_author_domains
from tests.store.samples import ENVELOPE, RECEIVED_AT, failing, message, passing, skipped

HOUR = timedelta(hours=1)


def sent(number: int, domain: str, client: str, *, fails: bool = False) -> MessageRecord:
    envelope = replace(ENVELOPE, received_at=RECEIVED_AT + timedelta(seconds=number))
    judgement = failing(domain) if fails else passing(domain)
    return replace(message(f"{number:012x}", judgement, envelope=envelope), client_ip=ip_address(client))


def record(store: Store, *records: MessageRecord) -> None:
    with store.begin() as connection:
        events.record(connection, records)


def test_T50_a_domain_whose_mail_comes_from_one_client_is_seen_to(store: Store) -> None:  # noqa: N802
    """Anyone can send a thousand messages in another's name; their one address beside the number gives it away."""
    genuine = [sent(number, "bank.example", f"192.0.2.{number}") for number in range(6)]
    forged = [sent(10 + number, "shop.example", "203.0.113.9", fails=True) for number in range(9)]
    record(store, *genuine, *forged, skipped("ffffffffffff"))

    with store.read() as connection:
        top = top_author_domains(connection, RECEIVED_AT, RECEIVED_AT + HOUR)

    assert top.domains == (
        AuthorDomainFigures("shop.example", messages=9, failed=9, clients=1),
        AuthorDomainFigures("bank.example", messages=6, failed=0, clients=6),
    )
    assert top.since == RECEIVED_AT


def test_only_the_period_counts(store: Store) -> None:
    record(store, sent(0, "a.example", "192.0.2.1"), sent(60, "b.example", "192.0.2.1"))
    minute = RECEIVED_AT + timedelta(minutes=1)

    with store.read() as connection:
        early = top_author_domains(connection, RECEIVED_AT, minute)
        late = top_author_domains(connection, minute, minute + HOUR)

    assert [one.author_domain for one in early.domains] == ["a.example"]
    assert [one.author_domain for one in late.domains] == ["b.example"]


def test_of_too_many_messages_the_newest_are_counted_and_the_figures_say_since_when(store: Store) -> None:
    record(store, *(sent(number, f"d{number // 5}.example", "192.0.2.1") for number in range(20)))

    with store.read() as connection:
        top = top_author_domains(connection, RECEIVED_AT, RECEIVED_AT + HOUR, most_events=10, limit=1)

    assert top.domains == (AuthorDomainFigures("d2.example", 5, 0, 1),)
    assert top.since == RECEIVED_AT + timedelta(seconds=10)
