"""Deleting messages, and bringing them back."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from appliance.quarantine import Desk, MissingMessage, NotNow, delete, release, undelete
from appliance.store.quarantine import HoldState
from tests.quarantine.samples import EVENT_ID, OCTETS, audited, files_below, hold, sink, state
from tests.store.samples import RECEIVED_AT

TAKING = {".": "250 2.0.0 Ok: queued as 4ZqK1"}


def test_s27_a_deleted_message_can_be_brought_back_for_seven_days(desk: Desk, tmp_path: Path) -> None:
    row = hold(desk)

    delete(desk, EVENT_ID, actor="ada", now=RECEIVED_AT)
    deleted = state(desk)
    undelete(desk, EVENT_ID, actor="grace", now=RECEIVED_AT + timedelta(days=6, hours=23))

    assert (deleted, state(desk)) == (HoldState.DELETED, HoldState.HELD)
    assert desk.files.read(row) == OCTETS
    assert audited(desk) == [
        ("grace", "quarantine undelete", EVENT_ID, "held"),
        ("ada", "quarantine delete", EVENT_ID, "quarantine"),
    ]


def test_after_seven_days_it_is_too_late(desk: Desk) -> None:
    hold(desk)
    delete(desk, EVENT_ID, actor="ada", now=RECEIVED_AT)

    with pytest.raises(NotNow, match="was deleted more than 7 days ago"):
        undelete(desk, EVENT_ID, actor="ada", now=RECEIVED_AT + timedelta(days=7))

    assert state(desk) is HoldState.DELETED


def test_a_deleted_message_is_not_released(desk: Desk, tmp_path: Path) -> None:
    hold(desk)
    delete(desk, EVENT_ID, actor="ada")

    with pytest.raises(NotNow, match="was deleted: bring it back with undelete first"):
        release(desk, EVENT_ID, actor="ada", again=True)
    with pytest.raises(NotNow, match="is deleted already"):
        delete(desk, EVENT_ID, actor="ada")

    assert len(files_below(tmp_path / "quarantine")) == 1
    assert len(audited(desk)) == 1


def test_a_released_message_that_was_deleted_comes_back_as_released(desk: Desk) -> None:
    hold(desk)
    with sink(TAKING) as server:
        release(replace(desk, smtp=server.address), EVENT_ID, actor="ada")

    delete(desk, EVENT_ID, actor="ada")
    undelete(desk, EVENT_ID, actor="ada")

    assert (state(desk), desk.find(EVENT_ID).release_queue_id) == (HoldState.RELEASED, "4ZqK1")


def test_what_is_not_deleted_can_not_be_brought_back(desk: Desk) -> None:
    hold(desk)

    with pytest.raises(NotNow, match="is not deleted, but held"):
        undelete(desk, EVENT_ID, actor="ada")
    with pytest.raises(MissingMessage):
        undelete(desk, "ffffffffffff", actor="ada")
    with pytest.raises(MissingMessage):
        delete(desk, "ffffffffffff", actor="ada")


def test_a_message_of_another_node_can_be_deleted_from_here(desk: Desk) -> None:
    hold(desk, node="mx2.example")

    delete(desk, EVENT_ID, actor="ada")

    assert state(desk) is HoldState.DELETED
