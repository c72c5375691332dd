"""The addresses that receivers see us come from: told, set in Postfix, or those that this machine sends from."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from reporting.readiness.measure import IPAddress, Measure, Subject, failing, ok

# Anywhere outside, by the default route (RFC 5737, RFC 3849). Connecting a datagram socket sends nothing.
_ANYWHERE = ((socket.AF_INET, "203.0.113.1"), (socket.AF_INET6, "2001:db8::1"))
_TELL = "name the public address with --address, once for each"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """*addresses* is empty where they can't be known."""

    addresses: tuple[IPAddress, ...]
    measure: Measure


def find_outgoing(told: Sequence[IPAddress], parameters: Mapping[str, str]) -> Outgoing:
    """*parameters* are Postfix's; what the administrator *told* goes before them."""
    if told:
        return _found(told, "as told")
    if relay := parameters.get("relayhost"):
        return _unknown(f"mail leaves through {relay}, whose address is not known here")
    bound = tuple(_bound(parameters))
    if bound:
        return _found(bound, "by smtp_bind_address of Postfix")
    used = tuple(_used(parameters.get("inet_protocols", "all")))
    public = tuple(address for address in used if address.is_global)
    if public:
        return _found(public, "by the route to the Internet")
    if used:
        return _unknown(
            f"{', '.join(map(str, used))} is a private address: outside we are seen under another"
        )
    return _unknown("there is no route to the Internet")


def _found(addresses: Sequence[IPAddress], how: str) -> Outgoing:
    unique = tuple(dict.fromkeys(addresses))
    return Outgoing(unique, ok(Subject.ADDRESS, f"{', '.join(map(str, unique))}, {how}"))


def _unknown(measured: str) -> Outgoing:
    return Outgoing((), failing(Subject.ADDRESS, measured, _TELL))


def _bound(parameters: Mapping[str, str]) -> Iterator[IPAddress]:
    for name in ("smtp_bind_address", "smtp_bind_address6"):
        try:
            yield ip_address(parameters.get(name, "").strip("[]"))
        except ValueError:
            continue


def _used(protocols: str) -> Iterator[IPAddress]:
    """The addresses that connections to the outside have here, one for each IP version that Postfix uses."""
    wanted = {word.strip() for word in protocols.split(",")}
    for family, anywhere in _ANYWHERE:
        if not wanted & {"all", "ipv4" if family is socket.AF_INET else "ipv6"}:
            continue
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((anywhere, 25))
                yield ip_address(probe.getsockname()[0].partition("%")[0])
        except OSError:
            continue
