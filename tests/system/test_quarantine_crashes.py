"""Killed at each step of storing and of releasing a message: nothing is lost (ENF-10, F1, F2, S27; threats.md, decision 8).

Whole with ``--long``: 50 times at each step.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.smtp import send_message
from appliance.node import read_node
from appliance.quarantine import TRACE_FIELD, Condition, Desk, release, tidy
from appliance.store.quarantine import HoldState, QuarantineRow
from appliance.store.quarantine_search import Criteria, search
from tests.system.conftest import INSIDE

pytestmark = [pytest.mark.system, pytest.mark.timeout(3600)]

TIMES = 50
SENDERS = 4
_numbers = count()


@dataclass(frozen=True)
class Setup:
    gateway: Gateway
    folder: Path
    """Where wishes to die are left."""

    @property
    def desk(self) -> Desk:
        return Desk.of(read_node(self.gateway.node_file), self.gateway.store)

    def wish(self, what: int | str) -> None:
        """Written beside and moved there, so that it is seen whole."""
        beside = self.folder / "wish.new"
        beside.write_text(str(what))
        beside.rename(self.folder / "wish")

    def calls(self) -> list[str]:
        """What the last act that was to tell its calls did."""
        file = self.folder / "calls"
        names = file.read_text().split("\n")[:-1]
        file.unlink()
        return names

    def rows(self) -> list[QuarantineRow]:
        with self.gateway.store.read() as connection:
            return search(connection, Criteria(states=tuple(HoldState)), 100_000)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> Iterator[Setup]:
    folder = tmp_path_factory.mktemp("dying")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DYING", str(folder))
        gateway = Gateway(
            tmp_path_factory.mktemp("gateway"),
            inside_domains=(INSIDE,),
            page=False,
            workers=4,
            filter_module="tests.quarantine.dying",
        )
        with gateway:
            gateway.zone.txt("_dmarc.forged.example", "v=DMARC1; p=quarantine")
            gateway.save(verification__enabled=True)
            yield Setup(gateway, folder)


def message_id() -> str:
    return f"<{next(_numbers)}@forged.example>"


def octets_of(name: str) -> bytes:
    return (
        f"From: a@forged.example\r\nTo: u@{INSIDE}\r\nSubject: caf\u00e9 {name}\r\nMessage-ID: {name}\r\n\r\n"
        ".a line with a dot\r\n.\r\ntrailing space \r\n\r\nthe end\r\n"
    ).encode()


def send_until_taken(gateway: Gateway, name: str) -> int:
    """Send like a client: a temporary refusal means to come again. Returns how often it was sent."""
    for tries in range(1, 20):
        reply = send_message(
            gateway.postfix.config.smtp_port,
            mail_from="victim@forged.example",
            rcpt_to=[f"u@{INSIDE}"],
            octets=octets_of(name),
            client_ip="192.0.2.66",
            mail_parameters=["BODY=8BITMIME"],
        )
        if reply.accepted:
            return tries
        assert 400 <= reply.code < 500, reply
    raise AssertionError(f"{name} was never taken")


def test_f2_a_worker_killed_at_any_step_of_quarantining_loses_nothing(setup: Setup, long_run: bool) -> None:
    """Every message that was answered 250 is held with all its octets; what a killed worker left is swept."""
    gateway, desk = setup.gateway, setup.desk
    setup.wish("all")
    send_until_taken(gateway, message_id())
    steps = setup.calls()
    before = {row.event_id for row in setup.rows()}
    sent: dict[str, int] = {}

    for step in range(len(steps)):
        for _ in range(TIMES if long_run else 1):
            setup.wish(step)
            name = message_id()
            sent[name] = send_until_taken(gateway, name)
            assert not (setup.folder / "wish").exists(), f"no worker came to step {step}, {steps[step]}"

    assert {"mkdir", "open", "fsync", "do_commit", "send", "after send"} <= set(steps)
    rows = [row for row in setup.rows() if row.event_id not in before]
    held = Counter(row.message_id for row in rows)
    assert held.keys() == sent.keys()
    assert all(held[name] <= tries for name, tries in sent.items())
    assert all(octets_of(row.message_id) in desk.octets(row) for row in rows)
    assert gateway.inside.messages() == ()

    tidied = tidy(desk, gateway.settings(), datetime.now(UTC) + timedelta(days=8))

    files = {path.stem for path in desk.files.directory.rglob("*.eml")}
    assert files == before | {row.event_id for row in rows}
    retried = sum(tries - 1 for tries in sent.values())
    assert 0 < tidied.orphans <= retried
    print(
        f"{len(steps)} steps {steps}, {len(sent)} messages, {retried} put off, {len(rows)} held, {tidied.orphans} orphans"
    )


def dying_release(setup: Setup, event_id: str, step: int | str, folder: Path) -> int:
    """``dmarcgate quarantine release`` that dies at *step*; returns its exit status."""
    folder.mkdir(exist_ok=True)
    (folder / "wish").write_text(str(step))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.quarantine.dying", "quarantine", "release"),
            *("--config", str(setup.gateway.node_file), event_id),
        ],
        env={
            **os.environ,
            "DYING": str(folder),
            "DYING_AT_ONCE": "yes",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
        check=False,
        capture_output=True,
        text=True,
    )
    return done.returncode


def hold_all(setup: Setup, how_many: int) -> list[QuarantineRow]:
    """New messages in quarantine."""
    before = {row.event_id for row in setup.rows()}
    names = [message_id() for _ in range(how_many)]
    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(lambda name: send_until_taken(setup.gateway, name), names))
    rows = [row for row in setup.rows() if row.event_id not in before]
    assert sorted(row.message_id for row in rows) == sorted(names)
    return rows


def await_idle_listener(gateway: Gateway) -> None:
    """Until Postfix has noted the end of each session of the release listener."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        log = gateway.postfix.log_path.read_text(encoding="utf-8", errors="replace")
        if len(re.findall(r"/release/smtpd\[\d+\]: connect from", log)) == len(
            re.findall(r"/release/smtpd\[\d+\]: disconnect from", log)
        ):
            return
        time.sleep(0.05)
    raise AssertionError("a session of the release listener doesn't end")


def test_s27_a_release_killed_at_any_step_loses_nothing_and_delivers_what_was_received(
    setup: Setup, long_run: bool, tmp_path: Path
) -> None:
    """Decision 8: at most one message in 50 is delivered twice, and shows it by its Message-ID."""
    gateway, desk = setup.gateway, setup.desk
    [first] = hold_all(setup, 1)
    assert dying_release(setup, first.event_id, "all", tmp_path / "first") == 0
    steps = (tmp_path / "first" / "calls").read_text().split("\n")[:-1]
    times = TIMES if long_run else 1
    rows = hold_all(setup, len(steps) * times)
    kept = {row.message_id: desk.octets(row) for row in [first, *rows]}

    with ThreadPoolExecutor(SENDERS) as pool:
        statuses = list(
            pool.map(
                lambda at: dying_release(
                    setup, rows[at].event_id, at % len(steps), tmp_path / f"release-{at}"
                ),
                range(len(rows)),
            )
        )

    assert set(statuses) == {-9}
    await_idle_listener(gateway)
    left = Counter(desk.find(row.event_id).state for row in rows)
    later = datetime.now(UTC) + timedelta(minutes=11)
    tidied = tidy(desk, gateway.settings(), later)
    for row in rows:
        if desk.find(row.event_id).state is HoldState.HELD:
            release(desk, row.event_id, actor="ada")
    again = tidy(desk, gateway.settings(), later)

    recovered = tidied.recovered
    assert left.keys() == {HoldState.HELD, HoldState.RELEASING, HoldState.RELEASED}
    assert len(recovered.delivered) + len(recovered.repeated) == left[HoldState.RELEASING]
    assert recovered.delivered
    assert recovered.repeated
    assert (again.recovered.delivered, again.recovered.repeated) == ((), ())
    delivered = gateway.inside.wait_until(lambda _: True, "the releases", count=len(kept), seconds=120)
    while gateway.postfix.queue_length():
        time.sleep(0.05)
    delivered = gateway.inside.messages()
    seen = Counter(message.message_id for message in delivered)
    assert seen.keys() == kept.keys()
    assert sum(seen.values()) - len(kept) <= len(rows) // 50
    for message in delivered:
        assert message.message_id is not None
        trace = message.octets.index(TRACE_FIELD.encode())
        assert message.octets[:trace].startswith(b"Received: ")
        assert message.octets[trace:].partition(b"\r\n")[2] == kept[message.message_id]
    for row in rows:
        now = desk.find(row.event_id)
        assert now.state is HoldState.RELEASED
        assert any(now.release_queue_id in message.queue_ids for message in delivered)
        assert desk.files.condition(now) is Condition.COMPLETE
    print(
        f"{len(steps)} steps {steps}, {len(rows)} releases killed, left {dict(left)}, "
        f"{len(recovered.delivered)} found in the log, {len(recovered.repeated)} repeated, "
        f"{sum(seen.values()) - len(kept)} delivered twice"
    )


def test_t25_nobody_outside_heard_of_any_of_it(setup: Setup) -> None:
    """Neither of the quarantined messages nor of the releases: the forged sender's mailbox stays empty."""
    assert setup.gateway.outside.messages() == ()
