"""A case from what the filter recorded about a message: stored results, envelope and answers."""

from collections.abc import Sequence
from ipaddress import ip_address

from appliance.checks.answers import from_json
from appliance.checks.options import CheckOptions
from appliance.dmarc.discovery import Found
from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.record import Policy, parse_record
from appliance.explain.case import Case
from appliance.mail.author import Author
from appliance.mail.message import Message
from appliance.mail.origin import HowFound, Origin
from appliance.policy import Judgement, Outcome, Row, Skip, Verdict
from appliance.store.records import Event

_NOT_KEPT = (
    "the message itself is not kept: what the signatures cover, and whether the body is unchanged, is told as the "
    "filter found it"
)


def case_of(events: Sequence[Event], message: Message | None, options: CheckOptions) -> Case:
    """The case of one message's *events*; *message* is what was kept of it in the quarantine."""
    first = events[0]
    answers = next((from_json(event.answers) for event in events if event.answers), {})
    judgements = tuple(_judgement(event) for event in events if event.author_domain)
    skip = Skip(first.skip) if first.skip else None
    row = (
        max(judgements, key=lambda j: (j.outcome.severity, j.row is not Row.PASS)).row
        if judgements
        else Row(first.row)
    )
    unusable = first.note if row is Row.UNUSABLE_FROM else ""
    return Case(
        envelope=first.envelope,
        origin=_origin(first),
        author=Author(tuple(e.author_domain for e in events if e.author_domain), unusable, first.incomplete),
        header_from=first.header_from,
        subject=first.subject,
        message_id=first.message_id,
        size_octets=first.size_octets,
        now=first.received_at,
        authentication=first.authentication,
        evaluations=tuple(judgement.evaluation for judgement in judgements),
        verdict=Verdict(Outcome(first.outcome), row, skip, judgements, first.note, first.incomplete),
        settings=f"revision {first.revision}, in force when the message came",
        reply="",
        used=answers,
        others={},
        message=message,
        event_id=first.event_id,
        notes=() if message is not None or first.authentication is None else (_NOT_KEPT,),
        options=options,
    )


def _origin(event: Event) -> Origin:
    """The effective client; of known hosts in between only that there were some is recorded."""
    client_ip = ip_address(event.client_ip) if event.client_ip else None
    envelope = event.envelope
    if client_ip == envelope.client_ip:
        return Origin(client_ip, envelope.helo, HowFound.PEER)
    return Origin(client_ip, "", HowFound.RECEIVED if client_ip else HowFound.UNKNOWN)


def _judgement(event: Event) -> Judgement:
    return Judgement(_evaluation(event), Row(event.row), Outcome(event.outcome), event.overrides)


def _evaluation(event: Event) -> Evaluation:
    record = parse_record(event.published.encode("latin-1", "replace")) if event.published else None
    applied = record.as_applied() if record else None
    return Evaluation(
        author_domain=event.author_domain,
        result=DmarcWord(event.result),
        published=Found(event.policy_domain, applied) if applied else None,
        policy=Policy(event.policy) if event.policy else None,
        spf_aligned=event.spf_aligned,
        dkim_aligned=event.dkim_aligned,
        organizational_domain=event.organizational_domain,
        reason=event.reason,
    )
