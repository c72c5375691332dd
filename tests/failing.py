"""Messages that failure reports are asked for about, and what the filter keeps of them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from appliance.checks.authenticate import authenticate
from appliance.filter.samples import failure_samples
from appliance.mail.author import find_author
from appliance.mail.message import Envelope, Message, Recipient, split_message
from appliance.mail.origin import HowFound, Origin
from appliance.policy import Judgement, Outcome, Row, Verdict
from appliance.resolver import Answer, Question, RecordType, Status
from appliance.settings import Settings, from_document
from appliance.store.failure_samples import FailureSample

NOW = datetime(2026, 3, 30, 10, 20, 30, tzinfo=UTC)
CLIENT = "198.51.100.66"
HEADER = b"""Received: from ann-pc.inner.corp (ann-pc.inner.corp [10.11.12.13]) by mx.stranger.test; Mon, 30 Mar 2026 10:20:00 +0000
From: "Harriet Quimby" <harriet.quimby@bank.test>
Sender: treasurer@bank.test (her deputy Roswitha)
Reply-To: Quimby <collector@stranger.test>
To: "Ottokar Pribil" <ottokar@corp.example>, marie.curie@other.example
Cc: secretive@third.example
Subject: Invoice Xylophone overdue
Date: Mon, 30 Mar 2026 10:20:00 +0000 (Ann's clock)
Message-ID: <quimby.4711@mail.bank.test>
X-Originating-User: wolfgang@10.20.30.40
List-Unsubscribe: <mailto:leave-ottokar@lists.example>
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=bank.test; s=k1; i=harriet.quimby@bank.test; h=from:to;
 z=Subject:Xylophone|From:zoe@bank.test; bh=AAAA; b=AAAA

""".replace(b"\n", b"\r\n")
PERSONAL = [
    "harriet",
    "quimby",
    "treasurer",
    "roswitha",
    "collector",
    "ottokar",
    "pribil",
    "marie",
    "curie",
    "secretive",
    "xylophone",
    "invoice",
    "overdue",
    "4711",
    "ann",
    "wolfgang",
    "leave",
    "zoe",
    "10.11.12.13",
    "10.20.30.40",
    "inner.corp",
    "boniface",
]
"""What of it, and of ``MAIL_FROM``, nobody may learn."""
MAIL_FROM = "boniface@stranger.test"
RUF = "p=reject; ruf=mailto:f@bank.test"


def failing_settings(**reports: Any) -> Settings:
    """Settings with failure reports switched on; *reports* are changes of that group."""
    group: dict[str, Any] = {
        "enabled": True,
        "readiness_override": "tests",
        "organization": "Gateway & Söhne",
        "address": "dmarc@gateway.test",
        "contact": "https://gateway.test/dmarc",
        "gate": "all",
        "failure_enabled": True,
    }
    return from_document({"verification": {"enabled": True}, "reports": group | reports})


def message_of(
    octets: bytes = HEADER,
    *,
    mail_from: str = MAIL_FROM,
    recipients: Sequence[str] = ("ottokar@corp.example",),
    client_ip: str = CLIENT,
    received_at: datetime = NOW,
) -> Message:
    fields, body = split_message(octets)
    envelope = Envelope(
        client_ip=ip_address(client_ip),
        client_name="",
        helo="client.example",
        mail_from=mail_from,
        recipients=tuple(map(Recipient, recipients)),
        queue_id="4ZqK1x2y3zABCDE",
        received_at=received_at,
        client_port=40_123,
    )
    return Message(envelope, fields, body)


def samples_of(
    message: Message | None = None,
    tags: str = RUF,
    *,
    dns: Mapping[str, str] | None = None,
    settings: Settings | None = None,
    verdict: Mapping[str, Any] | None = None,
    policy_domain: str = "bank.test",
) -> tuple[FailureSample, ...]:
    """What the filter keeps of *message* when ``_dmarc`` of *policy_domain* reads *tags*; nobody publishes more than *dns*."""
    given = message or message_of()
    texts = {f"_dmarc.{policy_domain}": f"v=DMARC1; {tags}", **(dns or {})}
    origin = Origin(given.envelope.client_ip, given.envelope.helo, HowFound.PEER)
    assessment = asyncio.run(
        authenticate(
            given,
            client_ip=origin.client_ip,
            helo=origin.helo,
            author_domains=find_author(given).domains,
            resolver=_Zone(texts),
            now=given.envelope.received_at,
        )
    )
    judgements = tuple(Judgement(one, Row.REJECT, Outcome.REJECT) for one in assessment.evaluations)
    judged = Verdict(Outcome.REJECT, Row.REJECT, judgements=judgements)
    return failure_samples(
        given,
        origin,
        replace(judged, **(verdict or {})),
        assessment,
        settings or failing_settings(),
        event_id="0123456789ab",
        node="gateway.example",
        authserv_id="mx.gateway.test",
    )


@dataclass(frozen=True)
class _Zone:
    """Answers every question: with a text, or that there is no such name."""

    texts: Mapping[str, str]

    def cached(self, question: Question) -> Answer:
        text = self.texts.get(question.name)
        if text is None or question.rdtype is not RecordType.TXT:
            return Answer(Status.NXDOMAIN)
        return Answer(Status.RECORDS, (text.encode(),), 60)

    async def resolve(self, question: Question, deadline: float) -> Answer:  # noqa: ARG002
        return self.cached(question)
