"""Releasing held messages: what Postfix is told, and what the row says whatever Postfix answers."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.mail.message import Recipient
from appliance.quarantine import (
    DamagedMessage,
    Desk,
    MissingMessage,
    NotNow,
    PostfixUnreachable,
    ReleaseRefused,
    ReleaseUncertain,
    delete,
    release,
)
from appliance.quarantine.releasing import carry_out
from appliance.store import quarantine as rows
from appliance.store.quarantine import HoldState, Notify
from tests.quarantine.samples import EVENT_ID, OCTETS, Sink, audited, files_below, hold, sink, state
from tests.store.samples import ENVELOPE, octets

TAKING = {".": "250 2.0.0 Ok: queued as 4ZqK1"}


def at(desk: Desk, server: Sink) -> Desk:
    return replace(desk, smtp=server.address)


def age(desk: Desk, by: timedelta) -> None:
    """Put the row's last change back in time."""
    row = desk.find(EVENT_ID)
    assert row.changed_at is not None
    with desk.store.begin() as connection:
        rows.change(connection, row, row.state, row.changed_at - by, release=row.release)


def test_a_released_message_is_noted_with_who_when_and_to_whom(desk: Desk) -> None:
    hold(desk)
    before = datetime.now(UTC)

    with sink(TAKING) as server:
        queue_id = release(at(desk, server), EVENT_ID, actor="ada")

    row = desk.find(EVENT_ID)
    assert queue_id == "4ZqK1"
    assert (row.state, row.release_queue_id, row.release) == (HoldState.RELEASED, "4ZqK1", None)
    assert row.changed_at is not None
    assert row.changed_at >= before
    assert audited(desk) == [("ada", "quarantine release", EVENT_ID, "as 4ZqK1 to bob@inside.example")]


def test_postfix_is_given_a_name_for_its_log_and_nobody_is_notified(desk: Desk) -> None:
    hold(desk)

    with sink(TAKING) as server:
        release(at(desk, server), EVENT_ID, actor="ada")

    assert server.heard[1:4] == [
        f"XFORWARD IDENT={EVENT_ID}",
        "MAIL FROM:<alice@sender.example> BODY=8BITMIME",
        "RCPT TO:<bob@inside.example> NOTIFY=NEVER ORCPT=rfc822;bob@old.example",
    ]


def test_the_original_parameters_are_restored_where_that_is_wanted(desk: Desk) -> None:
    asked = ("SIZE=100", "RET=HDRS", "ENVID=QQ314159", "BODY=8BITMIME", "AUTH=<>")
    hold(desk, envelope=replace(ENVELOPE, mail_parameters=asked))

    with sink(TAKING) as server:
        release(at(desk, server), EVENT_ID, actor="ada", notify=Notify.ORIGINAL)

    assert server.heard[2:4] == [
        "MAIL FROM:<alice@sender.example> BODY=8BITMIME RET=HDRS ENVID=QQ314159",
        "RCPT TO:<bob@inside.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@old.example",
    ]
    assert audited(desk)[0][3].endswith(", with the original notification parameters")


def test_a_recipient_who_was_none_has_no_original_parameters(desk: Desk) -> None:
    hold(desk)

    with sink(TAKING) as server:
        release(
            at(desk, server),
            EVENT_ID,
            actor="ada",
            recipients=["carol@inside.example", "bob@inside.example", "carol@inside.example"],
            notify=Notify.ORIGINAL,
        )

    assert server.heard[3:5] == [
        "RCPT TO:<carol@inside.example> NOTIFY=NEVER",
        "RCPT TO:<bob@inside.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@old.example",
    ]


def test_a_message_is_released_again_only_on_purpose(desk: Desk) -> None:
    hold(desk)

    with sink(TAKING) as server:
        release(at(desk, server), EVENT_ID, actor="ada")
        with pytest.raises(NotNow, match="was released already, as 4ZqK1"):
            release(at(desk, server), EVENT_ID, actor="grace")
        server.script["."] = "250 2.0.0 Ok: queued as 4ZqK2"
        queue_id = release(at(desk, server), EVENT_ID, actor="grace", again=True)

    assert queue_id == "4ZqK2"
    assert [entry[0] for entry in audited(desk)] == ["grace", "ada"]


def test_a_second_release_that_is_refused_leaves_the_first_in_the_books(desk: Desk) -> None:
    hold(desk)

    with sink(TAKING) as server:
        release(at(desk, server), EVENT_ID, actor="ada")
        server.script["."] = "451 4.3.0 later"
        with pytest.raises(ReleaseRefused):
            release(at(desk, server), EVENT_ID, actor="ada", again=True)

    row = desk.find(EVENT_ID)
    assert (row.state, row.release_queue_id) == (HoldState.RELEASED, "4ZqK1")


def test_without_postfix_the_message_stays_held(desk: Desk, free_port: Callable[[], int]) -> None:
    hold(desk)
    port = free_port()

    with pytest.raises(PostfixUnreachable, match=rf"Postfix can't be reached on 127.0.0.1:{port}: .*refused"):
        release(replace(desk, smtp=("127.0.0.1", port)), EVENT_ID, actor="ada")

    assert state(desk) is HoldState.HELD


@pytest.mark.parametrize(
    "script",
    [
        pytest.param({"MAIL": "451 4.3.0 later"}, id="MAIL refused"),
        pytest.param({"RCPT": "550 5.1.1 nobody"}, id="RCPT refused"),
        pytest.param({"DATA": "451 4.3.0 later"}, id="DATA refused"),
        pytest.param({".": "451 4.3.0 later"}, id="message deferred"),
        pytest.param({"EHLO": None}, id="closed at EHLO"),
        pytest.param({"XFORWARD": None}, id="closed at XFORWARD"),
        pytest.param({"RCPT": None}, id="closed at RCPT"),
    ],
)
def test_a_message_that_was_surely_not_taken_can_be_released_again(
    desk: Desk, script: dict[str, str | None]
) -> None:
    hold(desk)

    with sink(script) as refusing, pytest.raises(ReleaseRefused):
        release(at(desk, refusing), EVENT_ID, actor="ada")
    held = state(desk)
    with sink(TAKING) as taking:
        queue_id = release(at(desk, taking), EVENT_ID, actor="ada")

    assert (held, queue_id) == (HoldState.HELD, "4ZqK1")
    assert state(desk) is HoldState.RELEASED


def test_one_refused_recipient_keeps_the_message_from_all(desk: Desk) -> None:
    hold(desk)

    with (
        sink({"RCPT": "550 5.1.1 nobody"}) as server,
        pytest.raises(ReleaseRefused, match=r"550 5\.1\.1 nobody"),
    ):
        release(at(desk, server), EVENT_ID, actor="ada", recipients=["a@inside.example", "b@inside.example"])

    assert "data" not in server.heard


def test_a_message_that_may_have_been_taken_is_not_released_again_by_itself(desk: Desk) -> None:
    hold(desk)

    with sink({".": None}) as breaking, pytest.raises(ReleaseUncertain):
        release(at(desk, breaking), EVENT_ID, actor="ada")

    assert state(desk) is HoldState.RELEASING
    with sink(TAKING) as taking:
        with pytest.raises(NotNow, match="is just being released"):
            release(at(desk, taking), EVENT_ID, actor="ada", again=True)
        age(desk, timedelta(minutes=11))
        with pytest.raises(NotNow, match="may have been delivered, a release broke off"):
            release(at(desk, taking), EVENT_ID, actor="ada")
        assert release(at(desk, taking), EVENT_ID, actor="ada", again=True) == "4ZqK1"


def test_a_message_is_not_deleted_while_it_is_released(desk: Desk) -> None:
    hold(desk)
    with sink({".": None}) as breaking, pytest.raises(ReleaseUncertain):
        release(at(desk, breaking), EVENT_ID, actor="ada")

    with pytest.raises(NotNow, match="is just being released"):
        delete(desk, EVENT_ID, actor="grace")

    assert state(desk) is HoldState.RELEASING


def test_two_who_release_at_once_deliver_once(desk: Desk) -> None:
    """The second looks at the row, then the first takes it."""
    row = hold(desk)
    with sink(TAKING) as server:
        release(at(desk, server), EVENT_ID, actor="ada")

        with pytest.raises(NotNow, match="by somebody else"):
            carry_out(at(desk, server), row, row.envelope.recipients, Notify.NEVER, actor="grace")

    assert server.heard.count("data") == 1


def test_t25_where_bounces_can_not_be_ruled_out_nothing_is_released_unless_that_is_wanted(desk: Desk) -> None:
    hold(desk)

    with sink({"EHLO": "250-sink\r\n250 SIZE", **TAKING}) as plain:
        with pytest.raises(ReleaseRefused, match="doesn't offer DSN"):
            release(at(desk, plain), EVENT_ID, actor="ada")
        release(at(desk, plain), EVENT_ID, actor="ada", notify=Notify.ORIGINAL)

    assert plain.heard[-5:-1] == [
        "MAIL FROM:<alice@sender.example>",
        "RCPT TO:<bob@inside.example>",
        "data",
        ".",
    ]


def test_a_message_that_needs_smtputf8_goes_only_where_that_is_known(desk: Desk) -> None:
    envelope = replace(
        ENVELOPE, recipients=(Recipient("bj\u00f6rn@inside.example"),), mail_parameters=("SMTPUTF8",)
    )
    hold(desk, envelope=envelope)

    with sink({"EHLO": "250-sink\r\n250 DSN"}) as old, pytest.raises(ReleaseRefused, match="needs SMTPUTF8"):
        release(at(desk, old), EVENT_ID, actor="ada")
    with sink(TAKING) as new:
        release(at(desk, new), EVENT_ID, actor="ada")

    assert new.heard[2:4] == [
        "MAIL FROM:<alice@sender.example> SMTPUTF8 BODY=8BITMIME",
        "RCPT TO:<bj\u00f6rn@inside.example> NOTIFY=NEVER",
    ]


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("bob", id="no domain"),
        pytest.param("bob@inside.example> ORCPT=x", id="a parameter"),
        pytest.param("bob@inside.example\r\nDATA", id="a command"),
    ],
)
def test_a_recipient_that_is_no_address_is_refused(desk: Desk, address: str) -> None:
    hold(desk)

    with pytest.raises(ReleaseRefused, match="is not a mail address"):
        release(desk, EVENT_ID, actor="ada", recipients=[address])

    assert state(desk) is HoldState.HELD


def test_no_command_can_be_smuggled_in_by_an_envelope(desk: Desk) -> None:
    envelope = replace(ENVELOPE, mail_from=octets(b"a@b.example>\r\nRCPT TO:<eve@x.example"))
    hold(desk, envelope=envelope)

    with sink({}) as server, pytest.raises(ReleaseRefused, match="holds a line break"):
        release(at(desk, server), EVENT_ID, actor="ada")

    assert [line.split()[0] for line in server.heard] == ["ehlo", "XFORWARD"]
    assert state(desk) is HoldState.HELD


def test_a_message_whose_file_is_gone_or_damaged_is_never_released_half(desk: Desk, tmp_path: Path) -> None:
    hold(desk)
    [file] = files_below(tmp_path / "quarantine")

    with sink(TAKING) as server:
        for content in (OCTETS[:100], OCTETS[:-1] + b"!"):
            file.write_bytes(content)
            with pytest.raises(DamagedMessage):
                release(at(desk, server), EVENT_ID, actor="ada")
        file.unlink()
        with pytest.raises(MissingMessage, match="is gone"):
            release(at(desk, server), EVENT_ID, actor="ada")

    assert server.heard == []
    assert state(desk) is HoldState.HELD


def test_a_message_of_another_node_is_released_there(desk: Desk) -> None:
    hold(desk, node="mx2.example")

    with pytest.raises(MissingMessage, match=r"is on node mx2\.example: go on there"):
        release(desk, EVENT_ID, actor="ada")

    assert state(desk) is HoldState.HELD


def test_a_message_that_was_never_held_is_missing(desk: Desk) -> None:
    with pytest.raises(MissingMessage, match="there is no quarantined message ffffffffffff"):
        release(desk, "ffffffffffff", actor="ada")
