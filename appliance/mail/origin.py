"""Find the client a message really came from when our own or trusted relays stand in front (Known Hosts).

A relay names its client in the Received field it adds (RFC 5321 section 4.4), in the form its software has. Only
fields that a Known Host wrote are believed, and of those only what the relay saw itself: never the HELO name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Protocol

from appliance.mail.address import parse_ip
from appliance.mail.message import IPAddress, Message
from appliance.mail.tokens import Kind, NotStructured, Token, tokens

MAX_HOPS = 50  # Postfix's own limit against loops
MAX_RECEIVED_OCTETS = 8192

_NAME = r"(?!(?:he|eh)lo\s)[\w.@-]+"
_SEEN_IN_BRACKETS = re.compile(
    rf"\s*(?:{_NAME}\s+)?\[(?P<ip>[^\[\]\s]+)\](?::\d+)?(?:\s|$)", re.IGNORECASE | re.ASCII
)
_SEEN_ALONE = re.compile(rf"\s*(?:{_NAME}@)?(?P<ip>[0-9A-Fa-f:.]+)(?:%\w+)?\s*", re.ASCII)
_EXIM_HELO_ONLY = re.compile(r"\s*(?:port=\d+\s+)?helo=\S*", re.ASCII)
_EXIM_HELO = re.compile(r"\shelo=(\S+)", re.ASCII)
_QMAIL_HELO = re.compile(r"HELO (\S+)", re.ASCII)


class Networks(Protocol):
    """Answers whether one of its networks holds an address; a plain list of networks doesn't."""

    def __contains__(self, address: object, /) -> bool: ...


class HowFound(StrEnum):
    """How the client was found."""

    PEER = "peer"
    """It connected to us itself."""
    RECEIVED = "received"
    """A Known Host says so."""
    UNKNOWN = "unknown"
    """A Known Host connected, and does not say from where it had the message."""


@dataclass(frozen=True, slots=True)
class Hop:
    """A client as one host saw it. *helo* is what it called itself, as text of unknown worth."""

    ip: IPAddress
    helo: str


@dataclass(frozen=True, slots=True)
class Origin:
    """The effective client: the one whose address SPF, the exception list and the reports use."""

    client_ip: IPAddress | None
    """``None`` when it is unknown, or the message was submitted on this machine."""
    helo: str
    found: HowFound
    relays: tuple[Hop, ...] = ()
    """The Known Hosts that handed the message on, the connected one first."""


def effective_client(message: Message, known_hosts: Networks) -> Origin:
    """The connected client, or the nearest earlier hop that is not in *known_hosts*."""
    envelope = message.envelope
    if envelope.client_ip is None or envelope.client_ip not in known_hosts:
        return Origin(envelope.client_ip, envelope.helo, HowFound.PEER)
    relays = [Hop(envelope.client_ip, envelope.helo)]
    for received in islice(message.fields_named("received"), MAX_HOPS):
        hop = client_in_received(received.value)
        if hop is None:
            break
        # A filter on the relay hands the message back over loopback: still the same relay.
        if hop.ip not in known_hosts and not hop.ip.is_loopback:
            return Origin(hop.ip, hop.helo, HowFound.RECEIVED, tuple(relays))
        relays.append(hop)
    return Origin(None, "", HowFound.UNKNOWN, tuple(relays))


def client_in_received(value: bytes) -> Hop | None:
    """The client that the writer of this Received field saw; ``None`` when that can't be told beyond doubt.

    Understood are the forms of Postfix and Sendmail ``from HELO (name [address])``, of Exim
    ``from name ([address] helo=HELO)`` and ``from [address] (helo=HELO)``, of Exchange ``from HELO (address)``, of
    qmail ``from name (HELO HELO) (address)``, and ``from [address]``.
    """
    if len(value) > MAX_RECEIVED_OCTETS:
        return None
    try:
        part = list(_from_part(value))
    except NotStructured:
        return None
    if not part or part[0].kind not in {Kind.ATOM, Kind.LITERAL}:
        return None
    word, comments = part[0], part[1:]
    if any(token.kind is not Kind.COMMENT for token in comments):
        return None
    helo = f"[{word.text}]" if word.kind is Kind.LITERAL else word.text
    seen = [found["ip"] for comment in comments if (found := _address_in(comment.text))]
    if not seen and word.kind is Kind.LITERAL and _says_only_helo(comments):
        seen = [word.text]
    ip = parse_ip(seen[0]) if len(seen) == 1 else None
    return Hop(ip, _helo_in(comments) or helo) if ip else None


def _from_part(value: bytes) -> Iterator[Token]:
    """What stands between ``from`` and ``by``."""
    field = tokens(value)
    first = next(field, None)
    if first is None or first.kind is not Kind.ATOM or first.text.lower() != "from":
        return
    for token in field:
        if token.is_special(";") or (token.kind is Kind.ATOM and token.text.lower() == "by"):
            return
        yield token


def _address_in(comment: str) -> re.Match[str] | None:
    return _SEEN_IN_BRACKETS.match(comment) or _SEEN_ALONE.fullmatch(comment)


def _says_only_helo(comments: list[Token]) -> bool:
    """Whether the word after ``from`` is the client's address as seen, not what the client called itself."""
    return all(_EXIM_HELO_ONLY.fullmatch(comment.text) for comment in comments)


def _helo_in(comments: list[Token]) -> str:
    for comment in comments:
        if found := _EXIM_HELO.search(" " + comment.text) or _QMAIL_HELO.fullmatch(comment.text):
            return found[1]
    return ""
