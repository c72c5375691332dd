"""The rows of quarantined messages."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from appliance.mail.message import Recipient
from appliance.store import quarantine
from appliance.store.engine import Store
from appliance.store.quarantine import HoldState, QuarantineRow
from tests.store.samples import ENVELOPE, RECEIVED_AT, held, octets


def add(store: Store, *rows: QuarantineRow) -> None:
    with store.begin() as connection:
        for row in rows:
            quarantine.add(connection, row)


def get(store: Store, event_id: str = "0123456789ab") -> QuarantineRow | None:
    with store.read() as connection:
        return quarantine.get(connection, event_id)


def listed(store: Store) -> list[str]:
    with store.read() as connection:
        return [row.event_id for row in quarantine.list_held(connection)]


def test_a_row_is_read_back_as_it_was(store: Store) -> None:
    add(store, held())

    assert get(store) == held()


def test_an_envelope_survives_whatever_octets_it_has(store: Store) -> None:
    """A release must go to exactly the addresses that were given."""
    envelope = replace(
        ENVELOPE,
        mail_from=octets(b'"\xff\x00 quoted"@sender.example'),
        recipients=tuple(
            Recipient(octets(b"\xe9t\xe9@inside.example"), (octets(b"ORCPT=rfc822;\xff"),))
            for _ in range(1000)
        ),
        client_ip=None,
        client_port=None,
        authenticated_as="login",
    )
    add(store, held(envelope=envelope))

    row = get(store)

    assert row is not None
    assert row.envelope == envelope


def test_texts_for_people_are_made_safe(store: Store) -> None:
    add(store, replace(held(), subject="a\0b\udcff" + "x" * 1000, reason="\udc80"))

    row = get(store)

    assert row is not None
    assert row.subject.startswith("a\ufffdb\ufffdxxx")
    assert len(row.subject) == 200
    assert row.reason == "\ufffd"


def test_a_message_is_held_once(store: Store) -> None:
    add(store, held())

    with pytest.raises(IntegrityError):
        add(store, held())


def test_a_state_changes_only_from_the_expected_one(store: Store) -> None:
    add(store, held())
    later = RECEIVED_AT + timedelta(hours=1)

    with store.begin() as connection:
        changes = [
            quarantine.set_state(connection, "0123456789ab", to, expected=expected, at=later)
            for expected, to in (
                (HoldState.RELEASING, HoldState.RELEASED),
                (HoldState.HELD, HoldState.RELEASING),
                (HoldState.HELD, HoldState.DELETED),
            )
        ]
        missing = quarantine.set_state(
            connection, "ffffffffffff", HoldState.DELETED, expected=HoldState.HELD, at=later
        )

    row = get(store)
    assert row is not None
    assert (changes, missing) == ([False, True, False], False)
    assert (row.state, row.changed_at) == (HoldState.RELEASING, later)


def test_what_is_held_is_listed_newest_first(store: Store) -> None:
    rows = [replace(held(f"{n:012x}"), held_at=RECEIVED_AT + timedelta(minutes=n // 2)) for n in range(6)]
    add(store, *rows)

    with store.begin() as connection:
        for event_id, state in (("000000000004", HoldState.RELEASED), ("000000000002", HoldState.DELETED)):
            quarantine.set_state(connection, event_id, state, expected=HoldState.HELD, at=RECEIVED_AT)
        first = quarantine.list_held(connection, 2)
        rest = quarantine.list_held(connection, 50, before=(first[-1].held_at, first[-1].event_id))

    assert [row.event_id[-1] for row in first] == ["5", "3"]
    assert [row.event_id[-1] for row in rest] == ["1", "0"]


def test_a_release_that_broke_off_stays_listed(store: Store) -> None:
    add(store, held())
    with store.begin() as connection:
        quarantine.set_state(
            connection, "0123456789ab", HoldState.RELEASING, expected=HoldState.HELD, at=RECEIVED_AT
        )

    assert listed(store) == ["0123456789ab"]
