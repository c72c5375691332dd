"""A small authoritative DNS server for samples and tests, which can also misbehave name by name (RFC 1034, RFC 4592)."""

import asyncio
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Self, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rdtypes.ANY.TXT
import dns.rrset
import dns.tokenizer
import dns.zonefile

from appliance.lab.ports import LOOPBACK, PortBusy

_TTL_SECONDS = 60
_IN = dns.rdataclass.IN
_CNAMES_FOLLOWED = 16
_PAYLOAD_OCTETS = 1232
_TCP_OCTETS = 65_535
_RENDERED_KEPT = 50_000
_QUERIES_KEPT = 100_000


class Behaviour(StrEnum):
    """What a server may do instead of answering."""

    SERVFAIL = "servfail"
    REFUSED = "refused"
    FORMERR = "formerr"
    SILENCE = "silence"
    GARBAGE = "garbage"
    """The right query ID, then octets that are no DNS message."""
    WRONG_ID = "wrong id"
    FORGED_FIRST = "forged first"
    """An empty answer with another ID, then the right one."""
    TRUNCATED = "truncated"
    """Truncated over UDP; over TCP the connection closes without an answer."""
    TRUNCATED_EVERYWHERE = "truncated everywhere"
    """Over TCP too."""
    CNAME_LOOP = "cname loop"


@dataclass(frozen=True, slots=True)
class Slow:
    """The right answer, but late."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Crafted:
    """Whatever *craft* makes of the transport and of the right answer's octets after the query's ID; ``None``: silence."""

    craft: Callable[[str, bytes], bytes | None]


Misbehaviour = Behaviour | Slow | Crafted


class Query(NamedTuple):
    """One query as it came; *name* is lower-case, without a closing dot."""

    name: str
    type: str
    transport: str
    """``udp`` or ``tcp``."""


class _RecordsRead(dns.zonefile.RRsetsReaderTransaction):
    """Takes records from a master file's reader: quickly, and of many zones, each with its SOA."""

    def __init__(self) -> None:
        super().__init__(dns.zonefile.RRSetsReaderManager(), replacement=True, read_only=False)  # type: ignore[no-untyped-call]
        self.records: dict[
            tuple[dns.name.Name, dns.rdatatype.RdataType], tuple[int, list[dns.rdata.Rdata]]
        ] = {}

    def add(self, *args: Any) -> None:
        name, ttl, rdata = args
        self.records.setdefault((name, rdata.rdtype), (ttl, []))[1].append(rdata)


class Zone:
    """All the names that there are, the root included; may be changed by any thread while it is served.

    Names are absolute with or without a closing dot. ``a``, ``txt`` and the like replace what the name had of the type.
    """

    def __init__(self, text: str = "", *, ttl_seconds: int = _TTL_SECONDS) -> None:
        """*text* is in the format of master files (RFC 1035 §5); see ``load``.

        *ttl_seconds* is of records that come without one, and of the answer that there is nothing (RFC 2308).
        """
        self._ttl = ttl_seconds
        self._lock = threading.RLock()
        self._records: dict[dns.name.Name, dict[dns.rdatatype.RdataType, dns.rdataset.Rdataset]] = {}
        self._behaviours: dict[tuple[dns.name.Name, dns.rdatatype.RdataType | None], Misbehaviour] = {}
        self._existing: set[dns.name.Name] | None = None
        self.version = 0
        """Grows with every change."""
        self.load(text)

    def load(self, text: str) -> None:
        """Add the records of a master file; ``ValueError`` says where a mistake is."""
        read = _RecordsRead()
        try:
            dns.zonefile.Reader(
                dns.tokenizer.Tokenizer(text, "zone"), _IN, read, default_ttl=self._ttl
            ).read()
        except dns.exception.DNSException as mistake:
            raise ValueError(f"the zone cannot be read: {mistake}") from mistake
        with self._lock:
            for (name, of_type), (ttl, rdatas) in read.records.items():
                self._rdatasets(name)[of_type] = dns.rdataset.from_rdata_list(ttl, rdatas)
            self._changed()

    def set(self, name: str, record_type: str, *values: str) -> None:
        """Give *name* these records of a type, in the notation of master files, instead of those it has."""
        of_type = dns.rdatatype.from_text(record_type)
        self._set(
            name,
            (dns.rdata.from_text(_IN, of_type, value, dns.name.root, relativize=False) for value in values),
        )

    def a(self, name: str, *addresses: str) -> None:
        self.set(name, "A", *addresses)

    def aaaa(self, name: str, *addresses: str) -> None:
        self.set(name, "AAAA", *addresses)

    def mx(self, name: str, *hosts: str) -> None:
        """The first of *hosts* is preferred most."""
        self.set(name, "MX", *(f"{10 * n} {_absolute(host)}" for n, host in enumerate(hosts, 1)))

    def ptr(self, name: str, *hosts: str) -> None:
        self.set(name, "PTR", *(str(_absolute(host)) for host in hosts))

    def ns(self, name: str, *hosts: str) -> None:
        self.set(name, "NS", *(str(_absolute(host)) for host in hosts))

    def cname(self, name: str, target: str) -> None:
        self.set(name, "CNAME", str(_absolute(target)))

    def txt(self, name: str, *texts: str | bytes) -> None:
        """One record for each text, cut into strings of at most 255 octets."""
        self._set(name, (dns.rdtypes.ANY.TXT.TXT(_IN, dns.rdatatype.TXT, _strings(text)) for text in texts))

    def remove(self, name: str, record_type: str | None = None) -> None:
        """Take away the records of a type, or all of the name and its misbehaviour."""
        key = _absolute(name)
        with self._lock:
            if record_type is None:
                self._records.pop(key, None)
                self._behaviours = {at: what for at, what in self._behaviours.items() if at[0] != key}
            else:
                rdatasets = self._records.get(key, {})
                rdatasets.pop(dns.rdatatype.from_text(record_type), None)
                if not rdatasets:
                    self._records.pop(key, None)
            self._changed()

    def misbehave(self, name: str, behaviour: Misbehaviour, record_type: str | None = None) -> None:
        """From now on misbehave when asked for *name*, of one type or of any."""
        with self._lock:
            self._behaviours[_absolute(name), _type_or_none(record_type)] = behaviour
            self._changed()

    def behave(self, name: str, record_type: str | None = None) -> None:
        """Take a ``misbehave`` back."""
        with self._lock:
            self._behaviours.pop((_absolute(name), _type_or_none(record_type)), None)
            self._changed()

    def behaviour(self, name: dns.name.Name, record_type: dns.rdatatype.RdataType) -> Misbehaviour | None:
        with self._lock:
            return self._behaviours.get((name, record_type)) or self._behaviours.get((name, None))

    def answer(self, response: dns.message.Message) -> None:
        """Fill *response*, which holds the question only."""
        question = response.question[0]
        name = question.name
        with self._lock:
            for _ in range(_CNAMES_FOLLOWED):
                rdatasets = self._find(name)
                if rdatasets is None:
                    response.set_rcode(dns.rcode.NXDOMAIN)
                    break
                found, alias = rdatasets.get(question.rdtype), rdatasets.get(dns.rdatatype.CNAME)
                if found:
                    response.answer.append(_rrset(name, found))
                    return
                if not alias:
                    break
                response.answer.append(_rrset(name, alias))
                name = alias[0].target
        soa = f"ns.invalid. hostmaster.invalid. 1 3600 600 86400 {self._ttl}"
        response.authority.append(dns.rrset.from_text(dns.name.root, self._ttl, _IN, dns.rdatatype.SOA, soa))

    def _set(self, name: str, rdatas: Iterable[dns.rdata.Rdata]) -> None:
        rdataset = dns.rdataset.from_rdata_list(self._ttl, list(rdatas))
        with self._lock:
            self._rdatasets(_absolute(name))[rdataset.rdtype] = rdataset
            self._changed()

    def _rdatasets(self, name: dns.name.Name) -> dict[dns.rdatatype.RdataType, dns.rdataset.Rdataset]:
        return self._records.setdefault(name, {})

    def _changed(self) -> None:
        self._existing = None
        self.version += 1

    def _find(self, name: dns.name.Name) -> dict[dns.rdatatype.RdataType, dns.rdataset.Rdataset] | None:
        """The records of *name*, its own or a wildcard's; empty between other names; ``None`` when it does not exist."""
        if self._existing is None:
            self._existing = {dns.name.root}
            for owner in self._records:
                name_or_parent = owner
                while name_or_parent not in self._existing:
                    self._existing.add(name_or_parent)
                    name_or_parent = name_or_parent.parent()
        if name in self._existing:
            return self._records.get(name, {})
        encloser = name.parent()
        while encloser not in self._existing:
            encloser = encloser.parent()
        return self._records.get(dns.name.Name((b"*", *encloser.labels)))


class _Rendered(NamedTuple):
    """What to do about a query."""

    query: Query
    octets: bytes | None
    """The answer after its ID; ``None``: no answer."""
    wrong_id: bool = False
    forged: bytes = b""
    """Goes out first, after a wrong ID."""
    closes: bool = False
    """Whether a TCP connection ends here."""
    seconds: float = 0.0
    """After how long to answer."""


class NameServer:
    """Serves a zone on loopback, UDP and TCP on one port, from a thread of its own; a context manager.

    Rendered answers are kept until the zone changes, so that some thousand queries a second can be answered.
    """

    def __init__(self, zone: Zone | str = "", port: int = 0) -> None:
        """*zone* may be a master file's text; *port* 0 takes a free one."""
        self.zone = zone if isinstance(zone, Zone) else Zone(zone)
        self._port = port
        self._rendered: dict[tuple[bytes, str], _Rendered] = {}
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

    def _render(self, wire: bytes, transport: str) -> _Rendered | None:
        version = self.zone.version
        if version != self._rendered_version or len(self._rendered) > _RENDERED_KEPT:
            self._rendered.clear()
            self._rendered_version = version
        key = (wire[2:], transport)
        rendered = self._rendered.get(key)
        if rendered is None:
            try:
                request = dns.message.from_wire(wire)
            except dns.exception.DNSException:
                return None
            if request.flags & dns.flags.QR or len(request.question) != 1:
                return None
            rendered = self._rendered[key] = _render(self.zone, request, transport)
        return rendered


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


def _render(zone: Zone, request: dns.message.Message, transport: str) -> _Rendered:
    question = request.question[0]
    query = Query(
        question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype), transport
    )
    behaviour = zone.behaviour(question.name, question.rdtype)
    response = dns.message.make_response(request, recursion_available=True, our_payload=_PAYLOAD_OCTETS)
    response.flags |= dns.flags.AA
    forged = b""
    match behaviour:
        case Behaviour.SILENCE:
            return _Rendered(query, None)
        case Behaviour.GARBAGE:
            return _Rendered(query, b"\xff" * 40)
        case Behaviour.TRUNCATED if transport == "tcp":
            return _Rendered(query, None, closes=True)
        case Behaviour.TRUNCATED | Behaviour.TRUNCATED_EVERYWHERE:
            response.flags |= dns.flags.TC
        case Behaviour.SERVFAIL | Behaviour.REFUSED | Behaviour.FORMERR:
            response.set_rcode(dns.rcode.from_text(behaviour))
        case Behaviour.CNAME_LOOP:
            response.answer = _cname_loop(question.name)
        case Behaviour.FORGED_FIRST:
            forged = response.to_wire()[2:]
            zone.answer(response)
        case Behaviour.WRONG_ID | Slow() | Crafted() | None:
            zone.answer(response)
    limit = _TCP_OCTETS if transport == "tcp" else max(512, request.payload)
    octets: bytes | None = response.to_wire(max_size=limit, prefer_truncation=True)[2:]
    if isinstance(behaviour, Crafted) and octets:
        octets = behaviour.craft(transport, octets)
    seconds = behaviour.seconds if isinstance(behaviour, Slow) else 0.0
    return _Rendered(query, octets, wrong_id=behaviour is Behaviour.WRONG_ID, forged=forged, seconds=seconds)


def _nothing() -> None:
    """What ends without a connection."""


def _cname_loop(name: dns.name.Name) -> list[dns.rrset.RRset]:
    other = dns.name.Name((b"loop", *name.labels))
    ends = ((name, other), (other, name))
    return [
        dns.rrset.from_text(owner, _TTL_SECONDS, _IN, dns.rdatatype.CNAME, str(target))
        for owner, target in ends
    ]


def _rrset(name: dns.name.Name, rdataset: dns.rdataset.Rdataset) -> dns.rrset.RRset:
    return dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset))


def _absolute(name: str) -> dns.name.Name:
    return dns.name.from_text(name)


def _type_or_none(record_type: str | None) -> dns.rdatatype.RdataType | None:
    return None if record_type is None else dns.rdatatype.from_text(record_type)


def _strings(text: str | bytes) -> list[bytes]:
    octets = text.encode() if isinstance(text, str) else text
    return [octets[at : at + 255] for at in range(0, len(octets), 255)] or [b""]


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
