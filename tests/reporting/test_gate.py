"""Who gets a report, and why not (behaviour.md section 2, pains 1, 3 and 22)."""

import pytest

from appliance.settings import Gate
from reporting.gate import GateDecision, ReportGate
from tests.reporting.samples import settings

NEVER = 0


def decide(
    domain: str = "bank.test",
    *,
    causes: bool = True,
    days: int = NEVER,
    accepted: bool = False,
    instead: Gate | None = None,
    **reports: object,
) -> GateDecision:
    """*reports* are settings; *instead* stands in for the one of the gate."""
    doorkeeper = ReportGate(settings(**reports), gate=instead)
    return doorkeeper.decide(
        domain, causes_report=lambda: causes, days_seen=lambda: days, accepted=lambda: accepted
    )


def test_nobody_gets_a_report_while_reports_are_off_s31() -> None:
    decision = decide(enabled=False)

    assert decision == GateDecision(allowed=False, reason="reports are switched off")


def test_protected_and_own_domains_never_get_a_report_pain_22() -> None:
    decisions = [
        decide("inside.test", allowed_domains="inside.test"),
        decide("gateway.test"),
        decide("bounces.test", bounce_domain="bounces.test"),
    ]

    assert decisions == [GateDecision(allowed=False, reason="our own domain")] * 3


@pytest.mark.parametrize("gate", list(Gate), ids=str)
def test_mail_about_mail_never_causes_a_report_pain_3_agg_20(gate: Gate) -> None:
    """Two gateways that report about each other's reports would go on for ever, even where an administrator lists them."""
    decision = decide(causes=False, days=30, accepted=True, gate=gate.value, allowed_domains="bank.test")

    assert not decision.allowed
    assert "cause no report" in decision.reason


def test_the_deny_list_comes_before_the_allow_list() -> None:
    decision = decide(allowed_domains="bank.test", denied_domains="bank.test")

    assert not decision.allowed
    assert "never" in decision.reason


def test_the_allow_list_comes_before_the_setting() -> None:
    assert decide(gate="listed", allowed_domains="bank.test").allowed


def test_listed_only_means_the_allow_list() -> None:
    assert not decide(gate="listed", days=30, accepted=True).allowed


def test_all_means_everybody_who_asks() -> None:
    assert decide(gate="all").allowed


def test_an_established_domain_was_seen_on_two_days_pain_1() -> None:
    one, two = decide(gate="established", days=1), decide(gate="established", days=2)

    assert one == GateDecision(allowed=False, reason="seen on 1 of the last 30 days; it takes 2")
    assert two == GateDecision(allowed=True, reason="seen on 2 of the last 30 days")


def test_reciprocal_means_that_mail_was_accepted() -> None:
    assert decide(gate="reciprocal", accepted=True).allowed
    assert not decide(gate="reciprocal", accepted=False).allowed


def test_the_setting_can_be_overridden() -> None:
    assert not decide(gate="listed").allowed
    assert decide(gate="listed", instead=Gate.ALL).allowed


def test_what_is_switched_off_or_denied_later_is_not_even_sent() -> None:
    reasons = [
        ReportGate(settings(**changes)).forbids("bank.test")
        for changes in ({}, {"enabled": False}, {"denied_domains": "bank.test"}, {"address": "d@bank.test"})
    ]

    assert reasons == [
        "",
        "reports are switched off",
        "on the list of domains never reported to",
        "our own domain",
    ]
