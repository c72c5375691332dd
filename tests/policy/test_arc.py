"""Trusted ARC sealers: when their word delivers mail that fails, and what the report then says (RFC 8617 section 7.2)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import pytest

from appliance.dmarc.discovery import Found
from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.record import AlignmentMode, DmarcRecord, Policy
from appliance.dmarc.vouching import MAX_COMMENT, chain_comment
from appliance.mail.authentication import (
    ArcResult,
    ArcSeal,
    ArcWord,
    AssertedPass,
    Authentication,
    Method,
    SpfResult,
    SpfWord,
)
from appliance.mail.author import Author
from appliance.mail.message import Envelope, HeaderField, Message
from appliance.policy import Disposition, LocalPolicy, Outcome, OverrideType, Verdict
from appliance.settings import from_document

CLIENT = ip_address("192.0.2.1")
TRUSTED = ("list.example", "*.relay.example")
PASSED = AssertedPass(Method.DMARC, "example.org")


def failing(
    policy: Policy = Policy.REJECT,
    *,
    author: str = "example.org",
    organizational: str = "example.org",
    mode: AlignmentMode = AlignmentMode.RELAXED,
    result: DmarcWord = DmarcWord.FAIL,
    testing: bool = False,
) -> Evaluation:
    record = DmarcRecord(text="", p=policy, aspf=mode, adkim=mode, testing=testing)
    found = Found("example.org", record)
    return Evaluation(author, result, found, policy, organizational_domain=organizational)


def chain(*seals: tuple[str, Sequence[AssertedPass]], result: ArcWord = ArcWord.PASS) -> ArcResult:
    """Sealers, newest first, with what they assert."""
    count = len(seals)
    numbered = [ArcSeal(count - at, domain, "k1", tuple(passes)) for at, (domain, passes) in enumerate(seals)]
    return ArcResult(result, tuple(numbered), oldest_pass=0, first_hop="2001:db8::1a")


def decide(evaluations: Sequence[Evaluation], arc: ArcResult, **verification: Any) -> Verdict:
    sealers = verification.pop("sealers", TRUSTED)
    settings = {
        "verification": {"enabled": True, **verification},
        "network": {"trusted_sealers": list(sealers)},
    }
    envelope = Envelope(
        client_ip=CLIENT,
        client_name="",
        helo="",
        mail_from="",
        recipients=(),
        queue_id="",
        received_at=datetime(2026, 11, 23, tzinfo=UTC),
    )
    message = Message(envelope, (HeaderField(b"ARC-Seal", b" i=1"),), b"")
    policy = LocalPolicy(from_document(settings), revision=1)
    authors = tuple(evaluation.author_domain for evaluation in evaluations)
    authentication = Authentication(SpfResult(SpfWord.NONE, ""), (), arc)
    return policy.decide(evaluations, message, CLIENT, author=Author(authors), authentication=authentication)


@pytest.mark.parametrize("policy", [Policy.QUARANTINE, Policy.REJECT])
def test_arc_09_arc_10_mail_that_trusted_sealers_vouch_for_is_delivered_and_the_report_says_why(
    policy: Policy,
) -> None:
    """OpenDMARC #321: quarantine does not come before the override."""
    arc = chain(("mx.relay.example", ()), ("list.example", [PASSED]))

    verdict = decide([failing(policy)], arc)

    [judgement] = verdict.judgements
    assert verdict.outcome is Outcome.DELIVER
    assert verdict.disposition(judgement) is Disposition.NONE
    [override] = judgement.overrides
    assert override.type is OverrideType.LOCAL_POLICY
    assert override.comment == (
        "arc=pass as[2].d=mx.relay.example as[2].s=k1 as[1].d=list.example as[1].s=k1 remote-ip[1]=2001:db8::1a"
    )


UNTRUSTED = [
    pytest.param(chain(("evil.example", [PASSED])), id="an untrusted sealer"),
    pytest.param(chain(("evil.example", ()), ("list.example", [PASSED])), id="an untrusted newer sealer"),
    pytest.param(
        chain(("list.example", ()), ("evil.example", [PASSED])), id="a trusted one above an untrusted one"
    ),
    pytest.param(chain(("list.example", [PASSED]), result=ArcWord.FAIL), id="a broken chain"),
    pytest.param(ArcResult(ArcWord.NONE), id="no chain"),
    pytest.param(chain(("list.example", ())), id="no assertion"),
    pytest.param(
        chain(("list.example", [AssertedPass(Method.DMARC, "other.example")])), id="another author domain"
    ),
    pytest.param(
        chain(("list.example", [AssertedPass(Method.DKIM, "sub.example.org")])),
        id="a domain below the author's",
    ),
    pytest.param(chain(("sub.list.example", [PASSED])), id="below an exact entry"),
    pytest.param(chain(("relay.example", [PASSED])), id="the apex of a wildcard entry"),
]


@pytest.mark.parametrize("arc", UNTRUSTED)
def test_arc_09_nothing_else_is_delivered(arc: ArcResult) -> None:
    """T17."""
    assert decide([failing(Policy.QUARANTINE)], arc).outcome is Outcome.QUARANTINE


def test_arc_09_nobody_is_trusted_by_default() -> None:
    arc = chain(("list.example", [PASSED]))

    assert decide([failing(Policy.QUARANTINE)], arc, sealers=()).outcome is Outcome.QUARANTINE


@pytest.mark.parametrize(
    ("asserted", "mode", "outcome"),
    [
        pytest.param((Method.SPF, "mail.example.org"), "r", Outcome.DELIVER, id="SPF of the author domain"),
        pytest.param((Method.DKIM, "mail.example.org"), "s", Outcome.DELIVER, id="DKIM, strict"),
        pytest.param((Method.DKIM, "example.org"), "r", Outcome.DELIVER, id="DKIM of the organization"),
        pytest.param((Method.SPF, "example.org"), "r", Outcome.DELIVER, id="SPF of the organization"),
        pytest.param((Method.DKIM, "example.org"), "s", Outcome.QUARANTINE, id="organization, but strict"),
        pytest.param((Method.DMARC, "example.org"), "r", Outcome.QUARANTINE, id="DMARC of another author"),
        pytest.param((Method.SPF, "org"), "r", Outcome.QUARANTINE, id="SPF of a suffix"),
    ],
)
def test_arc_09_an_aligned_spf_or_dkim_pass_is_enough(
    asserted: tuple[Method, str], mode: str, outcome: Outcome
) -> None:
    evaluation = failing(Policy.QUARANTINE, author="mail.example.org", mode=AlignmentMode(mode))
    arc = chain(("list.example", [AssertedPass(*asserted)]))

    assert decide([evaluation], arc).outcome is outcome


def test_arc_09_an_unknown_organizational_domain_is_not_matched() -> None:
    evaluation = failing(Policy.QUARANTINE, author="mail.example.org", organizational="")
    arc = chain(("list.example", [AssertedPass(Method.SPF, "example.org")]))

    assert decide([evaluation], arc).outcome is Outcome.QUARANTINE


@pytest.mark.parametrize("result", [DmarcWord.TEMPERROR, DmarcWord.NONE])
def test_arc_09_only_failures_are_overridden(result: DmarcWord) -> None:
    table = {"temporary_error": "defer", "no_record": "quarantine"}
    arc = chain(("list.example", [PASSED]))

    verdict = decide([failing(result=result)], arc, actions=table)

    assert verdict.outcome is not Outcome.DELIVER


def test_arc_09_each_author_domain_needs_its_own_assertion() -> None:
    arc = chain(("list.example", [PASSED]))

    verdict = decide([failing(), failing(Policy.QUARANTINE, author="other.example", organizational="")], arc)

    assert [judgement.outcome for judgement in verdict.judgements] == [Outcome.DELIVER, Outcome.QUARANTINE]
    assert verdict.outcome is Outcome.QUARANTINE


def test_what_is_delivered_anyway_is_not_explained_by_arc() -> None:
    verdict = decide([failing(Policy.NONE)], chain(("list.example", [PASSED])))

    assert verdict.judgements[0].overrides == ()


def test_a_policy_lowered_by_its_owner_is_told_first() -> None:
    verdict = decide([failing(testing=True)], chain(("list.example", [PASSED])))

    kinds = [override.type for override in verdict.judgements[0].overrides]
    assert kinds == [OverrideType.POLICY_TEST_MODE, OverrideType.LOCAL_POLICY]


def test_arc_10_a_long_chain_is_told_in_whole_tokens_as_far_as_there_is_room() -> None:
    arc = chain(*[(f"{'a' * 40}.example", ())] * 20)

    comment = chain_comment(arc)

    first, *tokens, last = comment.split(" ")
    assert len(comment) <= MAX_COMMENT
    assert (first, last) == ("arc=pass", "remote-ip[1]=2001:db8::1a")
    assert tokens == [
        f"as[20].d={'a' * 40}.example",
        "as[20].s=k1",
        f"as[19].d={'a' * 40}.example",
        "as[19].s=k1",
    ]
