"""A DNS server on loopback that answers from a dictionary, or misbehaves by name."""

import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset


class Behaviour(Enum):
    SERVFAIL = auto()
    REFUSED = auto()
    FORMERR = auto()
    SILENT = auto()
    GARBAGE = auto()
    WRONG_ID = auto()
    TRUNCATED_EVERYWHERE = auto()
    CHATTY = auto()
    """A forged answer first, the right one after it."""


@dataclass
class NameServer:
    """``txt``, ``add`` and ``behave`` set what names answer; *asked* counts ``(name, type)``."""

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_tcp: Counter[tuple[str, str]] = field(default_factory=Counter)
    ttl: int = 60
    negative_ttl: int = 60
    port: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    """Answers wait while it is cleared."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def txt(self, name: str, *texts: str | bytes) -> Self:
        """One TXT record for each text, split into character-strings of 255 octets."""
        values = []
        for text in texts:
            octets = text.encode() if isinstance(text, str) else text
            strings = [octets[at : at + 255] for at in range(0, len(octets), 255)] or [b""]
            values.append(
                " ".join('"' + "".join(f"\\{octet:03d}" for octet in string) + '"' for string in strings)
            )
        return self.add(name, "TXT", *values)

    def add(self, name: str, rdtype: str, *values: str) -> Self:
        self.records.setdefault((name, rdtype), []).extend(values)
        return self

    def behave(self, name: str, behaviour: Behaviour, *, below: bool = True) -> Self:
        """For *name* and, with *below*, every name under it."""
        self.behaviours[name] = behaviour
        if below:
            self.behaviours["." + name] = behaviour
        return self

    def _behaviour(self, name: str) -> Behaviour | None:
        labels = name.split(".")
        names = (name, *("." + ".".join(labels[at:]) for at in range(1, len(labels))))
        return next((self.behaviours[known] for known in names if known in self.behaviours), None)

    def replies(self, wire: bytes, *, tcp: bool) -> list[bytes]:
        query = dns.message.from_wire(wire)
        [question] = query.question
        name = question.name.to_text(omit_final_dot=True).lower()
        rdtype = dns.rdatatype.to_text(question.rdtype)
        (self.by_tcp if tcp else self.asked)[name, rdtype] += 1
        self.gate.wait(30)
        response = dns.message.make_response(query, recursion_available=True)
        behaviour = self._behaviour(name)
        match behaviour:
            case Behaviour.SILENT:
                return []
            case Behaviour.SERVFAIL | Behaviour.REFUSED | Behaviour.FORMERR:
                response.set_rcode(dns.rcode.from_text(behaviour.name))
            case Behaviour.GARBAGE:
                return [wire[:2] + b"\xff" * 40]
            case _:
                self._fill(response, name, rdtype)
        if behaviour is Behaviour.WRONG_ID:
            response.id ^= 1
        replies = [self._to_wire(response, tcp=tcp, truncated=behaviour is Behaviour.TRUNCATED_EVERYWHERE)]
        if behaviour is Behaviour.CHATTY:
            forged = dns.message.make_response(query)
            forged.id ^= 1
            replies.insert(0, forged.to_wire())
        return replies

    def _to_wire(self, response: dns.message.Message, *, tcp: bool, truncated: bool) -> bytes:
        wire = response.to_wire(max_size=65535)
        if not truncated and (tcp or len(wire) <= 1232):
            return wire
        response.answer.clear()
        response.flags |= dns.flags.TC
        return response.to_wire()

    def _fill(self, response: dns.message.Message, name: str, rdtype: str) -> None:
        for _ in range(20):
            if values := self.records.get((name, rdtype)):
                response.answer.append(dns.rrset.from_text(name + ".", self.ttl, "IN", rdtype, *values))
                return
            target = self.records.get((name, "CNAME"))
            if target is None:
                break
            response.answer.append(dns.rrset.from_text(name + ".", self.ttl, "IN", "CNAME", *target))
            name = target[0].removesuffix(".")
        if not any(known == name or known.endswith("." + name) for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        soa = f"ns.invalid. h.invalid. 1 1 1 1 {self.negative_ttl}"
        response.authority.append(dns.rrset.from_text(".", self.negative_ttl, "IN", "SOA", soa))


@contextmanager
def running() -> Iterator[NameServer]:
    """A name server on a free port of 127.0.0.1, UDP and TCP."""
    server = NameServer()
    server.gate.set()
    tcp, udp = _sockets_on_one_port()
    with tcp, udp:
        server.port = udp.getsockname()[1]
        tcp.listen(16)
        stop = threading.Event()
        for listener in (udp, tcp):
            listener.settimeout(0.05)
        threads = [
            threading.Thread(target=_serve_udp, args=(server, udp, stop)),
            threading.Thread(target=_serve_tcp, args=(server, tcp, stop)),
        ]
        for thread in threads:
            thread.start()
        try:
            yield server
        finally:
            server.gate.set()
            stop.set()
            for thread in threads:
                thread.join()


def _sockets_on_one_port() -> tuple[socket.socket, socket.socket]:
    for _ in range(20):
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            tcp.bind(("127.0.0.1", 0))
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
        else:
            return tcp, udp
    raise OSError("no port is free for both UDP and TCP")


def _serve_udp(server: NameServer, udp: socket.socket, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            wire, client = udp.recvfrom(4096)
        except TimeoutError:
            continue
        for reply in server.replies(wire, tcp=False):
            udp.sendto(reply, client)


def _serve_tcp(server: NameServer, tcp: socket.socket, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            connection, _ = tcp.accept()
        except TimeoutError:
            continue
        with connection:
            connection.settimeout(2)
            length = struct.unpack("!H", connection.recv(2))[0]
            for reply in server.replies(connection.recv(length), tcp=True):
                connection.sendall(struct.pack("!H", len(reply)) + reply)
