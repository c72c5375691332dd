"""Records of the lists: one a line, attributes behind the value, ``#`` and a comment at the end."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Generic, Protocol, Self, TypeVar

from appliance.mail.domain import InvalidDomain, to_a_label
from appliance.mail.message import IPAddress

IPNetwork = IPv4Network | IPv6Network

T = TypeVar("T")

MAX_COMMENT = 200


class InvalidRecord(ValueError):
    """A line of a list can't be used; the message says why and what to write instead."""


class Record(Protocol):
    """One line of a list; ``str`` gives the line back."""

    comment: str

    @classmethod
    def parse(cls, line: str) -> Self: ...

    @property
    def key(self) -> str:
        """Two records with one key are the same entry."""


@dataclass(frozen=True, slots=True)
class DomainRecord:
    """``example.com`` matches that domain only; ``*.example.com`` matches every name below it, but not itself."""

    domain: str
    below: bool = False
    comment: str = ""

    @classmethod
    def parse(cls, line: str) -> Self:
        value, attributes, comment = split(line, allowed=())
        assert not attributes
        below = value.startswith("*.")
        try:
            domain = to_a_label(value.removeprefix("*."))
        except InvalidDomain as error:
            raise InvalidRecord(f'"{shorten(value)}" is not a domain name: {error}') from None
        if "." not in domain:
            raise InvalidRecord(
                f'"{shorten(value)}" is a whole top-level domain; write example.com or *.example.com'
            )
        if domain.rpartition(".")[2].isdecimal():
            raise InvalidRecord(
                f'"{shorten(value)}" is an IP address, not a domain; exceptions and known hosts are lists of addresses'
            )
        return cls(domain, below, comment)

    @property
    def key(self) -> str:
        return f"*.{self.domain}" if self.below else self.domain

    def __str__(self) -> str:
        return join(self.key, {}, self.comment)


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """An address or a network in CIDR form."""

    network: IPNetwork
    comment: str = ""

    @classmethod
    def parse(cls, line: str) -> Self:
        value, attributes, comment = split(line, allowed=())
        assert not attributes
        return cls(parse_network(value), comment)

    @property
    def key(self) -> str:
        return show_network(self.network)

    def __str__(self) -> str:
        return join(self.key, {}, self.comment)


def parse_network(text: str) -> IPNetwork:
    """An IPv4 or IPv6 address or network; host bits are refused with the network that was probably meant."""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise InvalidRecord(f'"{shorten(text)}" is not an IP address or network') from None
    raise InvalidRecord(
        f"{shorten(text)} has bits set behind the network; write {meant} or the address alone"
    )


def show_network(network: IPNetwork) -> str:
    """A network as people write it: a single address without its prefix length."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def shorten(text: str, most: int = 80) -> str:
    """*text* fit to stand in a message: printable, at most *most* characters."""
    shown = "".join(char if char.isprintable() else "\ufffd" for char in text[:most])
    return shown + "…" if len(text) > most else shown


def split(line: str, allowed: tuple[str, ...]) -> tuple[str, dict[str, str], str]:
    """A line's value, its attributes and its comment."""
    text, _, comment = line.partition("#")
    words = text.split()
    if not words:
        raise InvalidRecord(
            "the line has a comment but no entry; put the comment behind an entry, or remove the line"
        )
    attributes: dict[str, str] = {}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if not equals or name not in allowed:
            hint = f"an attribute is one of {', '.join(allowed)}" if allowed else "a comment starts with #"
            raise InvalidRecord(f'"{shorten(word)}" is not understood; {hint}')
        if name in attributes:
            raise InvalidRecord(f"{name} is given twice")
        attributes[name] = value
    comment = comment.strip()
    if len(comment) > MAX_COMMENT:
        raise InvalidRecord(f"the comment is longer than {MAX_COMMENT} characters")
    if not comment.isprintable():
        raise InvalidRecord("the comment holds control characters")
    return words[0], attributes, comment


def join(value: str, attributes: dict[str, str], comment: str) -> str:
    """The line that ``split`` takes apart."""
    words = [value, *(f"{name}={text}" for name, text in attributes.items())]
    return " ".join([*words, f"# {comment}"] if comment else words)


class DomainSet:
    """Domain records, matched in constant time."""

    def __init__(self, records: Iterable[DomainRecord]) -> None:
        self._keys = frozenset(record.key for record in records)

    def __contains__(self, domain: object) -> bool:
        if not self._keys or not isinstance(domain, str):
            return False
        if domain in self._keys:
            return True
        rest = domain
        while "." in rest:
            rest = rest.partition(".")[2]
            if f"*.{rest}" in self._keys:
                return True
        return False


class NetworkMap(Generic[T]):
    """Networks with a value each; the narrowest that holds an address wins. One probe for each prefix length in use."""

    def __init__(self, networks: Iterable[tuple[IPNetwork, T]]) -> None:
        tables: dict[tuple[int, int], dict[int, T]] = {}
        for network, value in networks:
            shift = network.max_prefixlen - network.prefixlen
            table = tables.setdefault((network.version, shift), {})
            table.setdefault(int(network.network_address) >> shift, value)
        self._tables = sorted(
            ((version, shift, table) for (version, shift), table in tables.items()), key=lambda t: t[1]
        )

    def get(self, address: IPAddress | None) -> T | None:
        """The value of the narrowest network that holds *address*."""
        if address is None:
            return None
        return next(self.holding(address), None)

    def holding(self, address: IPAddress) -> Iterator[T]:
        """The values of all networks that hold *address*, the narrowest first."""
        number, family = int(address), address.version
        for version, shift, table in self._tables:
            if version == family and (value := table.get(number >> shift)) is not None:
                yield value

    def __contains__(self, address: object) -> bool:
        return isinstance(address, IPAddress) and self.get(address) is not None
