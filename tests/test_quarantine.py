"""Quarantined messages on disk, and their release through Postfix."""

import errno
import os
import socketserver
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.lab.mailbox import Mailbox
from appliance.lab.postfix import PostfixInstance
from appliance.mail.message import Envelope, Message, Recipient, split_message
from appliance.quarantine import (
    DamagedMessage,
    MissingMessage,
    Quarantine,
    QuarantineFull,
    ReleaseRefused,
    ReleaseUncertain,
    discard,
    release,
)
from appliance.store import audit
from appliance.store import quarantine as rows
from appliance.store.engine import Store
from appliance.store.quarantine import HoldState, QuarantineRow
from tests.postfix import config_below
from tests.store.samples import ENVELOPE, held, octets

EVENT_ID = "0123456789ab"
OCTETS = (
    b"Received: from mx.sender.example by gateway.example; Wed, 4 Mar 2026 10:20:30 +0000\r\n"
    b"From: Alice <alice@sender.example>\r\n"
    b"Subject: caf\xc3\xa9\r\n"
    b" folded\r\n"
    b"Message-ID: <1@sender.example>\r\n"
    b"\r\n"
    b".a line with a dot\r\n"
    b".\r\n"
    b"..two dots, caf\xe9, trailing space \r\n"
    b"\r\n"
    b"the end\r\n"
)


def message(raw: bytes = OCTETS, envelope: Envelope = ENVELOPE) -> Message:
    fields, body = split_message(raw)
    return Message(envelope, fields, body)


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    directory = tmp_path / "quarantine"
    directory.mkdir()
    return Quarantine(directory)


def files_below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


# ---- files -----------------------------------------------------------------------


def test_a_message_is_read_back_octet_by_octet(quarantine: Quarantine) -> None:
    digest = quarantine.write(EVENT_ID, message())

    assert quarantine.read(EVENT_ID, digest) == OCTETS


def test_files_and_folders_belong_to_the_group_of_the_services(
    quarantine: Quarantine, tmp_path: Path
) -> None:
    """T44: whatever the umask, the pages can read and delete what the filter wrote, and nobody else can."""
    previous = os.umask(0o077)
    try:
        quarantine.write(EVENT_ID, message())
    finally:
        os.umask(previous)

    modes = {
        str(path.relative_to(tmp_path / "quarantine")): stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "quarantine").rglob("*")
    }
    assert modes == {"01": 0o2770, "01/23": 0o2770, f"01/23/{EVENT_ID}.eml": 0o660}


def test_a_message_is_written_once(quarantine: Quarantine) -> None:
    digest = quarantine.write(EVENT_ID, message())

    with pytest.raises(FileExistsError):
        quarantine.write(EVENT_ID, message(b"Subject: other\r\n\r\n"))

    assert quarantine.read(EVENT_ID, digest) == OCTETS


def test_a_link_is_not_followed(quarantine: Quarantine, tmp_path: Path) -> None:
    quarantine.write("0123aaaaaaaa", message())
    target = tmp_path / "target"
    (tmp_path / "quarantine" / "01" / "23" / f"{EVENT_ID}.eml").symlink_to(target)

    with pytest.raises(FileExistsError):
        quarantine.write(EVENT_ID, message())

    assert not target.exists()


@pytest.mark.parametrize(
    "event_id", ["../../../../etc/passwd", "0123456789AB", "0123456789abc", "", "01/3456789ab"]
)
def test_T37_only_an_event_id_names_a_file(quarantine: Quarantine, event_id: str) -> None:  # noqa: N802
    with pytest.raises(ValueError, match="12 lower-case hexadecimal digits"):
        quarantine.write(event_id, message())
    with pytest.raises(MissingMessage):
        quarantine.read(event_id, "0" * 64)


def test_a_file_that_is_gone_is_missing(quarantine: Quarantine) -> None:
    digest = quarantine.write(EVENT_ID, message())
    quarantine.delete(EVENT_ID)
    quarantine.delete(EVENT_ID)

    with pytest.raises(MissingMessage, match="is gone"):
        quarantine.read(EVENT_ID, digest)


def test_a_file_that_was_changed_is_damaged(quarantine: Quarantine, tmp_path: Path) -> None:
    digest = quarantine.write(EVENT_ID, message())
    [file] = files_below(tmp_path / "quarantine")
    file.write_bytes(OCTETS[:-1] + b"!")

    with pytest.raises(DamagedMessage):
        quarantine.read(EVENT_ID, digest)


def test_a_folder_that_can_not_be_written_is_an_os_error(tmp_path: Path) -> None:
    """The filter answers 451 to any OSError."""
    (tmp_path / "quarantine").write_text("a file")

    with pytest.raises(OSError, match="quarantine") as error:
        Quarantine(tmp_path / "quarantine").write(EVENT_ID, message())

    assert error.value.errno == errno.ENOTDIR


def test_F7_a_full_disk_leaves_no_file_behind(tmp_path: Path) -> None:  # noqa: N802
    """In a mount name space of its own, which ends with the program."""
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("only root may mount")
    program = (
        "import sys; from pathlib import Path\n"
        "from appliance.quarantine import Quarantine, QuarantineFull\n"
        "from tests.test_quarantine import message\n"
        "quarantine = Quarantine(Path(sys.argv[1]))\n"
        "small, large = message(), message(b'Subject: x\\r\\n\\r\\n' + b'x' * 500_000)\n"
        "try:\n"
        "    quarantine.write('aaaaaaaaaaaa', large)\n"
        "except QuarantineFull as error:\n"
        "    print(error.strerror)\n"
        "print(len([p for p in Path(sys.argv[1]).rglob('*') if p.is_file()]))\n"
        "quarantine.write('bbbbbbbbbbbb', small)\n"
    )
    mounted = 'mount -t tmpfs -o size=128k none "$1" && exec "$2" -c "$3" "$1"'

    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted, "sh", str(tmp_path), sys.executable, program],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )

    assert issubclass(QuarantineFull, OSError)
    assert done.stdout.splitlines() == ["no space is left for quarantined mail", "0"]


# ---- release ---------------------------------------------------------------------


@pytest.fixture
def store(sqlite_store: Store) -> Store:
    return sqlite_store


@pytest.fixture(scope="module")
def postfix(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> Iterator[PostfixInstance]:
    """Its filter doesn't run: mail that was to be filtered could not pass."""
    config = config_below(tmp_path_factory.mktemp("postfix"))
    with PostfixInstance(replace(config, message_size_limit_octets=100_000)) as instance:
        yield instance


@pytest.fixture
def listener(postfix: PostfixInstance) -> Iterator[tuple[str, int]]:
    yield "127.0.0.1", postfix.config.release_port
    for maildir in (postfix.inside_maildir, postfix.outside_maildir):
        Mailbox(maildir).clear()


def hold(
    store: Store, quarantine: Quarantine, raw: bytes = OCTETS, envelope: Envelope = ENVELOPE
) -> QuarantineRow:
    digest = quarantine.write(EVENT_ID, message(raw, envelope))
    row = held(EVENT_ID, envelope, digest)
    with store.begin() as connection:
        rows.add(connection, row)
    return row


def state(store: Store) -> HoldState:
    with store.read() as connection:
        row = rows.get(connection, EVENT_ID)
    assert row is not None
    return row.state


def audited(store: Store) -> list[tuple[str, str, str, str]]:
    with store.read() as connection:
        return [(e.actor, e.action, e.subject, e.detail) for e in audit.recent(connection)]


@pytest.mark.system
def test_S27_a_released_message_is_delivered_as_it_came_with_one_trace_field(  # noqa: N802
    store: Store, quarantine: Quarantine, postfix: PostfixInstance, listener: tuple[str, int]
) -> None:
    hold(store, quarantine)

    queue_id = release(store, quarantine, EVENT_ID, smtp=listener, actor="ada")

    [delivered] = Mailbox(postfix.inside_maildir).wait_until(lambda _: True, "the message")
    added, trace, original = delivered.octets.partition(b"X-DMARC-Gate-Released: 0123456789ab; ")
    assert (delivered.return_path, delivered.recipient) == ("alice@sender.example", "bob@inside.example")
    assert added.startswith(b"Received: ")
    assert trace
    assert original.partition(b"\r\n")[2] == OCTETS
    assert delivered.queue_ids[0] == queue_id
    assert state(store) is HoldState.RELEASED
    assert audited(store) == [("ada", "quarantine release", EVENT_ID, f"as {queue_id} to bob@inside.example")]


@pytest.mark.system
def test_T25_nobody_is_notified_of_a_released_message(  # noqa: N802
    store: Store, quarantine: Quarantine, postfix: PostfixInstance, listener: tuple[str, int]
) -> None:
    """The original asked for a notification on success; its sender may be forged."""
    assert "NOTIFY=SUCCESS,FAILURE" in ENVELOPE.recipients[0].parameters
    hold(store, quarantine)

    queue_id = release(store, quarantine, EVENT_ID, smtp=listener, actor="ada")

    Mailbox(postfix.inside_maildir).wait_for(queue_id=queue_id)
    while postfix.queue_length():
        time.sleep(0.02)
    assert Mailbox(postfix.outside_maildir).messages() == ()


@pytest.mark.system
def test_a_message_goes_to_all_its_recipients_or_to_those_that_are_named_instead(
    store: Store, quarantine: Quarantine, postfix: PostfixInstance, listener: tuple[str, int]
) -> None:
    both = (Recipient("bob@inside.example"), Recipient('"b o b"@inside.example'))
    hold(store, quarantine, envelope=replace(ENVELOPE, mail_from="", recipients=both))

    release(store, quarantine, EVENT_ID, smtp=listener, actor="ada", recipients=["carol@inside.example"])

    [delivered] = Mailbox(postfix.inside_maildir).wait_until(lambda _: True, "the message")
    assert (delivered.return_path, delivered.recipient) == ("", "carol@inside.example")


@pytest.mark.system
def test_addresses_outside_ascii_are_released_with_SMTPUTF8(  # noqa: N802
    store: Store, quarantine: Quarantine, postfix: PostfixInstance, listener: tuple[str, int]
) -> None:
    envelope = replace(
        ENVELOPE,
        mail_from="jos\u00e9@sender.example",
        recipients=(Recipient("bj\u00f6rn@inside.example"),),
        mail_parameters=("SMTPUTF8", "BODY=8BITMIME"),
    )
    hold(store, quarantine, envelope=envelope)

    release(store, quarantine, EVENT_ID, smtp=listener, actor="ada")

    [delivered] = Mailbox(postfix.inside_maildir).wait_until(lambda _: True, "the message")
    assert delivered.return_path == "jos\u00e9@sender.example"
    assert delivered.recipient == "bj\u00f6rn@inside.example"


@pytest.mark.system
def test_a_message_is_released_once(
    store: Store, quarantine: Quarantine, postfix: PostfixInstance, listener: tuple[str, int]
) -> None:
    hold(store, quarantine)
    queue_id = release(store, quarantine, EVENT_ID, smtp=listener, actor="ada")
    Mailbox(postfix.inside_maildir).wait_for(queue_id=queue_id)

    with pytest.raises(ReleaseRefused, match=f"was released already, as {queue_id}"):
        release(store, quarantine, EVENT_ID, smtp=listener, actor="grace", again=True)

    assert len(Mailbox(postfix.inside_maildir).messages()) == 1


@pytest.mark.system
def test_a_message_that_postfix_refuses_stays_held(
    store: Store, quarantine: Quarantine, listener: tuple[str, int]
) -> None:
    """Here it is larger than Postfix takes."""
    hold(store, quarantine, b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 2000)

    with pytest.raises(ReleaseRefused, match=r"Postfix doesn't take the message: 552 5.3.4"):
        release(store, quarantine, EVENT_ID, smtp=listener, actor="ada")

    assert state(store) is HoldState.HELD
    assert audited(store) == []


def test_without_postfix_the_message_stays_held(
    store: Store, quarantine: Quarantine, free_port: Callable[[], int]
) -> None:
    hold(store, quarantine)
    port = free_port()

    with pytest.raises(ReleaseRefused, match=rf"Postfix can't be reached on 127.0.0.1:{port}: .*refused"):
        release(store, quarantine, EVENT_ID, smtp=("127.0.0.1", port), actor="ada")

    assert state(store) is HoldState.HELD


class Conversation(socketserver.StreamRequestHandler):
    """Speaks SMTP by the server's script: a reply to each verb, ``None`` closes the connection."""

    def handle(self) -> None:
        server = self.server
        assert isinstance(server, Sink)
        self.wfile.write(b"220 sink\r\n")
        in_data = False
        while line := self.rfile.readline():
            if in_data and line != b".\r\n":
                continue
            verb = "." if in_data else line.split()[0].decode().upper()
            server.heard.append(line.strip().decode("utf-8", "replace"))
            reply = server.script.get(verb, "250 ok")
            if reply is None:
                return
            in_data = reply.startswith("354")
            self.wfile.write(reply.encode() + b"\r\n")


class Sink(socketserver.TCPServer):
    allow_reuse_address = True

    def __init__(self, script: dict[str, str | None]) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.script: dict[str, str | None] = {"DATA": "354 go on", "QUIT": "221 bye", **script}
        self.heard: list[str] = []

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.server_address[:2]
        return str(host), int(port)


@contextmanager
def sink(script: dict[str, str | None]) -> Iterator[Sink]:
    with Sink(script) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param({"MAIL": "451 4.3.0 later"}, id="MAIL refused"),
        pytest.param({"RCPT": "550 5.1.1 nobody"}, id="RCPT refused"),
        pytest.param({"DATA": "451 4.3.0 later"}, id="DATA refused"),
        pytest.param({".": "451 4.3.0 later"}, id="message deferred"),
        pytest.param({"EHLO": None}, id="closed at EHLO"),
        pytest.param({"RCPT": None}, id="closed at RCPT"),
    ],
)
def test_a_message_that_was_surely_not_taken_can_be_released_again(
    store: Store, quarantine: Quarantine, script: dict[str, str | None]
) -> None:
    hold(store, quarantine)

    with sink(script) as refusing, pytest.raises(ReleaseRefused):
        release(store, quarantine, EVENT_ID, smtp=refusing.address, actor="ada")
    with sink({".": "250 2.0.0 Ok: queued as 4ZqK1"}) as taking:
        queue_id = release(store, quarantine, EVENT_ID, smtp=taking.address, actor="ada")

    assert queue_id == "4ZqK1"
    assert state(store) is HoldState.RELEASED


def test_a_message_that_may_have_been_taken_is_not_released_again_by_itself(
    store: Store, quarantine: Quarantine
) -> None:
    hold(store, quarantine)

    with sink({".": None}) as breaking, pytest.raises(ReleaseUncertain):
        release(store, quarantine, EVENT_ID, smtp=breaking.address, actor="ada")

    assert state(store) is HoldState.RELEASING
    with sink({".": "250 2.0.0 Ok: queued as 4ZqK2"}) as taking:
        with pytest.raises(ReleaseRefused, match="an earlier release of message 0123456789ab broke off"):
            release(store, quarantine, EVENT_ID, smtp=taking.address, actor="ada")
        assert release(store, quarantine, EVENT_ID, smtp=taking.address, actor="ada", again=True) == "4ZqK2"


def test_what_the_server_does_not_offer_is_not_used(store: Store, quarantine: Quarantine) -> None:
    hold(store, quarantine)

    with sink({"EHLO": "250-sink\r\n250 SIZE"}) as plain:
        release(store, quarantine, EVENT_ID, smtp=plain.address, actor="ada")

    assert plain.heard[1:3] == ["MAIL FROM:<alice@sender.example>", "RCPT TO:<bob@inside.example>"]


def test_the_original_recipient_is_named_and_nobody_is_notified(store: Store, quarantine: Quarantine) -> None:
    hold(store, quarantine)

    with sink({"EHLO": "250-sink\r\n250-8BITMIME\r\n250 DSN"}) as offering:
        release(store, quarantine, EVENT_ID, smtp=offering.address, actor="ada")

    assert offering.heard[1:3] == [
        "MAIL FROM:<alice@sender.example> BODY=8BITMIME",
        "RCPT TO:<bob@inside.example> NOTIFY=NEVER ORCPT=rfc822;bob@old.example",
    ]


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("bob", id="no domain"),
        pytest.param("bob@inside.example> ORCPT=x", id="a parameter"),
        pytest.param("bob@inside.example\r\nDATA", id="a command"),
    ],
)
def test_a_recipient_that_is_no_address_is_refused(
    store: Store, quarantine: Quarantine, address: str
) -> None:
    hold(store, quarantine)

    with pytest.raises(ReleaseRefused, match="is not a mail address"):
        release(store, quarantine, EVENT_ID, smtp=("127.0.0.1", 1), actor="ada", recipients=[address])

    assert state(store) is HoldState.HELD


def test_no_command_can_be_smuggled_in_by_an_envelope(store: Store, quarantine: Quarantine) -> None:
    envelope = replace(ENVELOPE, mail_from=octets(b"a@b.example>\r\nRCPT TO:<eve@x.example"))
    hold(store, quarantine, envelope=envelope)

    with sink({}) as server, pytest.raises(ReleaseRefused, match="holds a line break"):
        release(store, quarantine, EVENT_ID, smtp=server.address, actor="ada")

    assert len(server.heard) == 1


def test_a_message_whose_file_is_gone_or_damaged_stays_as_it_is(
    store: Store, quarantine: Quarantine, tmp_path: Path
) -> None:
    hold(store, quarantine)
    [file] = files_below(tmp_path / "quarantine")

    file.write_bytes(b"something else")
    with pytest.raises(DamagedMessage):
        release(store, quarantine, EVENT_ID, smtp=("127.0.0.1", 1), actor="ada")
    file.unlink()
    with pytest.raises(MissingMessage):
        release(store, quarantine, EVENT_ID, smtp=("127.0.0.1", 1), actor="ada")

    assert state(store) is HoldState.HELD


def test_a_message_that_was_never_held_is_missing(store: Store, quarantine: Quarantine) -> None:
    with pytest.raises(MissingMessage, match="there is no quarantined message ffffffffffff"):
        release(store, quarantine, "ffffffffffff", smtp=("127.0.0.1", 1), actor="ada")
    with pytest.raises(MissingMessage):
        discard(store, quarantine, "ffffffffffff", actor="ada")


def test_a_deleted_message_is_gone_for_good_and_the_act_is_noted(
    store: Store, quarantine: Quarantine, tmp_path: Path
) -> None:
    hold(store, quarantine)

    discard(store, quarantine, EVENT_ID, actor="ada")

    assert files_below(tmp_path / "quarantine") == []
    assert state(store) is HoldState.DELETED
    assert audited(store) == [("ada", "quarantine delete", EVENT_ID, "quarantine")]
    with pytest.raises(ReleaseRefused, match="was deleted"):
        release(store, quarantine, EVENT_ID, smtp=("127.0.0.1", 1), actor="ada")
    with pytest.raises(ReleaseRefused, match="was deleted"):
        discard(store, quarantine, EVENT_ID, actor="ada")
