"""One worker: an event loop that accepts milter connections and has their messages judged."""

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from appliance.filter.buffers import Buffers
from appliance.filter.counters import WorkerCounters, own_counters
from appliance.filter.handler import Handler
from appliance.filter.limits import DEFAULT_LIMITS, Limits
from appliance.filter.memory import end_out_of_memory
from appliance.filter.peers import Peers
from appliance.filter.supervisor import BEAT_SECONDS, Lifeline
from appliance.log import get_logger
from appliance.mail.message import Message
from appliance.milter.connection import Closed, MessageReceived, MilterConnection
from appliance.milter.replies import Refuse, Reply
from appliance.milter.wire import ProtocolError
from appliance.store.nodes import Count

DRAIN_SECONDS = 60.0  # connections get this long to end by themselves after a stop (threats F18)
_ACCEPT_PAUSE_SECONDS = 0.2

_BUSY = Refuse("451 4.3.2 The mail filter is busy, try again later")
_TOO_LARGE = Refuse("552 5.3.4 The message is larger than the mail filter can check")


class Worker:
    """Serves *listening*, which it closes, until told to stop; then drains."""

    def __init__(
        self,
        listening: socket.socket,
        handler: Handler,
        *,
        peers: Peers | None = None,
        limits: Limits = DEFAULT_LIMITS,
        counters: WorkerCounters | None = None,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self.counters = counters or own_counters()
        self.limits = limits
        self.buffers = Buffers(limits.buffered_octets)
        self._listening = listening
        self._handler = handler
        self._peers = peers or Peers.named(())
        self._drain_seconds = drain_seconds
        self._turns = asyncio.Semaphore(limits.evaluations)
        self._stop = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._room = asyncio.Event()
        self._room.set()
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, lifeline: Lifeline | None = None) -> None:
        """Accept and judge until SIGTERM, or until the other end of *lifeline* is gone."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_report_or_end)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        if lifeline is not None:
            loop.add_reader(lifeline.alive_fd, self._stop.set)
        self._listening.setblocking(False)
        beating = loop.create_task(self._beat(lifeline))
        accepting = loop.create_task(self._accept())
        try:
            await self._stop.wait()
            if lifeline is not None:
                loop.remove_reader(lifeline.alive_fd)
            await _cancel(accepting)
            self._listening.close()
            await self._drain()
        finally:
            await _cancel(beating)

    def stop(self) -> None:
        self._stop.set()

    async def judge(self, message: Message) -> Reply:
        """The reply to *message*, when it is its turn; messages whose turn does not come are put off."""
        try:
            async with asyncio.timeout(self.limits.evaluation_wait_seconds):
                await self._turns.acquire()
        except TimeoutError:
            self.counters.add(Count.BUSY)
            get_logger().warning("busy", qid=message.envelope.queue_id, judging=self.limits.evaluations)
            return _BUSY
        try:
            return await self._handler.handle(message)
        finally:
            self._turns.release()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def closed(self, connection: "_Connection") -> None:
        self._connections.discard(connection)
        self._room.set()
        if not self._connections:
            self._all_closed.set()

    async def _accept(self) -> None:
        """Take connections, one at a time so that the workers share them, while there is room for more."""
        loop = asyncio.get_running_loop()
        while True:
            await self._room.wait()
            try:
                connected, _ = await loop.sock_accept(self._listening)
            except OSError as error:
                if error.errno != errno.ECONNABORTED:
                    get_logger().error("cannot-accept", error=str(error), open=len(self._connections))
                    await asyncio.sleep(_ACCEPT_PAUSE_SECONDS)
                continue
            if self._welcome(connected):
                await self._open(connected)

    def _welcome(self, connected: socket.socket) -> bool:
        try:
            stranger = self._peers.stranger(connected)
        except OSError:  # gone already
            connected.close()
            return False
        if stranger:
            self.counters.add(Count.REFUSED_CONNECTIONS)
            get_logger().warning("connection-refused", peer=stranger)
            connected.close()
        return not stranger

    async def _open(self, connected: socket.socket) -> None:
        connection = _Connection(self)
        self._connections.add(connection)
        self._all_closed.clear()
        if len(self._connections) >= self.limits.connections:
            self._room.clear()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, connected)
        except OSError:
            connected.close()
            self.closed(connection)

    async def _beat(self, lifeline: Lifeline | None) -> None:
        """Tell the supervisor that this loop runs, and end messages that come too slowly."""
        loop = asyncio.get_running_loop()
        while True:
            if lifeline is not None:
                lifeline.beat()
            for connection in tuple(self._connections):
                connection.check(loop.time())
            await asyncio.sleep(BEAT_SECONDS)

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

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(task.exception(), MemoryError):
            end_out_of_memory()


class _Connection(asyncio.Protocol):
    """One milter connection: octets between the transport, the protocol and the handler."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._milter = MilterConnection()
        self._transport: asyncio.Transport | None = None
        self._content_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio.Protocol
        self._transport = None
        self._worker.closed(self)
        if not self._milter.reply_is_due:  # else the message is held until it is judged
            self._worker.buffers.holds(self, 0)

    def data_received(self, data: bytes) -> None:
        try:
            events = self._milter.receive(data, datetime.now(UTC))
        except ProtocolError as error:
            get_logger().warning("protocol-error", error=str(error))
            self.close()
            return
        self._send()
        for event in events:
            match event:
                case MessageReceived(message):
                    self._worker.start(self._judge(message))
                case Closed():
                    self.close()
                case _:
                    get_logger().warning("too-large", qid=event.queue_id)
                    self._reply(_TOO_LARGE)
        self._account()

    def pause(self) -> None:
        self._content_since = None  # we are the reason that nothing comes
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def check(self, now: float) -> None:
        """Close the connection when the content of a message has been coming for too long."""
        if self._transport is None or not self._transport.is_reading() or not self._is_within_content:
            self._content_since = None
        elif self._content_since is None:
            self._content_since = now
        elif now - self._content_since > self._worker.limits.content_seconds:
            get_logger().warning("content-too-slow", octets=self._milter.content_octets)
            self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def _is_within_content(self) -> bool:
        return self._milter.content_octets > 0 and not self._milter.reply_is_due

    async def _judge(self, message: Message) -> None:
        try:
            self._reply(await self._worker.judge(message))
        finally:
            self._account()

    def _reply(self, reply: Reply) -> None:
        if (
            self._transport is not None and not self._transport.is_closing()
        ):  # else the MTA has given up waiting
            self._milter.reply(reply)
            self._send()

    def _account(self) -> None:
        """Tell how much of a message is held: nothing any more when nobody waits for its reply."""
        self._worker.buffers.holds(self, self._milter.content_octets if self._transport else 0)

    def _send(self) -> None:
        output = self._milter.data_to_send()
        if output and self._transport is not None:
            self._transport.write(output)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _report_or_end(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What no task of ours has caught; asyncio has closed the connection that it came from."""
    error = context.get("exception")
    if isinstance(error, MemoryError):
        end_out_of_memory()
    get_logger().error("connection-failed", reason=context.get("message"), exc_info=error)
