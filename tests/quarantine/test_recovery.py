"""Releases that broke off: Postfix's log says what became of them."""

import gzip
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.mta import log as mta_log
from appliance.quarantine import Desk, NotNow, Recovered, ReleaseUncertain, recover, release
from appliance.quarantine.postfix_log import Fate, Finding, find, position
from appliance.quarantine.recovery import _decide
from appliance.store.quarantine import HoldState, Notify
from tests.quarantine.samples import EVENT_ID, audited, files_below, hold, sink, state

BSD = "Nov 23 17:19:36 gateway postfix/"
ISO = "2026-11-23T17:19:36.123456+01:00 gateway postfix/"
OFFERED = f"release/smtpd[668]: 4jYCNm: client=localhost[127.0.0.1], orig_queue_id={EVENT_ID}"
QUEUED = "qmgr[665]: 4jYCNm: from=<a@sender.example>, size=212, nrcpt=1 (queue active)"
TOOK = "release/smtpd[668]: disconnect from localhost[127.0.0.1] ehlo=1 xforward=1 mail=1 rcpt=1 data=1 commands=5"
LOST = "release/smtpd[668]: disconnect from localhost[127.0.0.1] ehlo=1 xforward=1 mail=1 rcpt=1 data=0/1 commands=4/5"
TAKEN = Finding(Fate.TAKEN, "4jYCNm")
NOT_TAKEN = Finding(Fate.NOT_TAKEN)
UNKNOWN = Finding(Fate.UNKNOWN)


def append(log: Path, *lines: str, prefix: str = BSD) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.writelines(f"{prefix}{line}\n" for line in lines)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "maillog"
    append(path, "master[1]: daemon started -- version 3.7.11, configuration /etc/postfix")
    return path


# ---- reading the log -------------------------------------------------------------


@pytest.mark.parametrize("prefix", [pytest.param(BSD, id="BSD"), pytest.param(ISO, id="ISO")])
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([], NOT_TAKEN, id="never offered"),
        pytest.param([OFFERED, LOST], NOT_TAKEN, id="broken off by the client"),
        pytest.param([OFFERED, LOST.replace(" data=0/1", "")], NOT_TAKEN, id="broken off before the data"),
        pytest.param([OFFERED, TOOK], TAKEN, id="the session says so"),
        pytest.param([OFFERED, QUEUED], TAKEN, id="the queue manager says so"),
        pytest.param([OFFERED, LOST, QUEUED], TAKEN, id="the queue manager says so, whatever the session says"),
        pytest.param([OFFERED, "qmgr[665]: 4jYCNm: removed"], TAKEN, id="delivered already"),
        pytest.param([OFFERED], UNKNOWN, id="not over"),
        pytest.param([OFFERED, LOST.replace("668", "669")], UNKNOWN, id="another session is over"),
        pytest.param([OFFERED, QUEUED.replace("4jYCNm", "4jYCNn")], UNKNOWN, id="another message was queued"),
        pytest.param([OFFERED, LOST, OFFERED.replace("668", "7").replace("4jYCNm", "4jYCNn")], UNKNOWN, id="offered again"),
        pytest.param([OFFERED.replace(EVENT_ID, "aaaaaaaaaaaa"), TOOK], NOT_TAKEN, id="another message's name"),
        pytest.param(
            [OFFERED, "master[1]: warning: process /usr/libexec/postfix/smtpd pid 668 killed by signal 9"],
            NOT_TAKEN,
            id="the session was killed",
        ),
        pytest.param([OFFERED, "master[9]: daemon started -- version 3.7.11"], NOT_TAKEN, id="Postfix was started anew"),
        pytest.param(
            [f"cleanup[3]: 4jYCNx: message-id=<x {BSD}{OFFERED}>", f"cleanup[3]: 4jYCNx: message-id=<{TOOK}>"],
            NOT_TAKEN,
            id="a message-id that looks like the log",
        ),
    ],
)  # fmt: skip
def test_what_became_of_a_message(log: Path, lines: list[str], expected: Finding, prefix: str) -> None:
    append(log, OFFERED, TOOK, prefix=prefix)  # an earlier release
    since = position(log)
    assert since is not None

    append(log, *lines, prefix=prefix)

    assert find(EVENT_ID, log, since) == expected


def test_a_log_that_was_rotated_is_read_from_where_it_was(log: Path) -> None:
    since = position(log)
    assert since is not None
    append(log, OFFERED)
    log.rename(log.with_name("maillog-20261123"))
    append(log, TOOK)

    assert find(EVENT_ID, log, since) == TAKEN


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda log: log.unlink(), id="gone"),
        pytest.param(lambda log: os.truncate(log, 10), id="cut"),
        pytest.param(lambda log: log.write_bytes(b"") and None, id="emptied"),
        pytest.param(
            lambda log: log.rename(log.with_name("other")) and log.write_text("a new one\n"), id="replaced"
        ),
    ],
)
def test_a_log_that_does_not_reach_back_far_enough_says_nothing(log: Path, spoil: object) -> None:
    since = position(log)
    assert since is not None
    assert callable(spoil)

    spoil(log)

    assert find(EVENT_ID, log, since) == UNKNOWN


def test_a_compressed_part_of_the_log_says_nothing(log: Path) -> None:
    since = position(log)
    assert since is not None
    log.rename(log.with_name("maillog.2"))
    with gzip.open(log.with_name("maillog.1.gz"), "wt") as file:
        file.write(f"{BSD}{OFFERED}\n{BSD}{TOOK}\n")
    append(log, "qmgr[665]: something else")

    assert find(EVENT_ID, log, since) == UNKNOWN


def test_a_machine_that_was_started_anew_may_have_lost_the_last_lines(log: Path) -> None:
    """F12: after a power cut only what the log says counts, not what it doesn't say."""
    then = position(log)
    assert then is not None
    since = replace(then, boot="another")

    silent = find(EVENT_ID, log, since)
    append(log, OFFERED, "master[9]: daemon started -- version 3.7.11")
    half = find(EVENT_ID, log, since)
    append(log, QUEUED)
    queued = find(EVENT_ID, log, since)

    assert (silent, half, queued) == (UNKNOWN, UNKNOWN, TAKEN)


def test_only_so_much_of_a_log_is_read(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mta_log, "MAX_OCTETS", 1000)
    since = position(log)
    assert since is not None
    append(log, *["qmgr[665]: something else"] * 100)

    assert find(EVENT_ID, log, since) == UNKNOWN


# ---- recovery --------------------------------------------------------------------

TAKING = {".": "250 2.0.0 Ok: queued as 4ZqK1"}


def break_off(desk: Desk, *, log: bool = True) -> datetime:
    """A release whose outcome nobody noted; returns when somebody may look after it."""
    hold(desk)
    if log:
        append(desk.log, "master[1]: daemon started")
    with sink({".": None}) as breaking, pytest.raises(ReleaseUncertain):
        release(
            replace(desk, smtp=breaking.address),
            EVENT_ID,
            actor="ada",
            recipients=["carol@inside.example"],
            notify=Notify.ORIGINAL,
        )
    return datetime.now(UTC) + timedelta(minutes=11)


def test_a_release_that_postfix_took_is_noted_and_not_repeated(desk: Desk) -> None:
    later = break_off(desk)
    append(desk.log, OFFERED, QUEUED)

    with sink(TAKING) as server:
        recovered = recover(replace(desk, smtp=server.address), later)

    row = desk.find(EVENT_ID)
    assert (recovered, server.heard) == (Recovered(delivered=(EVENT_ID,)), [])
    assert (row.state, row.release_queue_id, row.release) == (HoldState.RELEASED, "4jYCNm", None)
    [entry] = audited(desk)
    assert entry[:3] == ("ada", "quarantine release", EVENT_ID)
    assert entry[3].endswith("found in Postfix's log after the release broke off")


def test_a_release_that_postfix_did_not_take_is_repeated_as_it_was_ordered(desk: Desk) -> None:
    later = break_off(desk)
    append(desk.log, OFFERED, LOST)

    with sink(TAKING) as server:
        recovered = recover(replace(desk, smtp=server.address), later)

    assert recovered == Recovered(repeated=(EVENT_ID,))
    assert server.heard[3] == "RCPT TO:<carol@inside.example> NOTIFY=NEVER"
    assert desk.find(EVENT_ID).release_queue_id == "4ZqK1"
    assert audited(desk)[0][3] == (
        "as 4ZqK1 to carol@inside.example, with the original notification parameters, repeated after the release broke off"
    )


def test_a_release_that_postfix_refuses_for_good_is_given_up(desk: Desk) -> None:
    later = break_off(desk)

    with sink({"RCPT": "550 5.1.1 nobody"}) as server:
        recovered = recover(replace(desk, smtp=server.address), later)

    assert recovered == Recovered(given_up=(EVENT_ID,))
    assert state(desk) is HoldState.HELD
    assert audited(desk)[0][:3] == ("dmarcgate", "quarantine recovery", EVENT_ID)
    assert "not released: Postfix refuses RCPT TO:<carol@inside.example>" in audited(desk)[0][3]
    assert "550 5.1.1 nobody" in audited(desk)[0][3]


def test_a_release_whose_file_is_gone_is_given_up(desk: Desk, tmp_path: Path) -> None:
    later = break_off(desk)
    for file in files_below(tmp_path / "quarantine"):
        file.unlink()

    assert recover(desk, later) == Recovered(given_up=(EVENT_ID,))

    assert state(desk) is HoldState.HELD
    assert "the file of message 0123456789ab is gone" in audited(desk)[0][3]


def test_a_release_waits_for_a_postfix_that_does_not_run(desk: Desk) -> None:
    later = break_off(desk)

    assert recover(desk, later) == Recovered(waiting=(EVENT_ID,))

    assert state(desk) is HoldState.RELEASING


def test_without_a_log_the_message_may_have_been_delivered_and_stays(desk: Desk) -> None:
    later = break_off(desk, log=False)

    with sink(TAKING) as server:
        recovered = recover(replace(desk, smtp=server.address), later)

    assert (recovered, server.heard) == (Recovered(uncertain=(EVENT_ID,)), [])
    assert state(desk) is HoldState.RELEASING


def test_a_release_under_way_is_left_to_who_carries_it_out(desk: Desk) -> None:
    break_off(desk)

    assert recover(desk, datetime.now(UTC) + timedelta(minutes=9)) == Recovered()


def test_the_releases_of_other_nodes_are_theirs(desk: Desk) -> None:
    later = break_off(desk)

    assert recover(replace(desk, node="mx2.example"), later) == Recovered()


def test_two_that_recover_at_once_release_once(desk: Desk) -> None:
    """The second has read the row before the first took it."""
    later = break_off(desk)
    row = desk.find(EVENT_ID)

    with sink(TAKING) as server:
        there = replace(desk, smtp=server.address)
        recover(there, later)
        with pytest.raises(NotNow):
            _decide(there, row)

    assert server.heard.count("data") == 1
