"""The names that the name server knows, and how it misbehaves when asked for one (RFC 1034, RFC 4592)."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import dns.exception
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

TTL_SECONDS = 60

_IN = dns.rdataclass.IN
_CNAMES_FOLLOWED = 16


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

    def __init__(self, text: str = "", *, ttl_seconds: int = TTL_SECONDS) -> None:
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


def _rrset(name: dns.name.Name, rdataset: dns.rdataset.Rdataset) -> dns.rrset.RRset:
    return dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset))


def _absolute(name: str) -> dns.name.Name:
    return dns.name.from_text(name)


def _type_or_none(record_type: str | None) -> dns.rdatatype.RdataType | None:
    return None if record_type is None else dns.rdatatype.from_text(record_type)


def _strings(text: str | bytes) -> list[bytes]:
    octets = text.encode() if isinstance(text, str) else text
    return [octets[at : at + 255] for at in range(0, len(octets), 255)] or [b""]
