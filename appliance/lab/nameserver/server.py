"""Serving a zone on loopback, over UDP and TCP, and remembering what was asked."""

import asyncio
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Self, cast

from appliance.lab.nameserver.rendering import Query, Rendered, render
from appliance.lab.nameserver.zone import Zone
from appliance.lab.ports import LOOPBACK, PortBusy

_RENDERED_KEPT = 50_000
_QUERIES_KEPT = 100_000


class NameServer:
    """Serves a zone on loopback, UDP and TCP on one port, from a thread of its own; a context manager.

    Rendered answers are kept until the zone changes, so that some thousand queries a second can be answered.
    """

    def __init__(self, zone: Zone | str = "", port: int = 0) -> None:
        """*zone* may be a master file's text; *port* 0 takes a free one."""
        self.zone = zone if isinstance(zone, Zone) else Zone(zone)
        self._port = port
        self._rendered: dict[tuple[bytes, str], Rendered] = {}
        self._rendered_version = -1
        self._queries: deque[Query] = deque(maxlen=_QUERIES_KEPT)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._may_answer = threading.Event()
        self._may_answer.set()
        self._thread: threading.Thread | None = None
        self._end: Callable[[], object] = _nothing  # while it serves: ends the serving

    @property
    def port(self) -> int:
        """Known once started."""
        return self._port

    @property
    def address(self) -> str:
        """``127.0.0.1:PORT``."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def queries(self) -> tuple[Query, ...]:
        """The queries so far, the oldest first; of very many the latest."""
        return tuple(self._queries)

    def count(self, name: str | None = None, record_type: str | None = None) -> int:
        """How many queries came for this name and type; ``None`` is any."""
        wanted = None if name is None else name.rstrip(".").lower()
        return sum(
            number
            for (asked, of_type), number in tuple(self._counts.items())
            if wanted in (None, asked) and record_type in (None, of_type)
        )

    def forget_queries(self) -> None:
        self._queries.clear()
        self._counts.clear()

    def hold(self) -> None:
        """Answer nobody before ``release``; of the queries that come meanwhile one is counted, the others lie unread."""
        self._may_answer.clear()

    def release(self) -> None:
        self._may_answer.set()

    def start(self) -> None:
        """Bind and serve; raises ``PortBusy`` when the port is in use."""
        udp, tcp = _bind(self._port)
        self._port = tcp.getsockname()[1]
        serving = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(udp, tcp, serving)), name="nameserver", daemon=True
        )
        self._thread.start()
        serving.wait()

    def stop(self) -> None:
        """Stop serving and return when the sockets are closed."""
        if self._thread is not None:
            self.release()
            self._end()
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _serve(self, udp: socket.socket, tcp: socket.socket, serving: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        end = asyncio.Event()
        self._end = lambda: loop.call_soon_threadsafe(end.set)
        streams: set[asyncio.Transport] = set()
        datagrams, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
        listener = await loop.create_server(lambda: _Stream(self, streams), sock=tcp)
        serving.set()
        await end.wait()
        datagrams.close()
        loop.remove_reader(tcp)  # a closed listener would drop connections that it is just accepting
        accepting = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*accepting, return_exceptions=True)
        listener.close()
        for stream in streams:
            stream.abort()
        while streams:  # noqa: ASYNC110  nothing else tells when a transport has closed its socket
            await asyncio.sleep(0)

    def respond(
        self, wire: bytes, transport: str, send: Callable[[bytes], None], close: Callable[[], None]
    ) -> None:
        """Answer one query, given and sent as octets; in the server's thread."""
        rendered = self._render(wire, transport)
        if rendered is None:
            return
        self._queries.append(rendered.query)
        self._counts[rendered.query.name, rendered.query.type] += 1
        self._may_answer.wait()
        if rendered.closes:
            close()
        if rendered.octets is None:
            return
        wrong_id = bytes(octet ^ 0xFF for octet in wire[:2])
        if rendered.forged:
            send(wrong_id + rendered.forged)
        octets = (wrong_id if rendered.wrong_id else wire[:2]) + rendered.octets
        if rendered.seconds:
            asyncio.get_running_loop().call_later(rendered.seconds, send, octets)
        else:
            send(octets)

    def _render(self, wire: bytes, transport: str) -> Rendered | None:
        version = self.zone.version
        if version != self._rendered_version or len(self._rendered) > _RENDERED_KEPT:
            self._rendered.clear()
            self._rendered_version = version
        key = (wire[2:], transport)
        if key not in self._rendered:
            rendered = render(self.zone, wire, transport)
            if rendered is None:
                return None
            self._rendered[key] = rendered
        return self._rendered[key]


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # only newer Pythons derive it so

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.respond(data, "udp", lambda octets: self._transport.sendto(octets, addr), _nothing)


class _Stream(asyncio.Protocol):
    def __init__(self, server: NameServer, streams: set[asyncio.Transport]) -> None:
        self._server = server
        self._streams = streams
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._streams.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._streams.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= 2:
            end = 2 + int.from_bytes(self._received[:2])
            if len(self._received) < end:
                return
            query, self._received = self._received[2:end], self._received[end:]
            self._server.respond(query, "tcp", self._send, self._transport.close)

    def _send(self, octets: bytes) -> None:
        self._transport.write(len(octets).to_bytes(2) + octets)


def _nothing() -> None:
    """What ends without a connection."""


def _bind(port: int) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP sockets on one port; for port 0 on one that is free for both."""
    for _ in range(1 if port else 20):
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((LOOPBACK, port))
            udp.bind(tcp.getsockname())
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)  # bursts of queries
            tcp.listen(100)
        except OSError:
            tcp.close()
            udp.close()
        else:
            return udp, tcp
    raise PortBusy(f"port {port} of {LOOPBACK}, wanted for the name server, is in use: choose another port")
