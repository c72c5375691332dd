"""The exception list: whose mail is not verified, or verified and not acted on.

``192.0.2.0/24 mode=evaluate until=2027-01-01 owner=anna from=example.com # office in Kyoto``
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Self

from appliance.mail.domain import InvalidDomain, to_a_label
from appliance.mail.message import IPAddress
from appliance.settings.records import (
    DomainRecord,
    DomainSet,
    InvalidRecord,
    IPNetwork,
    NetworkMap,
    join,
    parse_network,
    shorten,
    show_network,
    split,
)

ANY_CLIENT = "*"

_ATTRIBUTES = ("mode", "until", "owner", "from", "dkim")
_OWNER = re.compile(r"[^\s#]{1,64}")


class ExceptionMode(StrEnum):
    """Skip: not verified at all. Evaluate: verified, marked and reported, never acted on."""

    SKIP = "skip"
    EVALUATE = "evaluate"


@dataclass(frozen=True, slots=True)
class ExceptionRecord:
    """Clients whose mail is not verified, or not acted on; *author* and *signer* narrow it to some of their mail."""

    network: IPNetwork | None
    """``None``: any client; only where *signer* vouches for the message."""
    mode: ExceptionMode = ExceptionMode.SKIP
    until: date | None = None
    """The last UTC day on which it holds."""
    owner: str = ""
    """Who answers for it; one word."""
    author: DomainRecord | None = None
    """Holds only for mail of which every Author Domain matches."""
    signer: str = ""
    """Holds only for mail with a DKIM signature of this domain (``d=``) that verifies."""
    comment: str = ""

    @classmethod
    def parse(cls, line: str) -> Self:
        value, attributes, comment = split(line, allowed=_ATTRIBUTES)
        signer = _signer(attributes["dkim"]) if "dkim" in attributes else ""
        return cls(
            _network(value, signer),
            _mode(attributes.get("mode"), signer),
            _day(attributes["until"]) if "until" in attributes else None,
            _owner(attributes["owner"]) if "owner" in attributes else "",
            DomainRecord.parse(attributes["from"]) if "from" in attributes else None,
            signer,
            comment,
        )

    @property
    def key(self) -> str:
        return join(self.shown_network, self._conditions, "")

    @property
    def shown_network(self) -> str:
        return ANY_CLIENT if self.network is None else show_network(self.network)

    @property
    def _conditions(self) -> dict[str, str]:
        found = {"from": self.author.key if self.author is not None else "", "dkim": self.signer}
        return {name: value for name, value in found.items() if value}

    def __str__(self) -> str:
        attributes = {
            "mode": self.mode.value if self.mode is not ExceptionMode.SKIP else "",
            "until": self.until.isoformat() if self.until is not None else "",
            "owner": self.owner,
        }
        given = {name: value for name, value in attributes.items() if value}
        return join(self.shown_network, given | self._conditions, self.comment)


class ExceptionList:
    """Exception records, found by client address in constant time."""

    def __init__(self, records: Iterable[ExceptionRecord]) -> None:
        by_network: dict[IPNetwork, list[_Entry]] = defaultdict(list)
        self._anywhere = []
        for record in records:
            if record.network is None:
                self._anywhere.append(_Entry(record))
            else:
                by_network[record.network].append(_Entry(record))
        for entries in by_network.values():
            entries.sort(key=lambda entry: entry.conditions, reverse=True)
        self._networks = NetworkMap(by_network.items())

    def find(
        self,
        client_ip: IPAddress | None,
        today: date,
        *,
        authors: Sequence[str] = (),
        signers: Collection[str] = (),
    ) -> ExceptionRecord | None:
        """The record that holds: of the narrowest network, and there the one with most conditions.

        *authors* are the message's Author Domains, *signers* the domains of its signatures that verified.
        """
        for entry in self._of(client_ip):
            if entry.holds(today, authors, signers):
                return entry.record
        return None

    def _of(self, client_ip: IPAddress | None) -> Iterator["_Entry"]:
        if client_ip is not None:
            for entries in self._networks.holding(client_ip):
                yield from entries
        yield from self._anywhere


class _Entry:
    """A record made ready for asking."""

    __slots__ = ("_authors", "conditions", "record")

    def __init__(self, record: ExceptionRecord) -> None:
        self.record = record
        self.conditions = (record.author is not None) + bool(record.signer)
        self._authors = DomainSet([record.author]) if record.author is not None else None

    def holds(self, today: date, authors: Sequence[str], signers: Collection[str]) -> bool:
        record = self.record
        if record.until is not None and today > record.until:
            return False
        if record.signer and record.signer not in signers:
            return False
        if self._authors is None:
            return True
        return bool(authors) and all(author in self._authors for author in authors)


def _network(value: str, signer: str) -> IPNetwork | None:
    if value == ANY_CLIENT:
        if not signer:
            raise InvalidRecord("* stands for every client, so it needs dkim=DOMAIN; or write a network")
        return None
    network = parse_network(value)
    if network.prefixlen == 0:
        raise InvalidRecord(f"{network} is every address; switch DMARC off instead")
    return network


def _mode(value: str | None, signer: str) -> ExceptionMode:
    if value is None:
        return ExceptionMode.EVALUATE if signer else ExceptionMode.SKIP
    try:
        mode = ExceptionMode(value)
    except ValueError:
        raise InvalidRecord(f'mode is skip or evaluate, not "{shorten(value)}"') from None
    if signer and mode is ExceptionMode.SKIP:
        raise InvalidRecord("a signature is known only after it was checked; with dkim= write mode=evaluate")
    return mode


def _day(value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise InvalidRecord(f'until is a day such as 2027-01-31, not "{shorten(value)}"') from None


def _owner(value: str) -> str:
    if not _OWNER.fullmatch(value) or not value.isprintable():
        raise InvalidRecord("owner is one word of at most 64 characters")
    return value


def _signer(value: str) -> str:
    try:
        return to_a_label(value)
    except InvalidDomain as error:
        raise InvalidRecord(f'dkim= needs a domain name; "{shorten(value)}" is none: {error}') from None
