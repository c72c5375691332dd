"""A small SMTP client for samples and tests: chosen client address, exact octets, the reply to each stage (RFC 5321)."""

import re
import smtplib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Self

from appliance.lab.ports import LOOPBACK


class Stage(StrEnum):
    """What a reply answers."""

    CONNECT = "connect"
    XCLIENT = "xclient"
    HELO = "helo"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    MESSAGE = "message"
    """The end of the message's data."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said last: to the message, or to the first stage it refused."""

    stage: Stage
    code: int
    text: str
    """Without the code; lines are joined by line feeds."""
    refused_recipients: tuple[tuple[str, int, str], ...] = ()
    """Address, code and text of each RCPT TO that was refused, though others may have been taken."""

    @property
    def accepted(self) -> bool:
        """Whether the message was taken."""
        return self.stage is Stage.MESSAGE and 200 <= self.code < 300

    @property
    def queue_id(self) -> str | None:
        """Postfix's queue ID of an accepted message."""
        found = re.search(r"queued as (\w+)", self.text) if self.accepted else None
        return found[1] if found else None


class RefusedError(Exception):
    """The server refused the connection itself, its client's address or its greeting."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.stage}: {reply.code} {reply.text}")
        self.reply = reply


class SmtpClient:
    """One connection to a server on loopback, as a context manager.

    With *client_ip* the server is told by XCLIENT to take that for our address; it allows so once a connection. With
    *login* as well it believes that we have signed in under that name.
    *source_ip* is one of this machine's own addresses, to connect from.
    Raises ``RefusedError`` and, when the connection breaks, ``smtplib.SMTPServerDisconnected`` or ``OSError``.
    """

    def __init__(
        self,
        port: int,
        *,
        helo: str = "client.example",
        client_ip: str | None = None,
        client_name: str | None = None,
        login: str = "",
        source_ip: str = "",
        seconds: float = 60.0,
    ) -> None:
        self._port = port
        self._helo = helo
        self._client_ip = client_ip
        self._client_name = client_name
        self._login = login
        self._smtp = smtplib.SMTP(timeout=seconds, local_hostname=helo, source_address=(source_ip, 0))
        self._smtp.command_encoding = "utf-8"  # addresses of SMTPUTF8

    def __enter__(self) -> Self:
        try:
            self._expect(Stage.CONNECT, self._smtp.connect(LOOPBACK, self._port), 220)
            if self._client_ip is not None:
                self._expect(Stage.HELO, self._smtp.ehlo(self._helo), 250)
                self._expect(
                    Stage.XCLIENT, self.command("XCLIENT " + self._xclient_arguments(self._client_ip)), 220
                )
            self._expect(Stage.HELO, self._smtp.ehlo(self._helo), 250)
        except BaseException:
            self._smtp.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._smtp.quit()
        except (OSError, smtplib.SMTPException):
            self._smtp.close()

    def command(self, line: str) -> tuple[int, bytes]:
        """Send any one command line; returns code and text of the reply."""
        return self._smtp.docmd(line)

    def send(
        self,
        *,
        mail_from: str,
        rcpt_to: Sequence[str],
        octets: bytes,
        mail_parameters: Sequence[str] = (),
        rcpt_parameters: Sequence[str] = (),
    ) -> Reply:
        """Send one message; *octets* are its header and body with CR LF line ends.

        They go out as they are, but for the dot that protects a line which begins with one: bare CR and LF stay.
        """
        data = (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:]
        return self.send_raw(
            mail_from=mail_from,
            rcpt_to=rcpt_to,
            data=data + (b".\r\n" if data.endswith(b"\r\n") else b"\r\n.\r\n"),
            mail_parameters=mail_parameters,
            rcpt_parameters=rcpt_parameters,
        )

    def send_raw(
        self,
        *,
        mail_from: str,
        rcpt_to: Sequence[str],
        data: bytes,
        mail_parameters: Sequence[str] = (),
        rcpt_parameters: Sequence[str] = (),
    ) -> Reply:
        """Send one message whose *data* go out unchanged; they must hold their own end. Returns the first reply to them."""
        mail = self.command(" ".join((f"MAIL FROM:<{mail_from}>", *mail_parameters)))
        if mail[0] != 250:
            return self._refused(Stage.MAIL, mail)
        refused: list[tuple[str, int, str]] = []
        for address in rcpt_to:
            code, text = self.command(" ".join((f"RCPT TO:<{address}>", *rcpt_parameters)))
            if code not in (250, 251):
                refused.append((address, code, _decode(text)))
        if len(refused) == len(rcpt_to):
            code, text = (refused[-1][1], refused[-1][2].encode()) if refused else (503, b"no recipients")
            return self._refused(Stage.RCPT, (code, text), tuple(refused))
        go_ahead = self.command("DATA")
        if go_ahead[0] != 354:
            return self._refused(Stage.DATA, go_ahead, tuple(refused))
        self._smtp.send(data)
        code, text = self._smtp.getreply()
        return Reply(Stage.MESSAGE, code, _decode(text), tuple(refused))

    def send_unasked(self, octets: bytes) -> None:
        """Send octets as they are, without waiting for replies; ``read_reply`` gives them one by one."""
        self._smtp.send(octets)

    def read_reply(self) -> tuple[int, bytes]:
        """Wait for one more reply: for what a server takes for commands in ``send_raw``'s data."""
        return self._smtp.getreply()

    def _refused(
        self, stage: Stage, answer: tuple[int, bytes], refused: tuple[tuple[str, int, str], ...] = ()
    ) -> Reply:
        if answer[0] != 421:
            self._smtp.rset()
        return Reply(stage, answer[0], _decode(answer[1]), refused)

    def _expect(self, stage: Stage, answer: tuple[int, bytes], code: int) -> None:
        if answer[0] != code:
            raise RefusedError(Reply(stage, answer[0], _decode(answer[1])))

    def _xclient_arguments(self, client_ip: str) -> str:
        address = ip_address(client_ip)
        shown = f"IPV6:{address}" if isinstance(address, IPv6Address) else str(address)
        login = f" LOGIN={self._login}" if self._login else ""
        return f"ADDR={shown} NAME={self._client_name or '[UNAVAILABLE]'}{login}"


def send_message(
    port: int,
    *,
    mail_from: str,
    rcpt_to: Sequence[str],
    octets: bytes,
    helo: str = "client.example",
    client_ip: str | None = None,
    client_name: str | None = None,
    login: str = "",
    source_ip: str = "",
    mail_parameters: Sequence[str] = (),
    rcpt_parameters: Sequence[str] = (),
) -> Reply:
    """Send one message on a connection of its own; a refusal at any stage is a ``Reply``, a broken connection an exception."""
    try:
        with SmtpClient(
            port, helo=helo, client_ip=client_ip, client_name=client_name, login=login, source_ip=source_ip
        ) as client:
            return client.send(
                mail_from=mail_from,
                rcpt_to=rcpt_to,
                octets=octets,
                mail_parameters=mail_parameters,
                rcpt_parameters=rcpt_parameters,
            )
    except RefusedError as refused:
        return refused.reply


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "replace")
