"""The appliance's form of Postfix, with the real filter, between an inside server and the rest of the world."""

import re
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import dkim
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.lab.gateway import Gateway
from appliance.lab.smtp import RefusedError, Reply, SmtpClient, Stage, send_message
from appliance.mta.configuration import Configuration
from tests.checks.mails import new_rsa_key, signed
from tests.mta.inside import SmtpServer, Taken
from tests.mta.instances import appliance_below

pytestmark = pytest.mark.system

HOSTNAME = "gw.example"
INSIDE = "corp.example"
OUTSIDE_CLIENT, INTERNAL_CLIENT = "127.0.0.2", "127.0.0.3"
CLIENTS = [
    pytest.param(OUTSIDE_CLIENT, id="from outside"),
    pytest.param(INTERNAL_CLIENT, id="from an internal network"),
]
SIZE_LIMIT = 300_000

LETTER = b"From: ann@sender.example\r\nMessage-ID: <1@sender.example>\r\nSubject: hello\r\n\r\nHello.\r\n"


@dataclass(frozen=True)
class Site:
    """The gateway, what is behind it, and where its mail to the rest of the world goes."""

    gateway: Gateway
    inside: SmtpServer
    world: SmtpServer
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def port(self) -> int:
        return self.gateway.postfix.config.smtp_port

    def recipient(self, domain: str = INSIDE) -> str:
        """One that no other test uses."""
        return f"r{next(self._numbers)}@{domain}"

    def send(
        self,
        *rcpt_to: str,
        octets: bytes = LETTER,
        mail_from: str = "ann@sender.example",
        source_ip: str = OUTSIDE_CLIENT,
        mail_parameters: tuple[str, ...] = (),
        rcpt_parameters: tuple[str, ...] = (),
    ) -> Reply:
        return send_message(
            self.port,
            mail_from=mail_from,
            rcpt_to=rcpt_to,
            octets=octets,
            source_ip=source_ip,
            mail_parameters=mail_parameters,
            rcpt_parameters=rcpt_parameters,
        )

    def drain(self) -> None:
        """Wait until Postfix has nothing left to deliver."""
        deadline = time.monotonic() + 30
        while self.gateway.postfix.queue_length():
            assert time.monotonic() < deadline, self.gateway.postfix.log_tail()
            time.sleep(0.02)

    def await_log(self, pattern: str) -> None:
        """Wait until Postfix's log has a place that fits."""
        deadline = time.monotonic() + 20
        while not re.search(pattern, self.gateway.postfix.log_path.read_text(errors="replace")):
            assert time.monotonic() < deadline, f"{pattern}\n{self.gateway.postfix.log_tail()}"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of nobody's but ours, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOSTNAME)])
    now = datetime.now(UTC)
    signed_by_itself = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(signed_by_itself.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return chain, private


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, requires_postfix: None, certificate: tuple[Path, Path]
) -> Iterator[Site]:
    chain, private = certificate
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain, private)
    folder = tmp_path_factory.mktemp("gateway")
    with SmtpServer(tls=tls) as inside, SmtpServer() as world:
        configuration = Configuration(
            hostname=HOSTNAME,
            inside_domains=(INSIDE,),
            inside_host="127.0.0.1",
            inside_port=inside.port,
            inside_tls_level="encrypt",
            internal_networks=(INTERNAL_CLIENT,),
            outgoing_host="127.0.0.1",
            outgoing_port=world.port,
            message_size_limit_octets=SIZE_LIMIT,
            certificate_file=str(chain),
            certificate_key_file=str(private),
        )
        with Gateway(folder, postfix=appliance_below(folder, configuration), page=False) as gateway:
            gateway.zone.txt("sender.example", f"v=spf1 ip4:{OUTSIDE_CLIENT} -all")
            gateway.zone.txt("_dmarc.sender.example", "v=DMARC1; p=reject")
            gateway.zone.txt("_dmarc.strict.example", "v=DMARC1; p=reject")
            gateway.zone.txt("_dmarc.careful.example", "v=DMARC1; p=quarantine")
            gateway.save(
                verification__enabled=True, network__internal=[INTERNAL_CLIENT], verification__domains=[]
            )
            yield Site(gateway, inside, world)


# ---- ways of mail ------------------------------------------------------------------


def test_mail_from_outside_is_marked_and_reaches_the_inside_server(site: Site) -> None:
    recipient = site.recipient()

    reply = site.send(recipient)

    [taken] = site.inside.wait_for(recipient)
    assert (taken.mail_from, taken.recipients) == ("ann@sender.example", (recipient,))
    assert taken.octets.endswith(b"\r\n" + LETTER)
    assert b"dmarc=pass" in taken.octets.partition(b"Received:")[0]
    assert reply.queue_id is not None


def test_the_way_to_the_inside_server_is_encrypted_when_it_must_be(site: Site) -> None:
    recipient = site.recipient()

    site.send(recipient)

    [taken] = site.inside.wait_for(recipient)
    assert taken.encrypted


def test_mail_from_outside_to_others_is_refused(site: Site) -> None:
    reply = site.send("u@elsewhere.example")

    assert (reply.stage, reply.code) == (Stage.RCPT, 554)


def signed_and_odd() -> tuple[bytes, bytes]:
    """A signed message that a careless MTA would touch, and the record of its key."""
    key = new_rsa_key()
    octets = (
        b"Return-Path: <ann@corp.example>\r\nContent-Length: 12\r\n"
        b"from:  ann (Ann)\r\nTO: bob, carol@Elsewhere.EXAMPLE\r\nSubject: \xe4 b\r\n\tfolded \r\n c\r\n"
        b"X-Empty:\r\n\r\n  \xff one\t \r\n.dot\r\n\r\n\r\n"
    )
    names = ["from", "to", "subject", "x-empty", "content-length"]
    return signed(key, octets, domain="corp.example", forms=("simple", "simple"), names=names), key.record


def test_a_signed_message_of_an_internal_client_keeps_its_octets(site: Site) -> None:
    """No rewriting, no added, dropped or refolded field; not even a Date or a Message-ID."""
    recipient = site.recipient("elsewhere.example")
    octets, record = signed_and_odd()

    reply = site.send(recipient, octets=octets, mail_from="ann@corp.example", source_ip=INTERNAL_CLIENT)

    assert reply.accepted
    [taken] = site.world.wait_for(recipient)
    assert taken.below_trace == octets
    assert dkim.verify(taken.octets, dnsfunc=lambda _name, timeout=5: record)  # noqa: ARG005


def test_hidden_recipients_stay_hidden(site: Site) -> None:
    recipient = site.recipient("elsewhere.example")

    site.send(recipient, octets=b"Bcc: secret@corp.example\r\n" + LETTER, source_ip=INTERNAL_CLIENT)

    [taken] = site.world.wait_for(recipient)
    assert taken.below_trace == LETTER


def test_mail_to_the_postmaster_reaches_the_inside_domain_s(site: Site) -> None:
    """RFC 5321 §4.5.1, with and without our name."""
    replies = [site.send("postmaster"), site.send(f"PostMaster@{HOSTNAME}")]

    assert [reply.code for reply in replies] == [250, 250]
    site.inside.wait_for(f"postmaster@{INSIDE}", count=2)


# ---- recipients --------------------------------------------------------------------


def test_t25_a_recipient_that_the_inside_server_refuses_is_refused_at_once(site: Site) -> None:
    """Accepted now, it would have to be bounced later, most likely to a forged sender."""
    known, unknown = site.recipient(), site.recipient()
    site.inside.unknown.add(unknown)

    reply = site.send(unknown, known, mail_from="victim@sender.example")

    assert reply.accepted
    [(address, code, text)] = reply.refused_recipients
    assert (address, code) == (unknown, 550)
    assert text == (
        f"5.1.1 <{unknown}>: Recipient address rejected: "
        "undeliverable address: the server behind this gateway does not confirm it"
    )
    site.inside.wait_for(known)
    site.drain()
    assert not any("victim@sender.example" in taken.recipients for taken in site.world.taken)


def test_the_inside_server_is_asked_once_and_without_a_sender(site: Site) -> None:
    recipient = site.recipient()

    site.send(recipient)
    site.send(recipient)

    site.inside.wait_for(recipient, count=2)
    senders = [sender for sender, asked in site.inside.asked if asked == recipient]
    assert sorted(senders) == ["", "ann@sender.example", "ann@sender.example"]


def test_a_recipient_that_cannot_be_checked_now_is_put_off(site: Site) -> None:
    recipient = site.recipient()
    site.inside.busy.add(recipient)

    reply = site.send(recipient)

    assert (reply.stage, reply.code) == (Stage.RCPT, 450)


def test_internal_clients_need_no_check_of_recipients_elsewhere(site: Site) -> None:
    recipient = site.recipient("elsewhere.example")

    site.send(recipient, source_ip=INTERNAL_CLIENT)

    site.world.wait_for(recipient)
    assert [sender for sender, asked in site.world.asked if asked == recipient] == ["ann@sender.example"]


@pytest.mark.parametrize(
    ("domain", "code", "stage"),
    [
        pytest.param("strict.example", 550, Stage.MESSAGE, id="rejected"),
        pytest.param("careful.example", 250, Stage.MESSAGE, id="quarantined"),
    ],
)
def test_t25_nothing_goes_to_the_forged_sender_of_mail_that_is_stopped(
    site: Site, domain: str, code: int, stage: Stage
) -> None:
    """Not even when it asks for notices."""
    recipient, victim = site.recipient(), f"victim@{domain}"

    reply = site.send(
        recipient,
        octets=b"From: ceo@%s\r\nSubject: urgent\r\n\r\nPay.\r\n" % domain.encode(),
        mail_from=victim,
        mail_parameters=("RET=FULL",),
        rcpt_parameters=("NOTIFY=SUCCESS,FAILURE,DELAY",),
    )

    assert (reply.stage, reply.code) == (stage, code)
    marker = site.recipient()  # what comes after it has passed everything that it would have
    site.send(marker)
    site.inside.wait_for(marker)
    site.drain()
    assert not any(victim in taken.recipients for taken in site.world.taken)
    assert not any(recipient in taken.recipients for taken in site.inside.taken)


def test_t26_a_report_to_an_address_of_ours_is_refused_at_once(site: Site) -> None:
    """We have no mailboxes: sent on by the DNS, it would come back to us."""
    reply = send_message(
        site.gateway.postfix.config.report_port,
        mail_from=f"reports@{INSIDE}",
        rcpt_to=[f"dmarc@{HOSTNAME}"],
        octets=LETTER,
    )

    assert (reply.stage, reply.code) == (Stage.RCPT, 550)
    assert "User unknown" in reply.text


# ---- the two listeners that the filter does not see ----------------------------------


@pytest.mark.parametrize("listener", ["release_port", "report_port"])
def test_what_passes_the_filter_by_has_no_marks_and_goes_anywhere(site: Site, listener: str) -> None:
    recipient = site.recipient("elsewhere.example")

    reply = send_message(
        getattr(site.gateway.postfix.config, listener),
        mail_from="ceo@strict.example",
        rcpt_to=[recipient],
        octets=LETTER,
    )

    assert reply.accepted
    [taken] = site.world.wait_for(recipient)
    assert taken.below_trace == LETTER


def own_address() -> str:
    """One of this machine's that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


@pytest.mark.parametrize("listener", ["release_port", "report_port"])
def test_they_cannot_be_reached_from_anywhere_else(site: Site, listener: str) -> None:
    port = getattr(site.gateway.postfix.config, listener)

    with pytest.raises(ConnectionRefusedError), socket.create_connection((own_address(), port), timeout=20):
        pass


@pytest.mark.parametrize("listener", ["release_port", "report_port"])
def test_they_refuse_a_client_that_is_not_on_loopback(site: Site, listener: str) -> None:
    """A second wall: what a packet that is sent round the first one would meet."""
    reply = send_message(
        getattr(site.gateway.postfix.config, listener),
        mail_from="a@sender.example",
        rcpt_to=[site.recipient()],
        octets=LETTER,
        source_ip=own_address(),
    )

    assert (reply.stage, reply.code) == (Stage.RCPT, 554)
    assert "Client host rejected" in reply.text


def test_a_release_names_its_event_in_postfix_s_log(site: Site) -> None:
    with SmtpClient(site.gateway.postfix.config.release_port) as client:
        told = client.command("XFORWARD IDENT=0123456789ab")
        reply = client.send(mail_from="ann@sender.example", rcpt_to=[site.recipient()], octets=LETTER)

    assert told[0] == 250
    site.await_log(f"postfix/release/smtpd.* {reply.queue_id}: client=.*, orig_queue_id=0123456789ab")


@pytest.mark.parametrize(
    ("listener", "command"),
    [
        ("smtp_port", "XFORWARD IDENT=0123456789ab"),
        ("smtp_port", "XCLIENT ADDR=192.0.2.1"),
        ("report_port", "XCLIENT ADDR=192.0.2.1"),
    ],
)
def test_nobody_else_can_claim_to_be_another(site: Site, listener: str, command: str) -> None:
    with SmtpClient(getattr(site.gateway.postfix.config, listener)) as client:
        code, _ = client.command(command)
        _, offered = client.command("EHLO client.example")

    assert code == 550
    assert command.split(maxsplit=1)[0] not in offered.decode().split()


def test_a_client_that_claims_another_address_is_refused_at_the_release_listener(site: Site) -> None:
    with (
        pytest.raises(RefusedError),
        SmtpClient(site.gateway.postfix.config.release_port, client_ip="192.0.2.1"),
    ):
        pass


def test_a_held_message_of_the_largest_size_can_be_released(site: Site) -> None:
    """It goes out with a field more, and with parameters of the envelope, which count too."""
    recipients = [site.recipient() for _ in range(50)]
    largest = LETTER + (b"y" * 898 + b"\r\n") * (
        (SIZE_LIMIT - 3_000) // 900
    )  # Postfix counts its own marks too
    taken_in = site.send(recipients[0], octets=largest, source_ip=INTERNAL_CLIENT)
    too_large = site.send(recipients[0], octets=largest + b"z" * 4_000, source_ip=INTERNAL_CLIENT)

    released = send_message(
        site.gateway.postfix.config.release_port,
        mail_from="ann@sender.example",
        rcpt_to=recipients,
        octets=b"X-DMARC-Gate-Released: 0123456789ab; " + b"w" * 5_000 + b"\r\n" + largest,
        rcpt_parameters=["NOTIFY=NEVER"],
    )

    assert (taken_in.code, too_large.code, released.code) == (250, 552, 250)
    site.inside.wait_for(recipients[-1])


# ---- SMTP ----------------------------------------------------------------------------


FALSE_ENDS = [
    pytest.param(b"\n.\n", id="LF.LF"),
    pytest.param(b"\n.\r\n", id="LF.CRLF"),
    pytest.param(b"\r\n.\n", id="CRLF.LF"),
    pytest.param(b"\r\n.\r\r\n", id="CRLF.CR CRLF"),
    pytest.param(b"\r.\r", id="CR.CR"),
    pytest.param(b"\r.\n", id="CR.LF"),
    pytest.param(b"\r.\r\n", id="CR.CRLF"),
    pytest.param(b"\r\n.\r", id="CRLF.CR"),
    pytest.param(b"\r\n\0.\r\n", id="CRLF NUL.CRLF"),
    pytest.param(b"\r\n..\r\n", id="CRLF..CRLF"),
]


@pytest.mark.parametrize("source_ip", CLIENTS)
@pytest.mark.parametrize("false_end", FALSE_ENDS)
def test_t9_a_false_end_of_data_makes_no_second_message(site: Site, false_end: bytes, source_ip: str) -> None:
    """One message, or a refusal; and whatever leaves us has no line end but CR LF."""
    recipient, smuggled_to = site.recipient(), site.recipient()
    smuggled = b"MAIL FROM:<admin@corp.example>\r\nRCPT TO:<%s>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n"

    with SmtpClient(site.port, source_ip=source_ip) as client:
        reply = client.send_raw(
            mail_from="ann@sender.example",
            rcpt_to=[recipient],
            data=LETTER + b"body" + false_end + smuggled % smuggled_to.encode() + b".\r\n",
        )
        assert client.command("NOOP")[0] == 250, "what followed the message was taken for commands"

    if reply.code == 550:
        return
    assert reply.accepted
    [taken] = site.inside.wait_for(recipient)
    assert b"Subject: smuggled" in taken.octets
    assert b"\r" not in taken.octets.replace(b"\r\n", b"")
    assert b"\n" not in taken.octets.replace(b"\r\n", b"")
    assert not any(smuggled_to in other.recipients for other in site.inside.taken)


@pytest.mark.parametrize("source_ip", CLIENTS)
def test_t9_a_message_cannot_be_sent_in_chunks(site: Site, source_ip: str) -> None:
    """The connection ends, so that nothing can follow which two servers read in two ways."""
    with SmtpClient(site.port, source_ip=source_ip) as client:
        _, offered = client.command("EHLO client.example")
        client.command("MAIL FROM:<ann@sender.example>")
        client.command(f"RCPT TO:<{site.recipient()}>")
        code, _ = client.command("BDAT 5 LAST")
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            client.command("NOOP")

    assert "CHUNKING" not in offered.decode()
    assert code == 521


@pytest.mark.parametrize("source_ip", CLIENTS)
def test_t9_commands_that_come_too_early_end_the_connection(site: Site, source_ip: str) -> None:
    """Those after DATA, which may be a message smuggled in; several before it are pipelining as offered."""
    recipient = site.recipient()
    with SmtpClient(site.port, source_ip=source_ip) as client:
        early = (
            f"MAIL FROM:<ann@sender.example>\r\nRCPT TO:<{recipient}>\r\nDATA\r\nSubject: early\r\n\r\n.\r\n"
        )
        client.send_unasked(early.encode())
        codes = [client.read_reply()[0] for _ in range(3)]

    assert codes == [250, 250, 554]
    assert not any(recipient in taken.recipients for taken in site.inside.taken)


@pytest.mark.parametrize("source_ip", CLIENTS)
def test_a3_a_header_with_nul_is_refused(site: Site, source_ip: str) -> None:
    reply = site.send(site.recipient(), octets=b"Subject: x\0y\r\n" + LETTER, source_ip=source_ip)

    assert (reply.stage, reply.code) == (Stage.MESSAGE, 550)


def test_what_is_offered_to_clients(site: Site) -> None:
    with SmtpClient(site.port) as client:
        _, offered = client.command("EHLO client.example")

    words = {line.split()[0] for line in offered.decode().splitlines()[1:]}
    assert words == {
        "PIPELINING",
        "SIZE",
        "STARTTLS",
        "ETRN",
        "ENHANCEDSTATUSCODES",
        "8BITMIME",
        "DSN",
        "SMTPUTF8",
    }


def test_8bit_mail_with_utf8_addresses_and_mail_without_a_sender_go_through(site: Site) -> None:
    with_utf8, bounce = f"bj\u00f6rn@{INSIDE}", site.recipient()

    site.send(
        with_utf8,
        mail_from="jos\u00e9@sender.example",
        octets=LETTER + "\u00e4\r\n".encode(),
        mail_parameters=("SMTPUTF8", "BODY=8BITMIME"),
    )
    site.send(bounce, mail_from="", source_ip=INTERNAL_CLIENT)

    [message] = site.inside.wait_for(with_utf8)
    assert message.mail_from == "jos\u00e9@sender.example"
    assert {"SMTPUTF8", "BODY=8BITMIME"} <= set(message.mail_parameters)
    assert message.octets.endswith("\u00e4\r\n".encode())
    assert site.inside.wait_for(bounce)[0].mail_from == ""


def starttls(site: Site, context: ssl.SSLContext) -> str | None:
    """The version of TLS that was agreed on."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=20) as client:
        for line in (b"EHLO client.example\r\n", b"STARTTLS\r\n"):
            client.recv(1000)
            client.sendall(line)
        answer = client.recv(2000)
        while not answer.endswith(b"220 2.0.0 Ready to start TLS\r\n"):
            answer += client.recv(2000)
        with context.wrap_socket(client, server_hostname=HOSTNAME) as encrypted:
            return encrypted.version()


def context_up_to(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    return context


def test_tls_is_offered_from_version_1_2_on(site: Site) -> None:
    with pytest.deprecated_call():
        too_old = context_up_to(ssl.TLSVersion.TLSv1_1)

    assert starttls(site, context_up_to(ssl.TLSVersion.TLSv1_2)) == "TLSv1.2"
    assert starttls(site, context_up_to(ssl.TLSVersion.MAXIMUM_SUPPORTED)) == "TLSv1.3"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        starttls(site, too_old)


def test_queue_ids_are_long_ones(site: Site) -> None:
    """Of the time in microseconds, so that none is used twice."""
    reply = site.send(site.recipient())

    digit = "[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]"
    assert re.fullmatch(f"{digit}{{10}}z{digit}+", reply.queue_id or "")


# ---- limits --------------------------------------------------------------------------


def test_t42_recipients_beyond_the_thousandth_are_put_off(site: Site) -> None:
    with SmtpClient(site.port, source_ip=INTERNAL_CLIENT) as client:
        client.command("MAIL FROM:<ann@sender.example>")
        codes = [client.command(f"RCPT TO:<u{n}@elsewhere.example>")[0] for n in range(1002)]

    assert codes == [250] * 1000 + [452] * 2


def test_t42_a_header_of_ten_megabytes_in_one_field_is_refused_by_its_size(site: Site) -> None:
    reply = site.send(
        site.recipient(),
        octets=b"X-Large: " + b"x" * 10_000_000 + b"\r\n" + LETTER,
        source_ip=INTERNAL_CLIENT,
    )

    assert (reply.stage, reply.code) == (Stage.MESSAGE, 552)


def test_t42_a_huge_field_is_cut_for_the_filter_and_the_reader_alike(site: Site) -> None:
    """DKIM sees what the reader will see."""
    recipient = site.recipient("elsewhere.example")
    folded = b"X-Large:" + (b" " + b"x" * 77 + b"\r\n") * 2000

    site.send(recipient, octets=folded + LETTER, source_ip=INTERNAL_CLIENT)

    [taken] = site.world.wait_for(recipient)
    assert 50_000 < len(cut_field(taken)) < 64_000
    assert taken.octets.endswith(LETTER)


def cut_field(taken: Taken) -> bytes:
    return taken.below_trace.removesuffix(LETTER)


def test_t42_a_huge_greeting_is_no_name(site: Site) -> None:
    reply = send_message(
        site.port,
        mail_from="ann@sender.example",
        rcpt_to=[site.recipient()],
        octets=LETTER,
        helo="x" * 50_000,
        source_ip=OUTSIDE_CLIENT,
    )

    assert (reply.stage, reply.code) == (Stage.RCPT, 501)
