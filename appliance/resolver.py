"""The only door to the DNS: one question, one answer, a cache, and trouble told apart from "no such record"."""

import asyncio
import socket
import time
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.flags
import dns.inet
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.ANY.TXT import TXT

MAX_RECORDS = 100  # more at one name, or more octets in all, is no honest answer (T19)
MAX_OCTETS = 65_536
TOO_MANY = f"more than {MAX_RECORDS} records"
DEADLINE_PASSED = "no answer in the time given"
"""The reason of answers that the caller's deadline cut off."""
UDP_PAYLOAD_OCTETS = 1232  # fits every path without fragments; longer answers come by TCP
MAX_COUNTED_RECORDS = (
    300  # of all sections; parsing the 4,000 that 64 kB hold takes a fifth of a second (T19)
)
CACHE_OCTETS = 32 << 20  # of records; a zone of 64 kB answers must not fill the memory


class RecordType(StrEnum):
    A = "A"
    AAAA = "AAAA"
    MX = "MX"
    PTR = "PTR"
    TXT = "TXT"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. *name* is lower-case, in A-labels, without trailing dot."""

    name: str
    rdtype: RecordType


class Status(StrEnum):
    RECORDS = "records"
    NXDOMAIN = "nxdomain"
    NO_DATA = "nodata"
    TEMPORARY = "temporary"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the DNS said: records, "no such name", "nothing of that type", or "can't tell now"."""

    status: Status
    records: tuple[bytes, ...] = ()
    """TXT: the character-strings of each record joined. MX: ``b"10 mx.example"``. Others: text, lower-case."""
    ttl_seconds: int = 0
    """Of the whole CNAME chain; for NXDOMAIN and no data the negative TTL (RFC 2308)."""
    reason: str = ""
    """Why the DNS can't tell; ours, printable ASCII. ``""`` unless *status* is temporary."""
    authenticated: bool = False
    """The AD bit: the name server validated it (RFC 4035)."""


class TemporaryDnsError(Exception):
    """The DNS could not answer now; trying later may help. The message says why, in our words."""


@dataclass(slots=True)
class Counters:
    """What a resolver did since it started; for the metrics."""

    queries: int = 0
    """Questions sent to the name server, without repetitions."""
    cache_hits: int = 0
    temporary: int = 0


_BESIDE = {dns.rdatatype.DNAME, dns.rdatatype.RRSIG}  # may stand beside CNAMEs in an answer

_NO_SUCH_NAME = Answer(Status.NXDOMAIN)


class Resolver:
    """Asks one recursive name server. Use within one event loop; ``close`` it there.

    Times are of ``time.monotonic``, which asyncio's loops use as well.
    """

    def __init__(
        self,
        nameserver: str,
        *,
        query_timeout_seconds: float = 5.0,
        attempts: int = 2,
        cache: bool = True,
        cache_entries: int = 50_000,
        cache_octets: int = CACHE_OCTETS,
        positive_ttl_cap_seconds: int = 300,
        negative_ttl_cap_seconds: int = 900,
        max_in_flight: int = 256,
    ) -> None:
        """*nameserver* is ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``; raises ``ValueError`` when it is neither."""
        self._address, self._port = parse_nameserver(nameserver)
        self._query_timeout = query_timeout_seconds
        self._attempts = attempts
        self._cache = _Cache(
            cache_entries if cache else 0, cache_octets, positive_ttl_cap_seconds, negative_ttl_cap_seconds
        )
        self._in_flight: dict[Question, asyncio.Task[Answer]] = {}
        self._wanted_until: dict[Question, float] = {}
        self._slots = asyncio.Semaphore(max_in_flight)  # each query holds a file descriptor
        self.counters = Counters()

    def cached(self, question: Question) -> Answer | None:
        """The answer if it is known already; never waits."""
        answer = self._cache.get(question)
        if answer is not None:
            self.counters.cache_hits += 1
        return answer

    async def resolve(self, question: Question, deadline: float) -> Answer:
        """Ask, or share what is known or being asked; trouble and a passed *deadline* are temporary answers.

        The same question asked twice at once is sent once. A caller that gives up or is cancelled leaves the query
        to those who wait with it, and to the cache.
        """
        answer = self.cached(question)
        if answer is not None:
            return answer
        name = _wire_name(question.name)
        if name is None:
            return _NO_SUCH_NAME  # can't be written in the DNS, so nothing can be published there
        self._wanted_until[question] = max(deadline, self._wanted_until.get(question, deadline))
        task = self._in_flight.get(question)
        if task is None:
            task = asyncio.create_task(self._ask(question, name), name=f"dns {question.rdtype}")
            self._in_flight[question] = task
            task.add_done_callback(lambda _: self._end(question))
        done, _ = await asyncio.wait({task}, timeout=max(0.0, deadline - time.monotonic()))
        if not done:
            return Answer(Status.TEMPORARY, reason=DEADLINE_PASSED)
        return Answer(Status.TEMPORARY, reason="resolver closed") if task.cancelled() else task.result()

    async def close(self) -> None:
        """End what is under way; those who wait for it get temporary answers."""
        tasks = tuple(self._in_flight.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, question: Question) -> None:
        self._in_flight.pop(question, None)
        self._wanted_until.pop(question, None)

    async def _ask(self, question: Question, name: dns.name.Name) -> Answer:
        async with self._slots:
            if time.monotonic() > self._wanted_until[question]:
                return Answer(Status.TEMPORARY, reason=DEADLINE_PASSED)  # nobody waits any more
            self.counters.queries += 1
            answer = Answer(Status.TEMPORARY)
            for _ in range(self._attempts):
                answer = await self._ask_once(question, name)
                if answer.status is not Status.TEMPORARY:
                    # Temporary answers are not kept: the name server has its own short memory of failures, and
                    # nobody should fare worse because somebody else asked during a hiccup.
                    self._cache.put(question, answer)
                    return answer
            self.counters.temporary += 1
            return answer

    async def _ask_once(self, question: Question, name: dns.name.Name) -> Answer:
        query = dns.message.make_query(
            name,
            dns.rdatatype.from_text(question.rdtype),
            use_edns=0,
            payload=UDP_PAYLOAD_OCTETS,
            flags=dns.flags.RD | dns.flags.AD,
        )
        try:
            return _read(question.rdtype, await self._exchange(query))
        except TemporaryDnsError as trouble:
            return Answer(Status.TEMPORARY, reason=str(trouble))
        except (dns.exception.Timeout, TimeoutError):
            return Answer(Status.TEMPORARY, reason="timeout")
        except OSError as error:
            return Answer(Status.TEMPORARY, reason=f"name server not reachable (errno {error.errno})")
        except (dns.exception.DNSException, EOFError, ValueError) as error:
            return Answer(Status.TEMPORARY, reason=f"malformed answer ({type(error).__name__})")

    async def _exchange(self, query: dns.message.Message) -> dns.message.Message:
        """UDP, then TCP for what does not fit. Datagrams that are no answer to *query* are passed over."""
        family = dns.inet.af_for_address(self._address)
        backend = dns.asyncbackend.get_backend("asyncio")
        # A connected socket takes datagrams from the name server only, and hears at once that nobody listens there.
        udp = await backend.make_socket(  # type: ignore[no-untyped-call]  # dnspython's gap
            family, socket.SOCK_DGRAM, 0, None, (self._address, self._port)
        )
        async with udp:
            try:
                return await dns.asyncquery.udp(
                    query,
                    self._address,
                    self._query_timeout,
                    self._port,
                    sock=udp,
                    ignore_unexpected=True,
                    ignore_errors=True,
                    raise_on_truncation=True,
                )
            except dns.message.Truncated:
                pass
        async with asyncio.timeout(self._query_timeout):
            return await self._exchange_by_tcp(query)

    async def _exchange_by_tcp(self, query: dns.message.Message) -> dns.message.Message:
        """Our own reading, because an answer's records are to be counted before they are parsed."""
        reader, writer = await asyncio.open_connection(self._address, self._port)
        try:
            writer.write(query.to_wire(prepend_length=True))
            octets = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
        except asyncio.IncompleteReadError:
            raise EOFError from None
        finally:
            writer.close()
        counts = (int.from_bytes(octets[at : at + 2]) for at in (6, 8, 10))  # RFC 1035 section 4.1.1
        if sum(counts) > MAX_COUNTED_RECORDS:
            raise TemporaryDnsError(TOO_MANY)
        response = dns.message.from_wire(octets)
        if not query.is_response(response):
            raise TemporaryDnsError("answer to another question")
        return response


class _Cache:
    """Answers until their TTL ends, the least recently used thrown out first."""

    def __init__(
        self, entries: int, octets: int, positive_cap_seconds: int, negative_cap_seconds: int
    ) -> None:
        self._entries = entries
        self._most_octets = octets
        self._caps = {
            Status.RECORDS: positive_cap_seconds,
            Status.NXDOMAIN: negative_cap_seconds,
            Status.NO_DATA: negative_cap_seconds,
        }
        self._known: OrderedDict[Question, tuple[float, Answer]] = OrderedDict()
        self._octets = 0

    def get(self, question: Question) -> Answer | None:
        known = self._known.get(question)
        if known is None:
            return None
        until, answer = known
        if until <= time.monotonic():
            self._forget(question)
            return None
        self._known.move_to_end(question)
        return answer

    def put(self, question: Question, answer: Answer) -> None:
        seconds = min(answer.ttl_seconds, self._caps[answer.status])
        if seconds <= 0 or not self._entries:
            return
        if question in self._known:
            self._forget(question)
        self._known[question] = (time.monotonic() + seconds, answer)
        self._octets += _octets(answer)
        while len(self._known) > self._entries or self._octets > self._most_octets:
            self._forget(next(iter(self._known)))

    def _forget(self, question: Question) -> None:
        _, answer = self._known.pop(question)
        self._octets -= _octets(answer)


def _octets(answer: Answer) -> int:
    return sum(map(len, answer.records))


def parse_nameserver(text: str) -> tuple[str, int]:
    """``ADDRESS:PORT`` or ``[ADDRESS]:PORT`` in two parts; raises ``ValueError``."""
    address, _, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    if not dns.inet.is_address(address) or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f"{text!r} is no name server: write ADDRESS:PORT, for example 127.0.0.1:53")
    return address, int(port)


def _wire_name(name: str) -> dns.name.Name | None:
    """*name* as it goes over the wire; ``None`` when it can't: empty or long labels, too long, not ASCII."""
    try:
        return dns.name.Name([*name.encode("ascii").split(b"."), b""])
    except (UnicodeEncodeError, dns.exception.DNSException):
        return None


def _read(rdtype: RecordType, response: dns.message.Message) -> Answer:
    """The answer in *response*; raises ``TemporaryDnsError`` when it is none that can be relied on."""
    rcode = response.rcode()
    if rcode not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        raise TemporaryDnsError(dns.rcode.to_text(rcode))
    if response.flags & dns.flags.TC or not isinstance(response, dns.message.QueryMessage):
        raise TemporaryDnsError("truncated or malformed answer")
    chain = response.resolve_chaining()
    authenticated = bool(response.flags & dns.flags.AD)
    if chain.answer is None:
        if any(rrset not in chain.cnames and rrset.rdtype not in _BESIDE for rrset in response.answer):
            raise TemporaryDnsError("answer to another question")  # and no answer to ours, so not "no data"
        status = Status.NXDOMAIN if rcode == dns.rcode.NXDOMAIN else Status.NO_DATA
        return Answer(status, (), chain.minimum_ttl, "", authenticated)
    if len(chain.answer) > MAX_RECORDS:
        raise TemporaryDnsError(TOO_MANY)
    records = tuple(_text(rdtype, record) for record in chain.answer)
    if sum(map(len, records)) > MAX_OCTETS:
        raise TemporaryDnsError(f"more than {MAX_OCTETS} octets of records")
    return Answer(Status.RECORDS, records, chain.minimum_ttl, "", authenticated)


def _text(rdtype: RecordType, record: dns.rdata.Rdata) -> bytes:
    match rdtype:
        case RecordType.TXT:
            return b"".join(cast("TXT", record).strings)
        case RecordType.MX:
            mx = cast("MX", record)
            return b"%d %s" % (mx.preference, _host(mx.exchange))
        case RecordType.PTR:
            return _host(cast("PTR", record).target)
        case _:
            return record.to_text().encode("ascii").lower()


def _host(name: dns.name.Name) -> bytes:
    return name.to_text(omit_final_dot=True).encode("ascii").lower()
