"""Events: what was recorded is read back, whatever was in the message."""

from dataclasses import replace
from datetime import timedelta

import pytest

from appliance.dmarc.evaluation import DmarcWord
from appliance.mail.message import Recipient
from appliance.policy import Outcome, Row, Verdict
from appliance.store import events
from appliance.store.engine import Store
from appliance.store.events import MAX_RECIPIENTS, Event, MessageRecord
from tests.store.samples import (
    AUTHENTICATION,
    ENVELOPE,
    RECEIVED_AT,
    failing,
    message,
    octets,
    passing,
    skipped,
    without_record,
)


def record(store: Store, *records: MessageRecord) -> None:
    with store.begin() as connection:
        events.record(connection, records)


def only(store: Store, event_id: str = "0123456789ab") -> Event:
    with store.read() as connection:
        [event] = events.find(connection, event_id)
    return event


def test_an_event_holds_everything_about_its_message(store: Store) -> None:
    record(store, message("0123456789ab", failing()))

    event = only(store)

    assert event.envelope == ENVELOPE
    assert event.authentication == AUTHENTICATION
    assert event.answers == message().answers
    assert event.overrides == failing().overrides
    assert (event.received_at, event.queue_id) == (RECEIVED_AT, ENVELOPE.queue_id)
    assert (event.author_domain, event.policy_domain) == ("sender.example", "sender.example")
    assert (event.result, event.policy, event.row) == ("fail", "reject", "reject")
    assert (event.outcome, event.disposition, event.skip) == ("quarantine", "quarantine", "")
    assert (event.client_ip, event.mail_from) == ("192.0.2.7", "alice@sender.example")
    assert (event.header_from, event.subject) == ("Alice <alice@sender.example>", "Minutes of the meeting")
    assert (event.message_id, event.size_octets) == ("<1@sender.example>", 2048)
    assert (event.node, event.revision) == ("gateway.example", 3)
    assert event.published == "v=DMARC1; p=reject; rua=mailto:r@sender.example"
    assert event.reason == "no aligned identifier passed"
    assert (event.spf_aligned, event.dkim_aligned, event.incomplete) == (False, False, False)


def test_alignment_is_kept(store: Store) -> None:
    record(store, message())

    event = only(store)

    assert (event.result, event.spf_aligned, event.dkim_aligned) == ("pass", True, True)
    assert event.organizational_domain == "sender.example"
    assert event.disposition == "pass"


def test_a_message_without_a_policy_record_has_an_event(store: Store) -> None:
    record(store, message("0123456789ab", without_record()))

    event = only(store)

    assert (event.result, event.policy, event.policy_domain, event.published) == ("none", "", "", "")
    assert (event.author_domain, event.row) == ("norecord.example", "no_record")


def test_a_message_that_was_not_verified_has_one_event_with_the_reason(store: Store) -> None:
    record(store, skipped())

    event = only(store)

    assert (event.skip, event.note, event.row) == ("exception", "192.0.2.0/24", "unverified")
    assert (event.result, event.author_domain, event.authentication) == ("", "", None)


def test_an_unusable_from_is_a_permerror_without_an_author_domain(store: Store) -> None:
    """S23."""
    verdict = Verdict(Outcome.QUARANTINE, Row.UNUSABLE_FROM, note="several From fields")
    record(store, replace(message(), verdict=verdict))

    event = only(store)

    assert (event.result, event.row, event.note) == (
        DmarcWord.PERMERROR,
        "unusable_from",
        "several From fields",
    )
    assert event.author_domain == ""


def test_a_message_with_several_author_domains_has_an_event_for_each(store: Store) -> None:
    record(store, message("0123456789ab", passing("one.example"), failing("two.example")))

    with store.read() as connection:
        first, second = events.find(connection, "0123456789ab")

    assert (first.author_domain, first.result, first.outcome) == ("one.example", "pass", "quarantine")
    assert (second.author_domain, second.result, second.outcome) == ("two.example", "fail", "quarantine")
    assert (bool(first.answers), bool(second.answers)) == (True, False)


HOSTILE = [
    pytest.param("\0", id="NUL"),
    pytest.param("x\0y\0", id="NULs inside"),
    pytest.param(octets(b"\xff\xfe\x80"), id="no UTF-8"),
    pytest.param("\ud83d", id="half a surrogate pair"),
    pytest.param("'; DROP TABLE event; --", id="SQL"),
    pytest.param("%s %(x)s :x ? {0}", id="placeholders"),
    pytest.param("\U0001f4e8" * 3000, id="long, four octets a character"),
    pytest.param("x" * 100_000, id="long"),
    pytest.param("\x1b[2J\r\n", id="control characters"),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_any_field_is_stored(store: Store, text: str) -> None:
    """T28."""
    envelope = replace(
        ENVELOPE,
        client_name=text,
        helo=text,
        mail_from=text,
        recipients=(Recipient(text, (text,)),),
        queue_id=text,
        mail_parameters=(text,),
        authenticated_as=text,
    )
    hostile = replace(message(envelope=envelope), message_id=text, subject=text, header_from=text, node=text)

    record(store, hostile)

    event = only(store)
    assert event.envelope == replace(envelope, queue_id=text)
    for shown in (event.subject, event.header_from, event.message_id, event.mail_from, event.queue_id):
        assert "\0" not in shown
        shown.encode("utf-8")
    with store.read() as connection:
        assert events.count(connection) == 1


def test_at_most_a_hundred_recipients_are_kept_with_their_number(store: Store) -> None:
    many = tuple(Recipient(f"user{number}@inside.example") for number in range(1000))

    record(store, message(envelope=replace(ENVELOPE, recipients=many)))

    event = only(store)
    assert event.envelope.recipients == many[:MAX_RECIPIENTS]
    assert event.recipient_count == 1000


def test_pages_of_events_neither_repeat_nor_miss_one(store: Store) -> None:
    """Several events of one instant stand on both sides of a page's end."""
    records = [
        message(
            f"{number:012x}",
            envelope=replace(ENVELOPE, received_at=RECEIVED_AT + timedelta(seconds=number // 4)),
        )
        for number in range(12)
    ]
    record(store, *records)

    pages: list[list[Event]] = []
    with store.read() as connection:
        while not pages or pages[-1]:
            last = pages[-1][-1] if pages else None
            before = (last.received_at, last.id) if last else None
            pages.append(events.recent(connection, 5, before=before))

    listed = [event.event_id for page in pages for event in page]
    assert [len(page) for page in pages] == [5, 5, 2, 0]
    assert listed == [one.event_id for one in reversed(records)]


def test_events_are_counted_in_a_half_open_period(store: Store) -> None:
    record(store, message())

    with store.read() as connection:
        counts = [
            events.count(connection),
            events.count(connection, since=RECEIVED_AT),
            events.count(connection, until=RECEIVED_AT),
            events.count(connection, since=RECEIVED_AT, until=RECEIVED_AT + timedelta(microseconds=1)),
        ]

    assert counts == [1, 1, 0, 1]


def test_recording_nothing_is_no_error(store: Store) -> None:
    record(store)

    with store.read() as connection:
        assert events.recent(connection) == []
