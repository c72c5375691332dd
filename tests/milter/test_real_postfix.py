"""The milter protocol against a real Postfix: what it sends, and what it makes of our replies."""

import contextlib
import smtplib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

import pytest

from appliance.lab.mailbox import DeliveredMessage, Mailbox
from appliance.lab.postfix import PostfixInstance
from appliance.mail.message import HeaderField, Message, Recipient
from appliance.milter.connection import Closed, MessageReceived, MilterConnection
from appliance.milter.replies import Accept, Discard, Refuse, Reply
from tests.postfix import config_below, listening_at

pytestmark = pytest.mark.system

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

OURS = """
# The filter must get the macros it asks for, whatever is set here.
milter_data_macros =
milter_end_of_data_macros =
"""


@dataclass
class FilterConnection:
    """One connection that Postfix made: every octet it sent, and every octet it got."""

    received: bytes = b""
    sent: bytes = b""
    ended: threading.Event = field(default_factory=threading.Event)


@dataclass
class Filter:
    """A filter that keeps what it gets and answers *verdict* of it."""

    verdict: Callable[[Message], Reply] = field(default=lambda _message: Accept())
    messages: list[Message] = field(default_factory=list)
    connections: list[FilterConnection] = field(default_factory=list)
    trouble: list[BaseException] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connected, _ = listener.accept()
            except OSError:
                return  # closed at the end of the tests
            threading.Thread(target=self._answer, args=(connected,), daemon=True).start()

    def _answer(self, connected: socket.socket) -> None:
        log = FilterConnection()
        self.connections.append(log)
        connection = MilterConnection()
        try:
            with connected:
                while data := connected.recv(65536):
                    log.received += data
                    for event in connection.receive(data, NOW):
                        match event:
                            case MessageReceived(message):
                                self.messages.append(message)
                                connection.reply(self.verdict(message))
                            case Closed():
                                return
                    output = connection.data_to_send()
                    log.sent += output
                    connected.sendall(output)
        except BaseException as trouble:
            self.trouble.append(trouble)
            raise
        finally:
            log.ended.set()


@dataclass(frozen=True)
class Sent:
    """What Postfix answered to a message, and where it would deliver it."""

    code: int
    text: str
    recipient: str
    mailbox: Mailbox

    def delivered(self) -> bytes:
        """The message, with CR LF, without what the delivery agent put above Postfix's own fields."""
        [message] = self.mailbox.wait_until(self._is_it, f"mail to {self.recipient}", seconds=20)
        assert message.return_path == "a@example.org"
        return message.octets

    @property
    def is_delivered(self) -> bool:
        return any(self._is_it(message) for message in self.mailbox.messages())

    def _is_it(self, message: DeliveredMessage) -> bool:
        return message.recipient == self.recipient


@dataclass(frozen=True)
class Postfix:
    port: int
    mailbox: Mailbox
    numbers: Iterator[int] = field(default_factory=count)

    @contextlib.contextmanager
    def client(self, xclient: str = "") -> Iterator[smtplib.SMTP]:
        with smtplib.SMTP("127.0.0.1", self.port, local_hostname="client.example", timeout=30) as client:
            client.ehlo()
            if xclient:
                code, text = client.docmd("XCLIENT", xclient)
                assert code == 220, text
                client.ehlo()
            yield client

    def deliver(self, octets: bytes) -> Sent:
        """Send *octets* as they are, to a recipient of their own."""
        recipient = f"r{next(self.numbers)}@dest.test"
        with self.client() as client:
            code, text = send(client, octets, "<a@example.org>", f"<{recipient}>")
        return Sent(code, text, recipient, self.mailbox)


def send(client: smtplib.SMTP, octets: bytes, mail_from: str, *rcpt_to: str) -> tuple[int, str]:
    assert client.docmd("MAIL", f"FROM:{mail_from}") == (250, b"2.1.0 Ok")
    for rcpt in rcpt_to:
        assert client.docmd("RCPT", f"TO:{rcpt}") == (250, b"2.1.5 Ok")
    code, text = client.data(octets)
    return code, text.decode()


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> PostfixInstance:
    """The product's Postfix, written and not yet started."""
    written = PostfixInstance(config_below(tmp_path_factory.mktemp("postfix"), "dest.test"))
    written.write()
    with (written.configuration_directory / "main.cf").open("a") as main_cf:
        main_cf.write(OURS)
        if default := written.programs.parameters.get("non_empty_end_of_header_action"):
            # From Postfix 3.10 on ours is to refuse what the filter has to understand on any other.
            main_cf.write(f"non_empty_end_of_header_action = {default}\n")
    return written


@pytest.fixture(scope="module")
def running_filter(instance: PostfixInstance) -> Iterator[Filter]:
    with listening_at(instance.filter_socket) as listener:
        running = Filter()
        thread = threading.Thread(target=running.serve, args=(listener,), daemon=True)
        thread.start()
        yield running
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.fixture(scope="module")
def postfix(instance: PostfixInstance, running_filter: Filter) -> Iterator[Postfix]:
    instance.start()
    try:
        yield Postfix(instance.config.smtp_port, Mailbox(instance.inside_maildir))
    finally:
        instance.stop()


@pytest.fixture
def milter(running_filter: Filter) -> Iterator[Filter]:
    running_filter.verdict = lambda _message: Accept()
    running_filter.messages.clear()
    running_filter.connections.clear()
    yield running_filter
    assert running_filter.trouble == []


RECEIVED = b"Received: from client.example"


def test_a_message_comes_octet_by_octet_as_it_was_sent(postfix: Postfix, milter: Filter) -> None:
    """DKIM's simple canonicalization needs every space, tab and fold."""
    header = (
        b"From: a@example.org\r\n"
        b"Subject:no space\r\n"
        b"X-Two:  spaces \r\n"
        b"X-Tab:\ttab\t\r\n"
        b"X-Folded:\r\n  at once\r\n\tand again\r\n"
        b"X-Empty:\r\n"
        b"X-Space: \r\n"
        b"x-cAsE: \xe4\xff\r\n"
        b"Message-ID: <1@example.org>\r\n"
        b"Date: Fri, 2 Jan 2026 03:04:05 +0000\r\n"
    )
    body = b"  one\t \r\n\r\n.two\r\n\xff\r\n\r\n\r\n"

    sent = postfix.deliver(header + b"\r\n" + body)

    [message] = milter.messages
    assert message.header_octets == header
    assert message.body == body
    assert sent.delivered().endswith(header + b"\r\n" + body)


def test_a_body_of_many_chunks_is_whole(postfix: Postfix, milter: Filter) -> None:
    body = b"".join(b"%07d %s\r\n" % (number, b"x" * 90) for number in range(5000))

    sent = postfix.deliver(b"From: a@example.org\r\n\r\n" + body)

    assert milter.messages[0].body == body
    assert sent.delivered().endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize(
    ("octets", "found", "body"),
    [
        pytest.param(b"From: a@example.org\r\n", [(b"From", b" a@example.org")], b"", id="no body"),
        pytest.param(b" From: x\r\nSubject: y\r\n", [], b" From: x\r\nSubject: y\r\n", id="A9 space first"),
        pytest.param(b"", [], b"", id="nothing"),
        pytest.param(
            b"X:\r\nFrom : a@b\r\n", [(b"X", b""), (b"From", b" a@b")], b"", id="A10 space before the colon"
        ),
    ],
)
def test_an_odd_message_is_received_as_postfix_sees_it(
    postfix: Postfix, milter: Filter, octets: bytes, found: list[tuple[bytes, bytes]], body: bytes
) -> None:
    """T3."""
    sent = postfix.deliver(octets)

    [message] = milter.messages
    assert ([(field.name, field.value) for field in message.fields], message.body) == (found, body)
    assert sent.code == 250


def test_an_inserted_field_stands_above_postfix_s_own_received_field(
    postfix: Postfix, milter: Filter
) -> None:
    results = HeaderField(
        b"Authentication-Results", b" mx.dest.test;\r\n\tspf=pass smtp.mailfrom=example.org"
    )
    second = HeaderField(b"X-Second", b"no space")
    milter.verdict = lambda _message: Accept(insert=(results, second))

    delivered = postfix.deliver(b"From: a@example.org\r\n\r\nbody\r\n").delivered()

    assert delivered.startswith(results.octets + b"\r\n" + second.octets + b"\r\n" + RECEIVED)
    assert delivered.endswith(b"\r\nFrom: a@example.org\r\n\r\nbody\r\n")


def test_forged_fields_are_deleted_wherever_they_stand(postfix: Postfix, milter: Filter) -> None:
    """T7: eight fields of one name, interleaved with others; our own new one stays."""
    keep = b"".join(b"X-%d: kept\r\nAUTHENTICATION-results: other.example; %d\r\n" % (n, n) for n in range(4))
    forged = b"Authentication-Results: mx.dest.test; dmarc=pass\r\n"
    kept = keep.splitlines(keepends=True)
    header = forged + kept[0] + forged + b"".join(kept[1:5]) + forged * 2 + b"".join(kept[5:]) + forged * 4
    ours = HeaderField(b"Authentication-Results", b" mx.dest.test; dmarc=fail")
    milter.verdict = lambda message: Accept(
        delete=tuple(at for at, field in enumerate(message.fields) if b"dmarc=pass" in field.value),
        insert=(ours,),
    )

    delivered = postfix.deliver(header + b"\r\nbody\r\n").delivered()

    assert delivered.startswith(ours.octets + b"\r\n" + RECEIVED)
    assert delivered.endswith(b"(UTC)\r\n" + keep + b"\r\nbody\r\n")


def test_a_received_field_of_others_is_deleted_and_postfix_s_own_stays(
    postfix: Postfix, milter: Filter
) -> None:
    ours = HeaderField(b"X-Ours", b" first")
    milter.verdict = lambda _message: Accept(delete=(0,), insert=(ours,))

    delivered = postfix.deliver(
        b"Received: from forged\r\nReceived: from true\r\nFrom: a@example.org\r\n\r\n"
    ).delivered()

    assert delivered.startswith(ours.octets + b"\r\n" + RECEIVED)
    assert delivered.endswith(b"(UTC)\r\nReceived: from true\r\nFrom: a@example.org\r\n\r\n")


@pytest.mark.parametrize(
    "smtp_reply",
    [
        "550 5.7.26 Rejected by the DMARC policy of example.org (4ZqK1)",
        "451 4.7.1 Try again later",
        "550 5.7.1 100% sure, 50%% not, %s",
    ],
)
def test_a_refusal_reaches_the_client_after_the_data(
    postfix: Postfix, milter: Filter, smtp_reply: str
) -> None:
    milter.verdict = lambda _message: Refuse(smtp_reply)

    sent = postfix.deliver(b"From: a@example.org\r\n\r\n")

    assert f"{sent.code} {sent.text}" == smtp_reply


def test_a_discarded_message_is_taken_and_delivered_to_nobody(postfix: Postfix, milter: Filter) -> None:
    milter.verdict = lambda message: Discard() if message.body else Accept()

    discarded = postfix.deliver(b"From: a@example.org\r\n\r\nbody\r\n")

    assert discarded.code == 250
    assert postfix.deliver(b"From: a@example.org\r\n").delivered()
    assert not discarded.is_delivered


def test_the_envelope_comes_with_its_parameters(postfix: Postfix, milter: Filter) -> None:
    with postfix.client() as client:
        send(
            client,
            b"From: a@example.org\r\n\r\n",
            "<a@example.org> SIZE=99 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ314159",
            "<b@dest.test> NOTIFY=NEVER ORCPT=rfc822;bob+2B@other.example",
            "<c@dest.test>",
        )

    [message] = milter.messages
    assert message.envelope.mail_from == "a@example.org"
    assert message.envelope.mail_parameters == (
        "SIZE=99",
        "BODY=8BITMIME",
        "SMTPUTF8",
        "RET=HDRS",
        "ENVID=QQ314159",
    )
    assert message.envelope.recipients == (
        Recipient("b@dest.test", ("NOTIFY=NEVER", "ORCPT=rfc822;bob+2B@other.example")),
        Recipient("c@dest.test"),
    )
    assert message.envelope.authenticated_as is None


@pytest.mark.parametrize(
    ("xclient", "ip", "name"),
    [
        pytest.param(
            "NAME=mail.example.org ADDR=192.0.2.7 PORT=2525", "192.0.2.7", "mail.example.org", id="IPv4"
        ),
        pytest.param("NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::7", "2001:db8::7", "[2001:db8::7]", id="IPv6"),
    ],
)
def test_the_client_is_the_one_that_xclient_names(
    postfix: Postfix, milter: Filter, xclient: str, ip: str, name: str
) -> None:
    with postfix.client(xclient) as client:
        send(client, b"From: a@example.org\r\n\r\n", "<a@example.org>", "<b@dest.test>")

    [message] = milter.messages
    assert (str(message.envelope.client_ip), message.envelope.client_name) == (ip, name)
    assert message.envelope.helo == "client.example"


def test_messages_on_one_connection_are_kept_apart(postfix: Postfix, milter: Filter) -> None:
    with postfix.client() as client:
        _, first = send(
            client, b"Subject: 1\r\n\r\none\r\n", "<a@example.org> BODY=8BITMIME", "<b@dest.test>"
        )
        client.docmd("MAIL", "FROM:<gone@example.org>")
        client.docmd("RCPT", "TO:<gone@dest.test>")
        client.docmd("RSET")
        client.docmd("NONSENSE")
        client.docmd("MAIL", "FROM:<gone@example.org>")
        client.ehlo("again.example")
        _, second = send(client, b"Subject: 2\r\n\r\n", "<>", "<c@dest.test>")

    assert len(milter.connections) == 1
    one, two = (message.envelope for message in milter.messages)
    assert (one.mail_from, one.recipients, one.helo) == (
        "a@example.org",
        (Recipient("b@dest.test"),),
        "client.example",
    )
    assert (two.mail_from, two.mail_parameters, two.recipients, two.helo) == (
        "",
        (),
        (Recipient("c@dest.test"),),
        "again.example",
    )
    assert [message.body for message in milter.messages] == [b"one\r\n", b""]
    assert [first, second] == [f"2.0.0 Ok: queued as {envelope.queue_id}" for envelope in (one, two)]


def test_postfix_waits_for_nothing_but_the_verdict(postfix: Postfix, milter: Filter) -> None:
    postfix.deliver(b"From: a@example.org\r\n\r\nbody\r\n")

    [connection] = milter.connections
    negotiation = int.from_bytes(connection.sent[:4], "big") + 4
    assert connection.sent[negotiation:] == b"\0\0\0\1c"


def test_a_recorded_session_means_the_same_in_single_octets(postfix: Postfix, milter: Filter) -> None:
    with postfix.client() as client:
        for number in range(2):
            send(client, b"Subject: %d\r\n\r\nbody\r\n" % number, "<a@example.org>", "<b@dest.test>")
    [recorded] = milter.connections
    assert recorded.ended.wait(10)
    connection = MilterConnection()
    replayed = []
    sent = b""

    for octet in recorded.received:
        for event in connection.receive(bytes((octet,)), NOW):
            if isinstance(event, MessageReceived):
                replayed.append(event.message)
                connection.reply(Accept())
        sent += connection.data_to_send()

    assert replayed == milter.messages
    assert sent == recorded.sent
