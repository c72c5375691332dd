"""Quarantined mail from end to end: held by the filter, looked at, released, deleted and expired by command line."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.mailbox import DeliveredMessage
from appliance.lab.smtp import send_message
from appliance.node import read_node
from appliance.quarantine import TRACE_FIELD, Desk
from appliance.store import audit, events
from appliance.store import quarantine as rows
from appliance.store import settings as store_settings
from appliance.store.quarantine import HoldState, QuarantineRow
from tests.quarantine.samples import sink
from tests.system.conftest import INSIDE

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

SENDER = "victim@forged.example"
CLIENT = "192.0.2.66"
_numbers = count()


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def documents(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Keeper:
    """Who looks after a gateway's quarantine."""

    gateway: Gateway

    @property
    def desk(self) -> Desk:
        return Desk.of(read_node(self.gateway.node_file), self.gateway.store)

    def run(self, verb: str, *arguments: str) -> Ended:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "appliance", "quarantine", verb),
                *("--config", str(self.gateway.node_file), *arguments),
            ],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def send(
        self,
        *,
        to: Sequence[str] = (f"u@{INSIDE}",),
        mail_from: str = SENDER,
        header: str = "",
        body: bytes = b"Hello\r\n",
        mail_parameters: Sequence[str] = (),
        rcpt_parameters: Sequence[str] = (),
        client_ip: str = CLIENT,
    ) -> str:
        """Send a message; returns its Message-ID."""
        name = f"<{next(_numbers)}@forged.example>"
        head = f"From: A <a@forged.example>\r\nTo: u@{INSIDE}\r\nSubject: Test {name}\r\nMessage-ID: {name}\r\n{header}\r\n"
        reply = send_message(
            self.gateway.postfix.config.smtp_port,
            mail_from=mail_from,
            rcpt_to=to,
            octets=head.encode() + body,
            client_ip=client_ip,
            mail_parameters=mail_parameters,
            rcpt_parameters=rcpt_parameters,
        )
        assert reply.code == 250, reply
        return name

    def hold(self, **message: Any) -> QuarantineRow:
        """Send a message that is quarantined."""
        name = self.send(**message)
        with self.gateway.store.read() as connection:
            [row] = [row for row in rows.list_held(connection) if row.message_id == name]
        return row

    def delivered(self, row: QuarantineRow, how_many: int = 1) -> tuple[DeliveredMessage, ...]:
        return self.gateway.inside.wait_until(
            lambda message: message.message_id == row.message_id, row.message_id, count=how_many, seconds=30
        )

    def state(self, row: QuarantineRow) -> HoldState:
        return self.desk.find(row.event_id).state

    def await_empty_queue(self) -> None:
        while self.gateway.postfix.queue_length():
            time.sleep(0.05)

    def revision(self) -> int:
        with self.gateway.store.read() as connection:
            return store_settings.current_number(connection)

    def audited(self, row: QuarantineRow) -> list[str]:
        with self.gateway.store.read() as connection:
            return [entry.action for entry in audit.recent(connection) if entry.subject == row.event_id]


@pytest.fixture(scope="module")
def keeper(gateway: Gateway) -> Keeper:
    gateway.zone.txt("_dmarc.forged.example", "v=DMARC1; p=quarantine")
    gateway.save(verification__enabled=True)
    return Keeper(gateway)


def original(message: DeliveredMessage) -> bytes:
    """What stands below the trace fields that the release added."""
    trace = message.octets.index(TRACE_FIELD.encode())
    assert message.octets[:trace].startswith(b"Received: ")
    return message.octets[trace:].partition(b"\r\n")[2]


def test_s27_enf_10_a_quarantined_message_is_held_listed_looked_at_and_released_as_it_came(
    keeper: Keeper,
) -> None:
    """Byte for byte below the trace fields, and not evaluated again."""
    body = b".dot\r\n.\r\n" + "caf\u00e9 ".encode() + b"x" * 900 + b" \r\n\r\n\r\n"

    row = keeper.hold(body=body, mail_parameters=["BODY=8BITMIME"])
    kept = keeper.desk.octets(row)
    nothing_came = keeper.gateway.inside.messages() == ()
    with keeper.gateway.store.read() as connection:
        before = events.count(connection)
    listed = [found for found in keeper.run("list", "--json").documents if found["id"] == row.event_id]
    shown = keeper.run("show", row.event_id)
    released = keeper.run("release", row.event_id)

    [message] = keeper.delivered(row)
    with keeper.gateway.store.read() as connection:
        after = events.count(connection)
    now = keeper.desk.find(row.event_id)
    assert nothing_came
    assert (row.node, row.client_ip, row.envelope.mail_from) == ("gateway.example", CLIENT, SENDER)
    assert body in kept
    assert [(found["author_domain"], found["state"], found["file"]) for found in listed] == [
        ("forged.example", "held", "complete")
    ]
    assert f"Subject: Test {row.message_id}" in shown.out
    assert "  caf\u00e9 xxx" in shown.out
    assert released.out == f"{row.event_id} released as {now.release_queue_id}\n"
    assert original(message) == kept
    assert (message.return_path, message.recipient) == (SENDER, f"u@{INSIDE}")
    assert now.release_queue_id in message.queue_ids
    assert after == before
    assert keeper.audited(row) == ["quarantine release"]
    assert f"orig_queue_id={row.event_id}" in keeper.gateway.postfix.log_path.read_text()


@pytest.fixture
def dead_address(keeper: Keeper) -> Iterator[str]:
    """Postfix takes mail for it, and the server that it is handed to does not."""
    main_cf = keeper.gateway.postfix.configuration_directory / "main.cf"
    before = main_cf.read_text()
    address = f"dead@{INSIDE}"
    with sink({"RCPT": "550 5.1.1 gone"}) as server:
        there = f"smtp:[127.0.0.1]:{server.address[1]}"
        main_cf.write_text(f"{before}\ntransport_maps = inline:{{ {{ {address} = {there} }} }}\n")
        keeper.gateway.postfix.reload()
        yield address
    main_cf.write_text(before)
    keeper.gateway.postfix.reload()


def test_t25_the_forged_sender_hears_of_nothing(keeper: Keeper, dead_address: str) -> None:
    """Not of the quarantine, of a release, of a release to a dead address; only where the administrator asks for it."""
    outside = keeper.gateway.outside
    asking = ["NOTIFY=SUCCESS,FAILURE,DELAY"]
    held, dead = keeper.hold(rcpt_parameters=asking), keeper.hold(to=[dead_address], rcpt_parameters=asking)

    good = keeper.run("release", held.event_id)
    bounced = keeper.run("release", dead.event_id)
    refused = keeper.run("release", "--again", "--to", "nobody@[127.0.0.1]", held.event_id)
    keeper.delivered(held)
    keeper.await_empty_queue()

    log = keeper.gateway.postfix.log_path.read_text()
    queue_id = keeper.desk.find(dead.event_id).release_queue_id
    assert (good.status, bounced.status, refused.status) == (0, 0, 1)
    assert "5.1.1" in refused.err
    assert re.search(rf"{queue_id}: to=<{dead_address}>.* status=bounced", log)
    assert outside.messages() == ()

    keeper.run("release", "--again", "--original-notify", dead.event_id)
    [bounce] = outside.wait_until(lambda _: True, "the bounce", seconds=30)
    outside.clear()

    assert bounce.recipient == SENDER


def test_the_envelope_s_parameters_are_restored(keeper: Keeper) -> None:
    row = keeper.hold(
        mail_from="jos\u00e9@forged.example",
        to=[f"bj\u00f6rn@{INSIDE}"],
        body="gr\u00fc\u00dfe\r\n".encode(),
        mail_parameters=["SMTPUTF8", "BODY=8BITMIME", "RET=HDRS", "ENVID=QQ314159"],
        rcpt_parameters=["NOTIFY=SUCCESS", "ORCPT=rfc822;bj+C3+B6rn@old.example"],
    )

    keeper.run("release", "--original-notify", row.event_id)

    [message] = keeper.delivered(row)
    [notice] = keeper.gateway.outside.wait_until(lambda _: True, "the notification of success")
    keeper.gateway.outside.clear()
    assert (message.return_path, message.recipient) == ("jos\u00e9@forged.example", f"bj\u00f6rn@{INSIDE}")
    assert b"Original-Envelope-Id: QQ314159" in notice.octets
    assert b"bj+C3+B6rn@old.example" in notice.octets or b"old.example" in notice.octets
    assert "gr\u00fc\u00dfe".encode() not in notice.octets  # RET=HDRS


def test_a_message_goes_to_all_its_recipients_or_to_those_named_instead(keeper: Keeper) -> None:
    row = keeper.hold(to=[f"a@{INSIDE}", f'"b b"@{INSIDE}'])

    other = keeper.run("release", "--to", f"c@{INSIDE}", row.event_id)
    first = {message.recipient for message in keeper.delivered(row)}
    once_more = keeper.run("release", row.event_id)
    again = keeper.run("release", "--again", row.event_id)

    everyone = {message.recipient for message in keeper.delivered(row, 3)}
    assert (other.status, once_more.status, again.status) == (0, 1, 0)
    assert "was released already" in once_more.err
    assert first == {f"c@{INSIDE}"}
    assert everyone == {f"a@{INSIDE}", f'"b b"@{INSIDE}', f"c@{INSIDE}"}


def test_a_release_with_exception_lets_the_next_such_message_through(keeper: Keeper) -> None:
    """And no other author's mail from there, and no other client's."""
    gateway = keeper.gateway
    client = "192.0.2.77"
    row = keeper.hold(client_ip=client)

    released = keeper.run(
        "release", "--except", "--until", "2999-01-31", "--comment", "newsletter", row.event_id
    )
    gateway.await_revision(keeper.revision())
    following = keeper.send(client_ip=client)
    other = keeper.hold(client_ip="192.0.2.78")

    assert released.status == 0
    assert f"{client} mode=evaluate until=2999-01-31 owner=" in released.out
    assert "from=forged.example # newsletter" in released.out
    [message] = gateway.inside.wait_until(lambda m: m.message_id == following, "the next message")
    assert "dmarc=fail" in message.texts("Authentication-Results")[0]
    assert keeper.state(other) is HoldState.HELD
    gateway.save(verification__exceptions=[])


def test_s27_deleted_messages_come_back_and_each_act_is_audited(keeper: Keeper) -> None:
    one, two = keeper.hold(), keeper.hold()

    deleted = keeper.run("delete", one.event_id, two.event_id)
    gone = {found["id"] for found in keeper.run("list", "--json").documents}
    refused = keeper.run("release", one.event_id)
    back = keeper.run("undelete", one.event_id)

    assert deleted.out.splitlines() == [f"{one.event_id} deleted", f"{two.event_id} deleted"]
    assert not gone & {one.event_id, two.event_id}
    assert (refused.status, "bring it back with undelete" in refused.err) == (1, True)
    assert back.out == f"{one.event_id} held again\n"
    assert keeper.audited(one) == ["quarantine undelete", "quarantine delete"]
    assert keeper.state(two) is HoldState.DELETED


def test_what_can_not_be_done_to_one_message_is_done_to_the_others(keeper: Keeper) -> None:
    row = keeper.hold()

    done = keeper.run("delete", "ffffffffffff", row.event_id)
    unread = keeper.run("delete", "not-an-id", row.event_id)
    documents = keeper.run("undelete", "--json", "ffffffffffff", row.event_id).documents

    assert done.status == 1
    assert done.out == f"{row.event_id} deleted\n"
    assert done.err == "ffffffffffff: there is no quarantined message ffffffffffff: it may have expired\n"
    assert unread.status == 2
    assert '"not-an-id" is not an ID' in unread.err
    assert documents[0]["id"] == "ffffffffffff"
    assert "it may have expired" in str(documents[0]["error"])
    assert documents[1] == {"id": row.event_id, "state": "held"}


def test_a_file_that_is_gone_or_cut_short_is_shown_as_such_and_never_released_half(keeper: Keeper) -> None:
    gone, short = keeper.hold(), keeper.hold(body=b"long enough " * 1000)
    folder = keeper.desk.files.directory
    next(folder.rglob(f"{gone.event_id}.eml")).unlink()
    os.truncate(next(folder.rglob(f"{short.event_id}.eml")), 500)

    listed = keeper.run("list").out
    shown = [keeper.run("show", row.event_id) for row in (gone, short)]
    released = keeper.run("release", gone.event_id, short.event_id)

    lines = {line[:12]: line for line in listed.splitlines()}
    assert "(the file is gone)" in lines[gone.event_id]
    assert "(the file was cut short)" in lines[short.event_id]
    assert [ended.status for ended in shown] == [1, 1]
    assert "the file of message" in shown[0].err
    assert "was cut short: 500 of" in shown[1].err
    assert (released.status, released.out, released.err.count("\n")) == (1, "", 2)
    assert {keeper.state(gone), keeper.state(short)} == {HoldState.HELD}
    keeper.await_empty_queue()
    assert not [
        m for m in keeper.gateway.inside.messages() if m.message_id in {gone.message_id, short.message_id}
    ]


def test_messages_are_found_by_what_is_known_of_them(keeper: Keeper) -> None:
    row = keeper.hold(client_ip="2001:db8::77", to=[f"Someone.Else@{INSIDE}"], header="X: y\r\n")
    keeper.run("delete", row.event_id)

    searches = [
        ("--client-ip", "2001:DB8:0::77"),
        ("--recipient", "someone.else@"),
        ("--message-id", row.message_id.strip("<>"), "--state", "deleted"),
        ("--subject", f"test {row.message_id}", "--author", "Forged.Example", "--sender", "victim"),
    ]
    found = [[each["id"] for each in keeper.run("search", "--json", *how).documents] for how in searches]
    none = keeper.run("search", "--client-ip", "2001:db8::77", "--state", "held")
    before = keeper.run("search", "--client-ip", "2001:db8::77", "--before", "2020-01-01")
    wrong = keeper.run("search", "--client-ip", "here")

    assert found == [[row.event_id]] * 4
    assert (none.out, before.out) == ("", "")
    assert (wrong.status, wrong.err) == (2, 'dmarcgate: "here" is not an IP address\n')


def test_the_pages_of_a_list_follow_each_other(keeper: Keeper) -> None:
    held = [keeper.hold(client_ip="192.0.2.90").event_id for _ in range(3)]

    first = keeper.run("search", "--client-ip", "192.0.2.90", "--limit", "2").out.splitlines()
    second = keeper.run("search", "--client-ip", "192.0.2.90", "--after", first[-1][:12]).out.splitlines()

    assert [line[:12] for line in first + second] == held[::-1]


def test_a_message_is_shown_octet_by_octet_or_as_a_document(keeper: Keeper) -> None:
    """T36: a hostile message steers no terminal."""
    row = keeper.hold(body=b"evil \x1b]0;title\x07 text\r\n")

    raw = keeper.run("show", "--raw", row.event_id)
    [document] = keeper.run("show", "--json", row.event_id).documents
    plain = keeper.run("show", row.event_id)

    assert raw.out.encode().endswith(b"evil \x1b]0;title\x07 text\n")  # line ends as Python reads them
    message = document["message"]
    assert isinstance(message, dict)
    assert message["texts"] == ["evil \ufffd]0;title\ufffd text\n"]
    assert "\x1b" not in plain.out


def test_s27_old_messages_are_purged_by_the_command_that_the_gateway_runs_itself(keeper: Keeper) -> None:
    """The number of days is a setting."""
    row = keeper.hold()
    with keeper.gateway.store.begin() as connection:
        aged = rows.change(connection, row, HoldState.DELETED, datetime.now(UTC) - timedelta(days=8))
        assert aged is not None

    [done] = keeper.run("expire", "--json").documents
    again = keeper.run("expire")

    assert (done["purged"], done["too_old"]) == (1, 0)
    assert not list(keeper.desk.files.directory.rglob(f"{row.event_id}.eml"))
    assert again.out.splitlines()[0] == "purged: 0"


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        pytest.param(
            ["release", "--until", "2999-01-01", "0" * 12], "add --except", id="an exception's day alone"
        ),
        pytest.param(["release", "--to", "nobody", "EVENT"], "is not a mail address", id="no address"),
        pytest.param(
            ["release", "--except", "--comment", "x" * 300, "EVENT"], "longer than 200", id="a long comment"
        ),
        pytest.param(["undelete", "EVENT"], "is not deleted, but held", id="not deleted"),
        pytest.param(["show", "0" * 12], "it may have expired", id="no such message"),
    ],
)
def test_bad_input_is_told_with_its_remedy_and_changes_nothing(
    keeper: Keeper, arguments: list[str], remedy: str
) -> None:
    row = keeper.hold()

    done = keeper.run(*[row.event_id if argument == "EVENT" else argument for argument in arguments])

    assert done.status in {1, 2}
    assert remedy in done.err
    assert done.err.count("\n") == 1
    assert keeper.state(row) is HoldState.HELD
