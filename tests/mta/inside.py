"""An SMTP server behind the gateway: it takes mail, or refuses the recipients that it is told to (RFC 5321)."""

import asyncio
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Taken:
    """One message that the server took."""

    mail_from: str
    mail_parameters: tuple[str, ...]
    recipients: tuple[str, ...]
    octets: bytes = field(repr=False)
    encrypted: bool

    @property
    def below_trace(self) -> bytes:
        """Without the Received field that the gateway put on top."""
        lines = self.octets.splitlines(keepends=True)
        assert lines[0].startswith(b"Received: ")
        end = next(at for at, line in enumerate(lines[1:], 1) if not line.startswith((b" ", b"\t")))
        return b"".join(lines[end:])


class SmtpServer:
    """Runs on loopback in a thread of its own, as a context manager."""

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """With *tls* STARTTLS is offered."""
        self.port = port
        self.unknown: set[str] = set()
        """Recipients that are refused for good."""
        self.busy: set[str] = set()
        """Recipients that are refused for now."""
        self.asked: list[tuple[str, str]] = []
        """Sender and recipient of each RCPT TO."""
        self.taken: list[Taken] = []
        self._tls = tls
        self._end: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        serving = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(serving)), daemon=True)
        self._thread.start()
        assert serving.wait(20), "the server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._thread.join()

    def wait_for(self, recipient: str, *, count: int = 1, seconds: float = 30.0) -> tuple[Taken, ...]:
        """The messages to *recipient*, once there are *count*."""
        deadline = time.monotonic() + seconds
        while True:
            found = tuple(message for message in tuple(self.taken) if recipient in message.recipients)
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"{len(found)} of {count} messages came to {recipient}"
            time.sleep(0.02)

    async def _serve(self, serving: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        end = asyncio.Event()
        self._end = lambda: loop.call_soon_threadsafe(end.set)
        sessions: set[asyncio.Task[None]] = set()

        async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            sessions.add(task)
            try:
                await _Session(self, self._tls, reader, writer).run()
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # the gateway has gone, or the test is over
            finally:
                sessions.discard(task)
                writer.close()

        server = await asyncio.start_server(session, LOOPBACK, self.port, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        serving.set()
        await end.wait()
        server.close()
        for task in tuple(sessions):
            task.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)


class _Session:
    """One connection."""

    def __init__(
        self,
        server: SmtpServer,
        tls: ssl.SSLContext | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._server = server
        self._tls = tls
        self._reader = reader
        self._writer = writer
        self._mail_from: tuple[str, tuple[str, ...]] = ("", ())
        self._recipients: list[str] = []

    async def run(self) -> None:
        await self._say("220 inside.example ESMTP")
        while line := await self._reader.readline():
            verb, _, rest = line.decode("utf-8").strip().partition(" ")
            match verb.upper():
                case "QUIT":
                    await self._say("221 bye")
                    return
                case "STARTTLS" if self._tls:
                    await self._say("220 go ahead")
                    await self._writer.start_tls(self._tls)
                case "DATA":
                    await self._say("354 go ahead")
                    await self._take()
                    await self._say("250 taken")
                case _:
                    await self._say(self._answer(verb.upper(), rest))

    def _answer(self, verb: str, rest: str) -> str:
        match verb:
            case "EHLO":
                offered = ["inside.example", "PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE"]
                if self._tls and not self._encrypted:
                    offered.append("STARTTLS")
                return "\r\n".join(f"250-{word}" for word in offered) + "\r\n250 ENHANCEDSTATUSCODES"
            case "MAIL":
                path, *parameters = rest.removeprefix("FROM:").split(" ")
                self._mail_from = path.strip("<>"), tuple(parameters)
                self._recipients = []
            case "RCPT":
                return self._recipient(rest.removeprefix("TO:").split(" ")[0].strip("<>"))
        return "250 2.0.0 ok"

    def _recipient(self, recipient: str) -> str:
        self._server.asked.append((self._mail_from[0], recipient))
        if recipient in self._server.unknown:
            return "550 5.1.1 nobody of that name at inside.example"
        if recipient in self._server.busy:
            return "451 4.3.0 later"
        self._recipients.append(recipient)
        return "250 2.1.5 ok"

    async def _take(self) -> None:
        lines = []
        while (line := await self._reader.readuntil(b"\n")) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        octets = b"".join(lines)
        sender, parameters = self._mail_from
        self._server.taken.append(Taken(sender, parameters, tuple(self._recipients), octets, self._encrypted))

    @property
    def _encrypted(self) -> bool:
        return self._writer.get_extra_info("ssl_object") is not None

    async def _say(self, text: str) -> None:
        self._writer.write(text.encode() + b"\r\n")
        await self._writer.drain()
