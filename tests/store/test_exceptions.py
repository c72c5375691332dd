"""How often an exception applied is counted with the messages that it applied to."""

from dataclasses import replace
from datetime import timedelta

import pytest

from appliance.store import events, exceptions
from appliance.store.engine import Store
from tests.store.samples import ENVELOPE, RECEIVED_AT, message, skipped


def test_each_message_counts_once_for_the_entry_that_applied(store: Store) -> None:
    later = replace(ENVELOPE, received_at=RECEIVED_AT + timedelta(minutes=5))
    with store.begin() as connection:
        events.record(
            connection,
            [
                replace(skipped("aaaaaaaaaaaa"), exception="192.0.2.0/24"),
                replace(skipped("bbbbbbbbbbbb"), exception="192.0.2.0/24"),
                replace(skipped("cccccccccccc"), exception="* dkim=list.example"),
                message("dddddddddddd"),
            ],
        )
        events.record(
            connection, [replace(skipped("eeeeeeeeeeee"), exception="192.0.2.0/24", envelope=later)]
        )

    with store.read() as connection:
        assert exceptions.hits(connection) == {
            "192.0.2.0/24": (3, later.received_at),
            "* dkim=list.example": (1, RECEIVED_AT),
        }


def test_the_last_time_never_goes_back(store: Store) -> None:
    """Workers commit in another order than messages come."""
    for minutes in (5, 3):
        with store.begin() as connection:
            exceptions.count_hits(connection, {"192.0.2.7": 2}, RECEIVED_AT + timedelta(minutes=minutes))

    with store.read() as connection:
        assert exceptions.hits(connection) == {"192.0.2.7": (4, RECEIVED_AT + timedelta(minutes=5))}


def test_hits_count_only_when_their_messages_are_committed(store: Store) -> None:
    with pytest.raises(KeyError), store.begin() as connection:  # noqa: PT012  the write must come before
        events.record(connection, [replace(skipped(), exception="192.0.2.0/24")])
        raise KeyError

    with store.read() as connection:
        assert exceptions.hits(connection) == {}
