"""Take notices about our reports from Postfix: an LMTP server on a Unix socket, in a thread of its own (RFC 2033)."""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from typing import cast

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from appliance.listening import CannotListen, bind, inherited_socket, unlink
from appliance.log import get_logger
from appliance.node import Endpoint
from reporting.bounces import LATER, Bounces

MAX_OCTETS = 1_000_000
"""Of one message. We ask for notices without the report's text; larger ones are refused, which nobody is told of."""
ONE_AT_A_TIME = "452 4.5.3 one recipient at a time"
TRY_AGAIN_SECONDS = 60.0

Stranger = Callable[[socket.socket], str]
"""Who is at the other end of a connection, where that is nobody who may be; else ``""``."""


def everybody(_: socket.socket) -> str:
    """Nobody is a stranger: the socket's mode says who may connect."""
    return ""


class BounceServer:
    """Serves from ``start`` to ``stop``; as long as it cannot listen it says so in the log and tries again."""

    def __init__(
        self, endpoint: Endpoint, bounces: Bounces, *, hostname: str, stranger: Stranger = everybody
    ) -> None:
        self._endpoint = endpoint
        self._handler = _Handler(bounces)
        self._hostname = hostname
        self._stranger = stranger
        self._inherited = False
        self._trouble = ""
        self._running = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name="bounces", daemon=True)
        logging.getLogger("mail.log").setLevel(logging.ERROR)  # it would tell every line that is spoken

    def start(self) -> None:
        self._thread.start()
        self._running.wait()

    def stop(self) -> None:
        """What is just being noted is noted; returns when all is over, at once when nothing was started."""
        self._stop()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._running.set()

    async def _serve(self) -> None:
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()

        def stop() -> None:
            with contextlib.suppress(RuntimeError):  # it is over already
                loop.call_soon_threadsafe(stopping.set)

        self._stop = stop
        listening = self._listen()
        self._running.set()
        while listening is None and not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), TRY_AGAIN_SECONDS)
            listening = None if stopping.is_set() else self._listen()
        if listening is None:
            return
        connections: set[_Connection] = set()
        server = await loop.create_unix_server(lambda: self._connection(loop, connections), sock=listening)
        get_logger().info("bounces", state="listening", endpoint=str(self._endpoint))
        await stopping.wait()
        if not self._inherited:
            unlink(self._endpoint, listening)
        server.close()
        for connection in tuple(connections):
            connection.abort()

    def _listen(self) -> socket.socket | None:
        try:
            if not self._endpoint.path:
                raise CannotListen("postfix.bounces: write unix:PATH in the node file", retry=False)
            inherited = inherited_socket()
            self._inherited = inherited is not None
            return inherited or bind(self._endpoint)
        except CannotListen as error:
            if str(error) != self._trouble:
                get_logger().error("bounces", state="cannot listen", reason=str(error))
            self._trouble = str(error)
            return None

    def _connection(self, loop: asyncio.AbstractEventLoop, connections: "set[_Connection]") -> "_Connection":
        return _Connection(self._handler, loop, connections, hostname=self._hostname, stranger=self._stranger)


class _Connection(LMTP):
    """One connection of Postfix."""

    def __init__(
        self,
        handler: "_Handler",
        loop: asyncio.AbstractEventLoop,
        connections: "set[_Connection]",
        *,
        hostname: str,
        stranger: Stranger,
    ) -> None:
        super().__init__(
            handler,
            data_size_limit=MAX_OCTETS,
            enable_SMTPUTF8=True,
            hostname=hostname,
            ident="DMARC Gate",
            loop=loop,
        )
        self._connections = connections
        self._stranger = stranger

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stranger = self._stranger(cast("socket.socket", transport.get_extra_info("socket")))
        if stranger:
            get_logger().warning("bounces", refused=stranger)
            cast("asyncio.Transport", transport).abort()
            return
        self._connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self._connections:
            self._connections.discard(self)
            super().connection_lost(error)

    def abort(self) -> None:
        if self.transport is not None:
            cast("asyncio.Transport", self.transport).abort()


class _Handler:
    """What the library asks about each step; the store may be slow, so that others do the asking there."""

    def __init__(self, bounces: Bounces) -> None:
        self._bounces = bounces

    async def handle_RCPT(  # noqa: N802  the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if envelope.rcpt_tos:
            return ONE_AT_A_TIME  # so that there is one answer to each message
        answer = await asyncio.to_thread(self._bounces.check, address)
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        octets = cast("bytes", envelope.original_content)
        mail_from = (envelope.mail_from or "").strip("<>")
        return await asyncio.to_thread(self._bounces.take, mail_from, envelope.rcpt_tos[0], octets)

    async def handle_exception(self, error: Exception) -> str:
        get_logger().error("bounces", state="program error", exc_info=error)
        return LATER
