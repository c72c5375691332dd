"""Envelopes, results and events as JSON documents, and back."""

import zlib
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from appliance.mail.authentication import (
    ArcResult,
    ArcSeal,
    ArcWord,
    Authentication,
    DkimResult,
    DkimWord,
    SpfResult,
    SpfScope,
    SpfWord,
)
from appliance.mail.message import Envelope, Recipient
from appliance.policy import Override, OverrideType
from appliance.store.records import Event
from appliance.store.values import from_json, from_micros, to_micros

Document = Mapping[str, Any]

MAX_SIGNATURES = 100
MAX_REASON = 200


def envelope_document(envelope: Envelope, most_recipients: int | None = None) -> dict[str, Any]:
    """Texts are kept as they are: JSON in ASCII can hold any octets."""
    recipients: Sequence[Recipient] = envelope.recipients[:most_recipients]
    return {
        "at": to_micros(envelope.received_at),
        "ip": str(envelope.client_ip) if envelope.client_ip is not None else None,
        "port": envelope.client_port,
        "name": envelope.client_name,
        "helo": envelope.helo,
        "from": envelope.mail_from,
        "parameters": envelope.mail_parameters,
        "to": [(r.address, *r.parameters) for r in recipients],
        "login": envelope.authenticated_as,
        "qid": envelope.queue_id,
    }


def envelope_from(document: Document) -> Envelope:
    address = document["ip"]
    return Envelope(
        client_ip=ip_address(address) if address is not None else None,
        client_name=document["name"],
        helo=document["helo"],
        mail_from=document["from"],
        recipients=tuple(Recipient(address, tuple(rest)) for address, *rest in document["to"]),
        queue_id=document["qid"],
        received_at=from_micros(document["at"]),
        mail_parameters=tuple(document["parameters"]),
        authenticated_as=document["login"],
        client_port=document["port"],
    )


def authentication_document(authentication: Authentication) -> dict[str, Any]:
    spf, arc = authentication.spf, authentication.arc
    document: dict[str, Any] = {
        "spf": (spf.result, spf.domain, spf.scope, spf.reason[:MAX_REASON]),
        "dkim": [
            (
                s.result,
                s.domain,
                s.selector,
                s.identity,
                s.algorithm,
                s.signature_start,
                s.reason[:MAX_REASON],
                s.testing,
            )
            for s in authentication.dkim[:MAX_SIGNATURES]
        ],
    }
    if arc.result is not ArcWord.NONE or arc.reason:
        seals = [(seal.instance, seal.domain, seal.selector) for seal in arc.seals]
        document["arc"] = (arc.result, seals, arc.oldest_pass, arc.reason[:MAX_REASON])
    return document


def authentication_from(document: Document) -> Authentication:
    result, domain, scope, reason = document["spf"]
    return Authentication(
        spf=SpfResult(SpfWord(result), domain, SpfScope(scope), reason),
        dkim=tuple(DkimResult(DkimWord(word), *rest) for word, *rest in document["dkim"]),
        arc=_arc_from(document.get("arc")),
    )


def _arc_from(values: Sequence[Any] | None) -> ArcResult:
    if values is None:
        return ArcResult(ArcWord.NONE)
    result, seals, oldest_pass, reason = values
    return ArcResult(ArcWord(result), tuple(ArcSeal(*seal) for seal in seals), oldest_pass, reason)


def override_documents(overrides: Sequence[Override]) -> list[tuple[str, str]]:
    return [(override.type, override.comment[:MAX_REASON]) for override in overrides]


def overrides_from(documents: Sequence[Sequence[str]]) -> tuple[Override, ...]:
    return tuple(Override(OverrideType(word), comment) for word, comment in documents)


def event_from(row: Mapping[Any, Any]) -> Event:
    """The event of a whole row of its table."""
    columns = dict(row)
    document = from_json(columns.pop("document"))
    answers = columns.pop("answers")
    envelope = envelope_from(document["envelope"])
    authentication = document.get("authentication")
    return Event(
        **columns | {"received_at": from_micros(columns["received_at"])},
        note=document.get("note", ""),
        incomplete=document.get("incomplete", False),
        envelope=envelope,
        recipient_count=document.get("recipients", len(envelope.recipients)),
        authentication=authentication_from(authentication) if authentication else None,
        published=document.get("published", ""),
        organizational_domain=document.get("organizational", ""),
        spf_aligned=document.get("spf_aligned", False),
        dkim_aligned=document.get("dkim_aligned", False),
        reason=document.get("reason", ""),
        overrides=overrides_from(document.get("overrides", ())),
        answers=zlib.decompress(answers) if answers else b"",
    )


def recipients_of(document: str) -> list[str]:
    """The recipients that an event's document names, without building the rest."""
    return [address for address, *_ in from_json(document)["envelope"]["to"]]
