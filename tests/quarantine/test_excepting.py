"""Releasing a message and letting its like through from now on."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from appliance.quarantine import Desk, NotNow, ReleaseRefused, Wish, delete, release_with_exception
from appliance.settings import InvalidSettings, Settings
from appliance.settings.exceptions import ExceptionRecord
from appliance.store import quarantine as rows
from appliance.store import settings as store_settings
from appliance.store.quarantine import HoldState
from tests.quarantine.samples import EVENT_ID, audited, hold, sink, state

TAKING = {".": "250 2.0.0 Ok: queued as 4ZqK1"}
LINE = "192.0.2.1 mode=evaluate until=2999-01-31 owner=anna from=sender.example # the newsletter"
WISH = Wish("anna", date(2999, 1, 31), "the newsletter")


def exceptions(desk: Desk) -> list[str]:
    with desk.store.read() as connection:
        return [str(record) for record in store_settings.current(connection).settings.verification.exceptions]


def save(desk: Desk, *lines: str) -> None:
    with desk.store.begin() as connection:
        current = store_settings.current(connection)
        document = current.settings.model_dump(mode="json")
        document["verification"]["exceptions"] = lines
        store_settings.save(
            connection, Settings.model_validate(document), based_on=current.number, author="test"
        )


def act(desk: Desk, wish: Wish = WISH) -> tuple[str, bool]:
    with sink(TAKING) as server:
        released = release_with_exception(replace(desk, smtp=server.address), EVENT_ID, wish, actor="anna")
    return released.exception, released.added


def test_the_client_s_mail_of_that_author_domain_is_excepted_from_now_on(desk: Desk) -> None:
    row = hold(desk)
    client = row.envelope.client_ip

    assert act(desk) == (LINE.replace("192.0.2.1", str(client)), True)

    [line] = exceptions(desk)
    record = ExceptionRecord.parse(line)
    assert (str(record.network), record.owner, record.until) == (f"{client}/32", "anna", date(2999, 1, 31))
    assert record.author is not None
    assert record.author.key == "sender.example"
    assert state(desk) is HoldState.RELEASED
    assert [entry[1] for entry in audited(desk)] == ["quarantine release", "settings saved"]


def test_an_exception_that_is_there_stays_as_it_is(desk: Desk) -> None:
    row = hold(desk)
    there = f"{row.client_ip} owner=bert from=sender.example"
    save(desk, there)

    assert act(desk)[1] is False

    assert exceptions(desk) == [there]
    assert state(desk) is HoldState.RELEASED


def test_an_exception_that_has_expired_is_renewed(desk: Desk) -> None:
    row = hold(desk)
    save(desk, f"{row.client_ip} until=2020-01-01 owner=bert from=sender.example", "198.51.100.1 # other")

    assert act(desk)[1] is True

    assert [line.split()[0] for line in exceptions(desk)] == ["198.51.100.1", row.client_ip]


def test_a_comment_that_can_not_be_stored_changes_nothing(desk: Desk) -> None:
    hold(desk)

    with pytest.raises(InvalidSettings):
        act(desk, Wish("anna", comment="x" * 500))

    assert exceptions(desk) == []
    assert state(desk) is HoldState.HELD


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"author_domain": ""}, "names no author domain", id="unusable From"),
        pytest.param({"client_ip": ""}, "came from this machine", id="local submission"),
    ],
)
def test_a_message_that_no_narrow_exception_fits_gets_none(
    desk: Desk, change: dict[str, Any], reason: str
) -> None:
    row = replace(hold(desk), event_id="ffffffffffff", **change)
    with desk.store.begin() as connection:
        rows.add(connection, row)

    with pytest.raises(NotNow, match=reason):
        release_with_exception(desk, "ffffffffffff", WISH, actor="anna")

    assert exceptions(desk) == []


def test_where_the_release_is_refused_the_exception_stays(desk: Desk) -> None:
    hold(desk)

    with sink({"RCPT": "550 5.1.1 nobody"}) as server, pytest.raises(ReleaseRefused):
        release_with_exception(replace(desk, smtp=server.address), EVENT_ID, WISH, actor="anna")

    assert len(exceptions(desk)) == 1
    assert state(desk) is HoldState.HELD


@pytest.mark.parametrize(
    ("how", "error"),
    [
        pytest.param({"recipients": ["nobody"]}, ReleaseRefused, id="no address"),
        pytest.param({}, NotNow, id="deleted"),
    ],
)
def test_a_message_that_can_not_be_released_gets_no_exception(
    desk: Desk, how: dict[str, Any], error: type[Exception]
) -> None:
    hold(desk)
    if not how:
        delete(desk, EVENT_ID, actor="anna")

    with pytest.raises(error):
        release_with_exception(desk, EVENT_ID, WISH, actor="anna", **how)

    assert exceptions(desk) == []
