"""Reading a Maildir as Postfix's virtual delivery agent writes it."""

import threading
from pathlib import Path

import pytest

from appliance.lab.mailbox import Mailbox, NotDelivered

DELIVERED = b"""Return-Path: <a@sender.example>
X-Original-To: u@inside.example
Delivered-To: u@inside.example
X-Seen: yes
Received: from client.example (unknown [192.0.2.1])
\tby gateway.example (Postfix) with ESMTP id 4jY7k06Vl1zJPnY
\tfor <u@inside.example>; Mon, 23 Nov 2026 14:34:16 +0000 (UTC)
Message-ID: <one@sender.example>

Hello.
"""


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    (tmp_path / "new").mkdir()
    return tmp_path


def test_a_message_is_read_without_what_delivery_put_on_top(maildir: Path) -> None:
    (maildir / "new" / "1").write_bytes(DELIVERED)

    [message] = Mailbox(maildir).messages()

    assert (message.return_path, message.recipient) == ("a@sender.example", "u@inside.example")
    assert message.octets.startswith(b"X-Seen: yes\r\nReceived: ")
    assert message.body == b"Hello.\r\n"
    assert message.message_id == "<one@sender.example>"
    assert message.queue_ids == ("4jY7k06Vl1zJPnY",)


def test_a_bounce_has_the_null_sender(maildir: Path) -> None:
    (maildir / "new" / "1").write_bytes(DELIVERED.replace(b"<a@sender.example>", b"<>", 1))

    assert Mailbox(maildir).messages()[0].return_path == ""


def test_a_maildir_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    assert Mailbox(tmp_path / "later").messages() == ()


@pytest.mark.parametrize(
    "wanted",
    [
        {"message_id": "one@sender.example"},
        {"message_id": "<one@sender.example>"},
        {"queue_id": "4jY7k06Vl1zJPnY"},
    ],
)
def test_a_message_is_waited_for(maildir: Path, wanted: dict[str, str]) -> None:
    late = threading.Timer(0.1, lambda: (maildir / "new" / "1").write_bytes(DELIVERED))
    late.start()

    message = Mailbox(maildir).wait_for(message_id=wanted.get("message_id"), queue_id=wanted.get("queue_id"))

    assert message.path.name == "1"


def test_what_does_not_arrive_is_named(maildir: Path) -> None:
    (maildir / "new" / "1").write_bytes(DELIVERED)

    with pytest.raises(
        NotDelivered, match=r"message other did not reach .*: 0 of 1 came, 1 messages are there"
    ):
        Mailbox(maildir).wait_for(message_id="other", seconds=0.1)


def test_messages_come_in_the_order_of_their_delivery_and_can_be_cleared(maildir: Path) -> None:
    mailbox = Mailbox(maildir)
    for name in ("z", "a"):
        (maildir / "new" / name).write_bytes(DELIVERED)

    assert [message.path.name for message in mailbox.messages()] == ["z", "a"]
    mailbox.clear()
    assert mailbox.messages() == ()
