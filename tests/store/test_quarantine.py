"""The rows of quarantined messages."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from appliance.mail.message import Recipient
from appliance.store import quarantine
from appliance.store import quarantine_expiry as expiry
from appliance.store.engine import Store
from appliance.store.quarantine import (
    HoldState,
    LogPosition,
    Notify,
    QuarantineRow,
    ReleaseOrder,
    Usage,
)
from appliance.store.quarantine_search import Criteria, search
from tests.store.samples import ENVELOPE, RECEIVED_AT, held, octets

LATER = RECEIVED_AT + timedelta(hours=1)
NODE = "gateway.example"
ORDER = ReleaseOrder(
    recipients=(Recipient(octets(b"\xe9@inside.example"), ("NOTIFY=NEVER", "ORCPT=rfc822;x")),),
    notify=Notify.ORIGINAL,
    actor="anna",
    before=HoldState.HELD,
    log=LogPosition(12345, 678, "boot"),
)


def add(store: Store, *rows: QuarantineRow) -> None:
    with store.begin() as connection:
        for row in rows:
            quarantine.add(connection, row)


def get(store: Store, event_id: str = "0123456789ab") -> QuarantineRow | None:
    with store.read() as connection:
        return quarantine.get(connection, event_id)


def found(store: Store, **criteria: Any) -> list[str]:
    """The last digit of each event ID."""
    with store.read() as connection:
        return [row.event_id[-1] for row in search(connection, Criteria(**criteria))]


def test_a_row_is_read_back_as_it_was(store: Store) -> None:
    row = replace(held(), state=HoldState.RELEASING, changed_at=LATER, release_queue_id="4Zq", release=ORDER)

    add(store, row)

    assert get(store) == row


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


def test_a_row_changes_only_as_long_as_it_is_as_it_was_read(store: Store) -> None:
    row = held()
    add(store, row)

    with store.begin() as connection:
        first = quarantine.change(connection, row, HoldState.RELEASING, LATER, release=ORDER)
        stale = quarantine.change(connection, row, HoldState.DELETED, LATER)
        assert first is not None
        renewed = quarantine.change(
            connection, first, HoldState.RELEASING, LATER + timedelta(seconds=1), release=ORDER
        )
        same_state = quarantine.change(connection, first, HoldState.RELEASED, LATER)
        missing = quarantine.change(
            connection, replace(row, event_id="ffffffffffff"), HoldState.DELETED, LATER
        )

    assert get(store) == renewed
    assert (stale, same_state, missing) == (None, None, None)


def test_the_queue_id_of_the_last_release_stays_until_there_is_another(store: Store) -> None:
    row = held()
    add(store, row)

    with store.begin() as connection:
        for state, queue_id in (
            (HoldState.RELEASED, "4Zq1"),
            (HoldState.RELEASING, None),
            (HoldState.DELETED, None),
        ):
            changed = quarantine.change(connection, row, state, LATER, release_queue_id=queue_id)
            assert changed is not None
            row = changed

    assert row.release_queue_id == "4Zq1"
    assert get(store) == row


def test_what_is_held_is_listed_newest_first(store: Store) -> None:
    rows = [replace(held(f"{n:012x}"), held_at=RECEIVED_AT + timedelta(minutes=n // 2)) for n in range(6)]
    add(store, *rows)

    with store.begin() as connection:
        for number, state in ((4, HoldState.RELEASED), (2, HoldState.DELETED), (5, HoldState.RELEASING)):
            quarantine.change(connection, rows[number], state, LATER)
        first = quarantine.list_held(connection, 2)
        rest = quarantine.list_held(connection, 50, before=quarantine.place_of(first[-1]))
        counted = quarantine.count_held(connection)

    assert [row.event_id[-1] for row in first] == ["5", "3"]
    assert [row.event_id[-1] for row in rest] == ["1", "0"]
    assert counted == 4


def test_usage_counts_files_of_a_node(store: Store) -> None:
    rows = [replace(held(f"{n:012x}"), size_octets=10**n) for n in range(4)]
    add(store, *rows[:3], replace(rows[3], node="mx2.example"))
    with store.begin() as connection:
        quarantine.change(connection, rows[0], HoldState.DELETED, LATER)

    with store.read() as connection:
        everywhere, here, held_here, nowhere = (
            quarantine.usage(connection),
            quarantine.usage(connection, node=NODE),
            quarantine.usage(connection, node=NODE, states=[HoldState.HELD]),
            quarantine.usage(connection, node="mx9.example"),
        )

    assert (everywhere, here, held_here) == (Usage(4, 1111), Usage(3, 111), Usage(2, 110))
    assert nowhere == Usage(0, 0)


# ---- search ----------------------------------------------------------------------


@pytest.fixture
def searched(store: Store) -> Store:
    one = replace(held("000000000001"), subject="50% off_\u00e9", author_domain="xn--mnchen-3ya.example")
    two = replace(
        held("000000000002"),
        held_at=RECEIVED_AT + timedelta(days=1),
        envelope=replace(ENVELOPE, mail_from="Bounces+1@News.example", recipients=(Recipient("Carol_1@Inside.example"), Recipient("b\u00f6b@inside.example"))),
        header_from="The News <news@letter.example>",
        client_ip="2001:db8::1",
        message_id="2@news.example",
    )  # fmt: skip
    three = replace(held("000000000003"), held_at=RECEIVED_AT + timedelta(days=2))
    add(store, one, two, three)
    with store.begin() as connection:
        quarantine.change(connection, three, HoldState.DELETED, LATER)
    return store


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        pytest.param({}, "21", id="what is in quarantine"),
        pytest.param({"states": tuple(HoldState)}, "321", id="all"),
        pytest.param({"states": (HoldState.DELETED,)}, "3", id="state"),
        pytest.param({"author_domain": "M\u00fcnchen.example"}, "1", id="author domain as U-label"),
        pytest.param({"author_domain": "sender.example."}, "2", id="author domain"),
        pytest.param({"author_domain": "..."}, "", id="no domain"),
        pytest.param({"sender": "bounces+"}, "2", id="MAIL FROM"),
        pytest.param({"sender": "LETTER.example"}, "2", id="From"),
        pytest.param({"recipient": "carol_1@"}, "2", id="recipient"),
        pytest.param({"recipient": "carolx1"}, "", id="recipient: _ is no joker"),
        pytest.param({"recipient": "b\u00f6b"}, "2", id="recipient outside ASCII"),
        pytest.param({"recipient": "bounces+1@news.example"}, "", id="a sender is no recipient"),
        pytest.param({"subject": "50% OFF_"}, "1", id="subject"),
        pytest.param({"subject": "5%f"}, "", id="subject: % is no joker"),
        pytest.param({"message_id": "2@news.example"}, "2", id="Message-ID"),
        pytest.param({"message_id": "1@sender.example"}, "1", id="Message-ID stored with brackets"),
        pytest.param({"message_id": "<1@sender.example>"}, "1", id="Message-ID with brackets"),
        pytest.param({"client_ip": "2001:db8::1"}, "2", id="client"),
        pytest.param({"since": RECEIVED_AT + timedelta(days=1)}, "2", id="since"),
        pytest.param({"before": RECEIVED_AT + timedelta(days=1)}, "1", id="before"),
        pytest.param({"sender": "bounces", "recipient": "bob"}, "", id="all must fit"),
    ],
)
def test_messages_are_found(searched: Store, criteria: dict[str, Any], expected: str) -> None:
    assert "".join(found(searched, **criteria)) == expected


def test_pages_of_a_search_neither_overlap_nor_leave_out(store: Store) -> None:
    """Also where a page is made of many, most of which don't fit."""
    wanted = replace(ENVELOPE, recipients=(Recipient("wanted@inside.example"),))
    for start in range(0, 500, 100):
        add(
            store,
            *(held(f"{n:012x}", wanted if n % 7 == 0 else ENVELOPE) for n in range(start, start + 100)),
        )
    criteria, pages, after = Criteria(recipient="WANTED@"), [], None

    with store.read() as connection:
        while page := search(connection, criteria, 20, after=after):
            pages.append([int(row.event_id, 16) for row in page])
            after = quarantine.place_of(page[-1])

    assert [len(page) for page in pages] == [20, 20, 20, 12]
    assert [number for page in pages for number in page] == list(range(497, -1, -7))


# ---- expiry ----------------------------------------------------------------------


def test_what_goes_first_costs_least(store: Store) -> None:
    rows = [
        replace(held(f"{n:012x}"), held_at=RECEIVED_AT - timedelta(minutes=n), size_octets=10)
        for n in range(6)
    ]
    add(store, *rows, replace(held("00000000000f"), node="mx2.example", size_octets=1000))
    states = {1: HoldState.RELEASED, 2: HoldState.DELETED, 5: HoldState.RELEASING}
    with store.begin() as connection:
        for number, state in states.items():
            quarantine.change(connection, rows[number], state, LATER)

        chosen = {
            octets_left: [
                message.event_id[-1] for message in expiry.beyond(connection, NODE, octets_left, 10)
            ]
            for octets_left in (60, 59, 45, 25, 0)
        }

    assert chosen == {
        60: [],
        59: ["2"],
        45: ["2", "1"],
        25: ["2", "1", "4", "3"],
        0: ["2", "1", "4", "3", "0"],
    }


def test_releases_that_broke_off_are_found_oldest_first(store: Store) -> None:
    rows = [held(f"{n:012x}") for n in range(4)]
    add(store, *rows[:3], replace(rows[3], node="mx2.example"))
    with store.begin() as connection:
        for number, minutes in ((0, 5), (1, 1), (2, 20), (3, 1)):
            quarantine.change(
                connection,
                rows[number],
                HoldState.RELEASING,
                RECEIVED_AT + timedelta(minutes=minutes),
                release=ORDER,
            )
        broken = expiry.broken_off(connection, NODE, RECEIVED_AT + timedelta(minutes=10))

    assert [(row.event_id[-1], row.release) for row in broken] == [("1", ORDER), ("0", ORDER)]
