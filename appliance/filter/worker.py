"""One worker: an event loop that accepts milter connections and judges their messages."""

import asyncio
import signal
import socket
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from appliance.filter.handler import Handler
from appliance.log import get_logger
from appliance.mail.message import Message
from appliance.milter.connection import MessageReceived, MilterConnection
from appliance.milter.wire import ProtocolError

DRAIN_SECONDS = 60.0  # connections get this long to end by themselves after a stop (threats F18)


class Worker:
    """Serves *listening* until told to stop, then drains."""

    def __init__(
        self, listening: socket.socket, handler: Handler, *, drain_seconds: float = DRAIN_SECONDS
    ) -> None:
        self._listening = listening
        self._handler = handler
        self._drain_seconds = drain_seconds
        self._stop = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, *, alive_fd: int | None = None) -> None:
        """Accept and judge until SIGTERM, or until *alive_fd* reads end-of-file."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        if alive_fd is not None:
            loop.add_reader(alive_fd, self._stop.set)
        self._listening.setblocking(False)
        create = loop.create_unix_server if self._listening.family == socket.AF_UNIX else loop.create_server
        server = await create(lambda: _Connection(self), sock=self._listening)
        await self._stop.wait()
        if alive_fd is not None:
            loop.remove_reader(alive_fd)
        server.close()
        await self._drain()

    def stop(self) -> None:
        self._stop.set()

    async def _drain(self) -> None:
        """Let every open SMTP session end by itself, then close what is left; messages under way are answered."""
        try:
            async with asyncio.timeout(self._drain_seconds):
                await self._all_closed.wait()
        except TimeoutError:
            for connection in tuple(self._connections):
                connection.close()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def opened(self, connection: "_Connection") -> None:
        self._connections.add(connection)
        self._all_closed.clear()

    def closed(self, connection: "_Connection") -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_closed.set()

    @property
    def handler(self) -> Handler:
        return self._handler


class _Connection(asyncio.Protocol):
    """One milter connection: octets between the transport, the protocol and the handler."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._milter = MilterConnection()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._worker.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio.Protocol
        self._transport = None
        self._worker.closed(self)

    def data_received(self, data: bytes) -> None:
        try:
            events = self._milter.receive(data, datetime.now(UTC))
        except ProtocolError as error:
            get_logger().warning("protocol-error", error=str(error))
            self.close()
            return
        self._send()
        for event in events:
            if isinstance(event, MessageReceived):
                self._worker.start(self._answer(event.message))
            else:
                self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def _answer(self, message: Message) -> None:
        reply = await self._worker.handler.handle(message)
        if (
            self._transport is not None and not self._transport.is_closing()
        ):  # else the MTA has given up waiting
            self._milter.reply(reply)
            self._send()

    def _send(self) -> None:
        output = self._milter.data_to_send()
        if output and self._transport is not None:
            self._transport.write(output)
