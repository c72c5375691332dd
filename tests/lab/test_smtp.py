"""The SMTP client, against a real Postfix."""

import pytest

from appliance.lab.mailbox import Mailbox
from appliance.lab.postfix import PostfixInstance
from appliance.lab.smtp import RefusedError, SmtpClient, Stage, send_message

pytestmark = pytest.mark.system

LINES = b"Subject: dots\r\n\r\n.\r\n..two\r\n .no\r\nend"


@pytest.mark.parametrize("octets", [LINES, LINES + b"\r\n", b"Subject: empty\r\n\r\n"])
def test_a_message_arrives_octet_by_octet(postfix: PostfixInstance, octets: bytes) -> None:
    reply = send_message(
        postfix.config.smtp_port, mail_from="a@sender.example", rcpt_to=["u@inside.example"], octets=octets
    )

    delivered = Mailbox(postfix.inside_maildir).wait_for(queue_id=reply.queue_id)
    assert delivered.octets.endswith(b"\r\n" + octets.removesuffix(b"\r\n") + b"\r\n")


def test_a_connection_carries_several_messages_also_after_a_refused_one(postfix: PostfixInstance) -> None:
    with SmtpClient(postfix.config.smtp_port, client_ip="192.0.2.1") as client:
        replies = [
            client.send(mail_from="a@sender.example", rcpt_to=rcpt_to, octets=LINES)
            for rcpt_to in (["u@inside.example"], ["u@elsewhere.example"], ["v@inside.example"])
        ]

    assert [(reply.stage, reply.code) for reply in replies] == [
        (Stage.MESSAGE, 250),
        (Stage.RCPT, 554),
        (Stage.MESSAGE, 250),
    ]
    assert len({reply.queue_id for reply in replies}) == 3


def test_a_refused_recipient_does_not_keep_the_message_from_the_others(postfix: PostfixInstance) -> None:
    reply = send_message(
        postfix.config.smtp_port,
        mail_from="a@sender.example",
        rcpt_to=["u@elsewhere.example", "u@inside.example"],
        octets=LINES,
    )

    assert reply.accepted
    [(address, code, text)] = reply.refused_recipients
    assert (address, code) == ("u@elsewhere.example", 554)
    assert "Relay access denied" in text


def test_parameters_of_the_envelope_reach_the_server(postfix: PostfixInstance) -> None:
    reply = send_message(
        postfix.config.smtp_port,
        mail_from="a@sender.example",
        rcpt_to=["u@inside.example"],
        octets=LINES,
        mail_parameters=["SIZE=99999999999"],
    )

    assert (reply.stage, reply.code) == (Stage.MAIL, 552)


def test_the_null_sender_and_utf8_addresses_are_taken(postfix: PostfixInstance) -> None:
    reply = send_message(
        postfix.config.smtp_port,
        mail_from="",
        rcpt_to=["ü@inside.example"],
        octets=LINES,
        mail_parameters=["SMTPUTF8"],
    )

    delivered = Mailbox(postfix.inside_maildir).wait_for(queue_id=reply.queue_id)
    assert (delivered.return_path, delivered.recipient) == ("", "ü@inside.example")


def test_a_greeting_that_is_refused_is_an_error_of_the_connection(postfix: PostfixInstance) -> None:
    with (
        pytest.raises(RefusedError, match="xclient: 5"),
        SmtpClient(postfix.config.report_port, client_ip="192.0.2.1"),
    ):
        pass
