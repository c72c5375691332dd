"""Explains sample messages as if the DNS held what a test writes down, and nothing else."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address

from appliance.explain.build import explain
from appliance.explain.model import Explanation
from appliance.explain.now import Judging
from appliance.policy import LocalPolicy
from appliance.resolver import Answer, Question, RecordType, Status
from appliance.settings import Settings, Verification
from tests.checks.mails import answered, received

ON = Settings(verification=Verification(enabled=True))

Texts = Mapping[str, bytes | Sequence[bytes] | Status]


class Dns:
    """Answers at once; every name that was not given does not exist."""

    def __init__(self, texts: Texts, addresses: Texts | None = None) -> None:
        self._known = {**answered(texts), **answered(addresses or {}, RecordType.A)}

    def cached(self, question: Question) -> Answer | None:
        return self._known.get(question, Answer(Status.NXDOMAIN, ttl_seconds=60))

    async def resolve(self, question: Question, _deadline: float) -> Answer:
        return self._known.get(question, Answer(Status.NXDOMAIN, ttl_seconds=60))


def explained(
    octets: bytes,
    texts: Texts,
    *,
    addresses: Texts | None = None,
    client: str | None = "192.0.2.1",
    mail_from: str = "ann@example.org",
    settings: Settings = ON,
) -> Explanation:
    """The explanation of *octets*, handed in by *client*."""
    message = received(octets, mail_from=mail_from)
    ip = ip_address(client) if client else None
    message = replace(message, envelope=replace(message.envelope, client_ip=ip))
    judging = Judging(message, LocalPolicy(settings, 1), "the test's settings")
    return explain(asyncio.run(judging.ask(Dns(texts, addresses))))
