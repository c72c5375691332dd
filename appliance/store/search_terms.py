"""What events are found by: a query, and the terms that it shares with the events that it finds."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address

from appliance.mail.domain import InvalidDomain, to_a_label
from appliance.mail.message import IPAddress
from appliance.store.records import Event
from appliance.store.values import text

IPNetwork = IPv4Network | IPv6Network

MAX_ADDRESS = 320

_NETWORKS_4 = (24, 16)
_NETWORKS_6 = (64, 48, 32)


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Events that fit everything given here; ``None`` asks nothing."""

    since: datetime | None = None
    """Received then or later; aware."""
    until: datetime | None = None
    """Received before; aware."""
    author_domain: str | None = None
    """That domain; with ``*.`` in front every domain below it. U-labels are understood."""
    mail_from: str | None = None
    """The sender's whole address, ASCII letters in either case; ``""`` is the null reverse path."""
    recipient: str | None = None
    """A whole address, ASCII letters in either case; one of the 100 that an event keeps."""
    client: IPNetwork | None = None
    """The network that the effective client is in; an address is a network of one."""
    message_id: str | None = None
    """With or without its angle brackets."""
    queue_id: str | None = None
    event_id: str | None = None
    result: str | None = None
    """DMARC's, in the words of RFC 8601; ``""``: not verified."""
    outcome: str | None = None
    """What was done, in the words of ``appliance.policy.Outcome``."""

    @property
    def terms(self) -> tuple[str, ...]:
        """What every event that fits has among its terms, the most telling first."""
        terms = []
        if self.event_id is not None:
            terms.append("id:" + text(self.event_id, 64))
        if self.message_id is not None:
            terms.append("message:" + bare_message_id(text(self.message_id, 500)))
        if self.queue_id is not None:
            terms.append("queue:" + text(self.queue_id, 64))
        if self.mail_from is not None:
            terms.append("from:" + in_lower_case(text(self.mail_from, MAX_ADDRESS)))
        if self.recipient is not None:
            terms.append("to:" + in_lower_case(text(self.recipient, MAX_ADDRESS)))
        if self.client is not None:
            terms += _network_terms(self.client)
        if self.author_domain is not None:
            terms.append(_domain_term(self.author_domain))
        if self.result is not None:
            terms.append("result:" + text(self.result, 64))
        if self.outcome is not None:
            terms.append("outcome:" + text(self.outcome, 64))
        return tuple(terms)

    def fits(self, event: Event) -> bool:
        if self.client is not None and not (event.client_ip and ip_address(event.client_ip) in self.client):
            return False
        terms = terms_of(
            event_id=event.event_id,
            queue_id=event.queue_id,
            message_id=event.message_id,
            mail_from=event.mail_from,
            recipients=[recipient.address for recipient in event.envelope.recipients],
            client_ip=event.client_ip,
            author_domain=event.author_domain,
            result=event.result,
            outcome=event.outcome,
        )
        return set(self.terms) <= set(terms)


def terms_of(
    *,
    event_id: str,
    queue_id: str,
    message_id: str,
    mail_from: str,
    recipients: Iterable[str],
    client_ip: str,
    author_domain: str,
    result: str,
    outcome: str,
) -> Iterator[str]:
    """Every term that an event with these values, as its row holds them, is found by."""
    yield "id:" + event_id
    yield "queue:" + queue_id
    yield "message:" + bare_message_id(message_id)
    yield "from:" + in_lower_case(mail_from)
    for address in recipients:
        yield "to:" + in_lower_case(text(address, MAX_ADDRESS))
    yield from client_terms(client_ip)
    yield from domain_terms(author_domain)
    yield "result:" + result
    yield "outcome:" + outcome


def fingerprint(term: str) -> bytes:
    """Seven octets; two terms with one fingerprint cost a look at an event in vain, no more."""
    return hashlib.blake2b(term.encode("utf-8", "surrogatepass"), digest_size=7).digest()


def in_lower_case(value: str) -> str:
    """*value* with A–Z in lower case and all else as it is, as both databases can do it too."""
    if value.isascii():
        return value.lower()
    return value.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def bare_message_id(value: str) -> str:
    return value.removeprefix("<").removesuffix(">")


@lru_cache(maxsize=4096)
def client_terms(client_ip: str) -> tuple[str, ...]:
    if not client_ip:
        return ()
    address = ip_address(client_ip)
    lengths = _NETWORKS_4 if address.version == 4 else _NETWORKS_6
    return ("ip:" + client_ip, *(_network_term(address, length) for length in lengths))


@lru_cache(maxsize=4096)
def domain_terms(author_domain: str) -> tuple[str, ...]:
    labels = author_domain.split(".")
    above = (".".join(labels[start:]) for start in range(1, len(labels)))
    return ("domain:" + author_domain, *("below:" + domain for domain in above))


def _domain_term(wanted: str) -> str:
    below = wanted.startswith("*.")
    name = wanted.removeprefix("*.")
    try:
        name = to_a_label(name)
    except InvalidDomain:
        name = in_lower_case(text(name, 253))
    return ("below:" if below else "domain:") + name


def _network_terms(network: IPNetwork) -> Iterator[str]:
    """The longest network that is indexed and holds *network*; without one every event has to be looked at."""
    if network.prefixlen == network.max_prefixlen:
        yield "ip:" + str(network.network_address)
        return
    for length in _NETWORKS_4 if network.version == 4 else _NETWORKS_6:
        if length <= network.prefixlen:
            yield _network_term(network.network_address, length)
            return


def _network_term(address: IPAddress, length: int) -> str:
    return "net:" + address.packed[: length // 8].hex()
