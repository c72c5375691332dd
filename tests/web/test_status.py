"""The first page: what is in force and what happened to the latest mail."""

from datetime import timedelta
from ipaddress import ip_address

from appliance.mail.message import Envelope
from appliance.policy import Outcome, Row, Skip, Verdict
from appliance.store import events, quarantine
from appliance.store.engine import Store
from appliance.store.quarantine import QuarantineRow
from appliance.store.records import MessageRecord
from tests.web.visitor import START, Visitor


def received(store: Store, number: int, verdict: Verdict, subject: str = "Hello") -> Envelope:
    """Put message *number* into the store, as the filter does."""
    envelope = Envelope(
        client_ip=ip_address("192.0.2.7"),
        client_name="client.example",
        helo="client.example",
        mail_from="a@example.org",
        recipients=(),
        queue_id=f"4Z{number}",
        received_at=START + timedelta(seconds=number),
    )
    record = MessageRecord(
        event_id=f"{number:012x}",
        node="mx1",
        revision=1,
        envelope=envelope,
        client_ip=envelope.client_ip,
        message_id=f"<{number}@example.org>",
        subject=subject,
        header_from="a@example.org",
        size_octets=1000,
        authentication=None,
        verdict=verdict,
    )
    with store.begin() as connection:
        events.record(connection, [record])
    return envelope


def test_without_mail_the_page_says_what_will_stand_there(anna: Visitor) -> None:
    page = anna.get("/")

    assert "No message has passed the filter yet." in page.text
    assert "0 messages held" in page.text


def test_the_ten_newest_messages_are_shown_with_what_was_done(anna: Visitor, store: Store) -> None:
    for number in range(1, 12):
        received(store, number, Verdict(Outcome.QUARANTINE, Row.UNUSABLE_FROM))
    received(store, 12, Verdict(Outcome.DELIVER, Row.UNVERIFIED, skip=Skip.INTERNAL))

    page = anna.get("/")

    assert page.text.count("permerror") == 9
    assert page.text.count("quarantined") == 9
    assert "not checked (internal)" in page.text
    assert page.text.index(f"{12:012x}") < page.text.index(f"{11:012x}")
    assert f"{2:012x}" not in page.text


def test_the_page_counts_what_is_held(anna: Visitor, store: Store) -> None:
    envelope = received(store, 1, Verdict(Outcome.QUARANTINE, Row.UNUSABLE_FROM))
    row = QuarantineRow(
        event_id=f"{1:012x}",
        node="gateway.example",
        held_at=START,
        envelope=envelope,
        client_ip="192.0.2.1",
        message_id="<1@example.org>",
        subject="Hello",
        header_from="a@example.org",
        author_domain="",
        reason="unusable From",
        size_octets=1000,
        sha256="0" * 64,
    )
    with store.begin() as connection:
        quarantine.add(connection, row)

    assert "1 message held" in anna.get("/").text


def test_a_stranger_s_subject_can_neither_act_nor_hide(anna: Visitor, store: Store) -> None:
    """T36."""
    hostile = "<script>alert(1)</script>\u202eevil\x07"
    received(store, 1, Verdict(Outcome.REJECT, Row.UNUSABLE_FROM), hostile)

    page = anna.get("/")

    assert "<script>alert" not in page.html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.html
    assert "\u202e" not in page.html
    assert "\x07" not in page.html
