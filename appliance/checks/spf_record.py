"""SPF records taken apart: pyspf's grammar, made as strict as that of RFC 7208 section 12."""

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

import spf

from appliance.checks.spf_macros import is_domain_spec, is_macro_string
from appliance.mail.authentication import SpfWord

MAX_RECORD_OCTETS = 8192  # ten times what fits an answer by UDP; more only serves to burn time (T15)
_MAX_REMEMBERED_TERM = 100  # longer terms are rare, and remembering them would cost memory

_VERSION = re.compile(rb"v=spf1(?: |\Z)", re.IGNORECASE)
_PRINTABLE = re.compile(rb"[\x20-\x7e]*")
_CIDR_TOO_LONG = re.compile(r"/[0-9]{4,}$")
_IMPLICIT_DOMAIN = "%{d}"
_NETWORKS = {"ip4", "ip6", "a", "mx"}
_WIDE = {4: 8, 6: 16}  # prefix lengths; a provider's own IPv6 network has 32 bits or more


class InvalidRecord(spf.PermError):  # type: ignore[misc]  # pyspf has no types
    """A permanent error; its message is ours, and never quotes the DNS."""


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One directive. *domain_spec* is ``""`` where the mechanism takes none."""

    text: str
    """As published, for people."""
    name: str
    result: SpfWord
    """What a match means."""
    domain_spec: str
    prefix: int
    """Of the client's address family."""
    network: int
    """``ip4`` and ``ip6``: the first *prefix* bits."""

    def is_wide(self, version: int) -> bool:
        """Whether it names a good part of the internet, where anybody may have an address (T16)."""
        return self.name == "all" or (self.name in _NETWORKS and self.prefix <= _WIDE[version])


@dataclass(frozen=True, slots=True)
class Modifier:
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Record:
    """*redirect* and *explanation* are domain specs, ``""`` where the record has none."""

    mechanisms: tuple[Mechanism, ...]
    redirect: str
    explanation: str


def choose_record(texts: tuple[bytes, ...]) -> str | None:
    """The SPF record among the TXT records of a name (section 4.5); raises ``InvalidRecord``."""
    found = [text for text in texts if _VERSION.match(text)]
    if not found:
        return None
    if len(found) > 1:
        raise InvalidRecord("several SPF records")
    if len(found[0]) > MAX_RECORD_OCTETS:
        raise InvalidRecord(f"record longer than {MAX_RECORD_OCTETS} octets")
    if not _PRINTABLE.fullmatch(found[0]):
        raise InvalidRecord("record not printable ASCII")
    return found[0].decode("ascii")


def parse_record(text: str, version: int) -> Record:
    """The record *text* as it concerns clients of IP *version*; raises ``InvalidRecord``: any mistake spoils it."""
    mechanisms = []
    modifiers: dict[str, str] = {}
    for term in text.split(" ")[1:]:
        if not term:
            continue
        parsed = _term(term, version) if len(term) <= _MAX_REMEMBERED_TERM else _parse_term(term, version)
        if isinstance(parsed, Mechanism):
            mechanisms.append(parsed)
        elif parsed.name in {"redirect", "exp"}:
            if parsed.name in modifiers:
                raise InvalidRecord(f"{parsed.name}= more than once")
            modifiers[parsed.name] = parsed.value
    return Record(tuple(mechanisms), modifiers.get("redirect", ""), modifiers.get("exp", ""))


class _Grammar(spf.query):  # type: ignore[misc]  # pyspf has no types
    """pyspf's reading of one mechanism, without expanding its macros: that waits until it is its turn."""

    def __init__(self, client: str) -> None:
        super().__init__(i=client, s="postmaster@example.org", h="", strict=True)
        self.d = _IMPLICIT_DOMAIN

    def expand_domain(self, arg: str) -> str:
        if not is_domain_spec(arg):
            raise InvalidRecord("invalid domain in a term")
        return arg


_GRAMMARS = {4: _Grammar("0.0.0.0"), 6: _Grammar("::")}  # noqa: S104  no address to bind


def _parse_term(text: str, version: int) -> Mechanism | Modifier:
    if modifier := spf.RE_MODIFIER.match(text):
        return _parse_modifier(modifier[1].lower(), text[modifier.end() :])
    if _CIDR_TOO_LONG.search(text):
        raise InvalidRecord("invalid record")
    try:
        _, name, argument, prefix, result = _mechanism_of(text, version)
    except InvalidRecord:
        raise
    except (spf.PermError, ValueError):
        raise InvalidRecord("invalid record") from None
    network = 0
    if name in {"ip4", "ip6"}:
        address = ip_address(argument)
        network = int(address) >> (address.max_prefixlen - prefix)
    takes_domain = name not in {"ip4", "ip6", "all"}
    return Mechanism(text, name, SpfWord(result), argument if takes_domain else "", prefix, network)


def _mechanism_of(text: str, version: int) -> tuple[str, str, str, int, str]:
    explicit = ":" in text
    grammar = _GRAMMARS[version]
    # Without a domain of its own a mechanism takes the current one; include and exists must have their own.
    grammar.d = "" if explicit else _IMPLICIT_DOMAIN
    parsed: tuple[str, str, str, int, str] = grammar.validate_mechanism(text)
    if parsed[1] == "exists" and not explicit:
        raise InvalidRecord("invalid record")
    return parsed


def _parse_modifier(name: str, value: str) -> Modifier:
    valid = is_domain_spec if name in {"redirect", "exp"} else is_macro_string
    if not valid(value):
        raise InvalidRecord("invalid value of a modifier")
    return Modifier(name, value)


_term = lru_cache(maxsize=8192)(_parse_term)
