"""What the name server answers to a query, as octets: the zone's answer, or the misbehaviour it asks for."""

from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from appliance.lab.nameserver.zone import TTL_SECONDS, Behaviour, Crafted, Slow, Zone

_PAYLOAD_OCTETS = 1232
_TCP_OCTETS = 65_535


class Query(NamedTuple):
    """One query as it came; *name* is lower-case, without a closing dot."""

    name: str
    type: str
    transport: str
    """``udp`` or ``tcp``."""


class Rendered(NamedTuple):
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


def render(zone: Zone, wire: bytes, transport: str) -> Rendered | None:
    """What to do about the query *wire*; ``None`` when it is none."""
    try:
        request = dns.message.from_wire(wire)
    except dns.exception.DNSException:
        return None
    if request.flags & dns.flags.QR or len(request.question) != 1:
        return None
    return _answered(zone, request, transport)


def _answered(zone: Zone, request: dns.message.Message, transport: str) -> Rendered:
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
            return Rendered(query, None)
        case Behaviour.GARBAGE:
            return Rendered(query, b"\xff" * 40)
        case Behaviour.TRUNCATED if transport == "tcp":
            return Rendered(query, None, closes=True)
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
    return Rendered(query, octets, wrong_id=behaviour is Behaviour.WRONG_ID, forged=forged, seconds=seconds)


def _cname_loop(name: dns.name.Name) -> list[dns.rrset.RRset]:
    other = dns.name.Name((b"loop", *name.labels))
    ends = ((name, other), (other, name))
    return [
        dns.rrset.from_text(owner, TTL_SECONDS, dns.rdataclass.IN, dns.rdatatype.CNAME, str(target))
        for owner, target in ends
    ]
