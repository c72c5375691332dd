"""The RFC 7208 suite, through the whole of SPF: a real name server, our resolver, the fetching and the check."""

import asyncio
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from appliance.checks.authenticate import authenticate
from appliance.checks.spf_explanation import find_explanation
from appliance.lab.nameserver import Behaviour, NameServer
from appliance.resolver import Resolver
from tests.checks.mails import PLAIN, received
from tests.checks.suites.rfc7208 import NO_EXPLANATION, Case, Scenario, SuiteUnavailable, scenarios
from tests.conftest import cannot_run

NOW = datetime(2026, 11, 23, 14, tzinfo=UTC)
"""Of the explanations that tell the time."""

CASES = {
    "Initial processing": 16,
    "Record lookup": 7,
    "Selecting records": 10,
    "Record evaluation": 12,
    "ALL mechanism syntax": 5,
    "PTR mechanism syntax": 8,
    "A mechanism syntax": 29,
    "Include mechanism semantics and syntax": 9,
    "MX mechanism syntax": 21,
    "EXISTS mechanism syntax": 7,
    "IP4 mechanism syntax": 9,
    "IP6 mechanism syntax": 9,
    "Semantics of exp and other modifiers": 24,
    "Macro expansion rules": 24,
    "Processing limits": 11,
    "Test cases from implementation bugs": 2,
}


@pytest.fixture(scope="module")
def suite() -> dict[str, Scenario]:
    try:
        return dict(scenarios())
    except SuiteUnavailable as unavailable:
        cannot_run(str(unavailable))


def test_the_suite_is_whole(suite: dict[str, Scenario]) -> None:
    assert {name: len(scenario.cases) for name, scenario in suite.items()} == CASES
    assert sum(CASES.values()) == 203


@pytest.mark.parametrize("trouble", [Behaviour.SERVFAIL, Behaviour.SILENCE])
@pytest.mark.parametrize("scenario", CASES)
def test_every_case_comes_to_a_result_the_rfc_allows(
    suite: dict[str, Scenario], scenario: str, trouble: Behaviour
) -> None:
    """SPF-01 to SPF-10, SPF-13."""
    cases = suite[scenario].cases
    with NameServer(suite[scenario].zone(trouble)) as nameserver:
        found = asyncio.run(judge(nameserver.address, cases))

    wrong = [
        (case.name, result, case.results, explanation, case.explanation)
        for case, (result, explanation) in zip(cases, found, strict=True)
        if result not in case.results
        or (case.explanation is not None and (explanation or NO_EXPLANATION) != case.explanation)
    ]
    assert wrong == []


async def judge(nameserver: str, cases: tuple[Case, ...]) -> list[tuple[str, str | None]]:
    """The result and the explanation of each case."""
    resolver = Resolver(nameserver, query_timeout_seconds=0.3, attempts=1)
    found = [await judge_one(resolver, case) for case in cases]
    await resolver.close()
    return found


async def judge_one(resolver: Resolver, case: Case) -> tuple[str, str | None]:
    client = ip_address(case.client)
    assessment = await authenticate(
        received(PLAIN, mail_from=case.mail_from),
        client_ip=client,
        helo=case.helo,
        author_domains=(),
        resolver=resolver,
        now=NOW,
    )
    explanation = await find_explanation(
        client, case.helo, case.mail_from, answers=assessment.answers, resolver=resolver, now=NOW
    )
    return assessment.authentication.spf.result.value, explanation
