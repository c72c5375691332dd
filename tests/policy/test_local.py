"""Local policy: the order of precedence, the action table, softening, and the reasons that reports give."""

from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import pytest

from appliance.dmarc.discovery import Found
from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.record import DmarcRecord, Policy
from appliance.mail.author import Author
from appliance.mail.message import Envelope, HeaderField, Message, Recipient
from appliance.policy import Disposition, LocalPolicy, Outcome, Override, OverrideType, Row, Skip, Verdict
from appliance.settings import from_document

CLIENT = ip_address("192.0.2.1")
AUTHOR = Author(("example.org",))
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def policy(**verification: Any) -> LocalPolicy:
    groups = {key: verification.pop(key) for key in ("network",) if key in verification}
    return LocalPolicy(
        from_document({"verification": {"enabled": True, **verification}, **groups}), revision=1
    )


def message(
    *fields: tuple[bytes, bytes], authenticated_as: str | None = None, client: Any = CLIENT
) -> Message:
    envelope = Envelope(
        client_ip=client,
        client_name="client.example",
        helo="client.example",
        mail_from="a@example.org",
        recipients=(Recipient("u@corp.example"),),
        queue_id="4ZqK1",
        received_at=NOW,
        authenticated_as=authenticated_as,
    )
    return Message(envelope, tuple(HeaderField(name, value) for name, value in fields), b"")


def evaluation(
    result: DmarcWord, published: Policy | None = None, *, testing: bool = False, broken: bool = False
) -> Evaluation:
    found = None
    if published is not None:
        found = Found("example.org", DmarcRecord(text="", p=published, testing=testing))
    return Evaluation("example.org", result, found, published, broken_aligned_signature=broken)


FAIL_REJECT = evaluation(DmarcWord.FAIL, Policy.REJECT)


@pytest.mark.parametrize(
    ("settings", "mail", "skip"),
    [
        pytest.param(
            {"enabled": False}, message(authenticated_as="anna"), Skip.OFF, id="off-before-authenticated"
        ),
        pytest.param(
            {"exceptions": ["192.0.2.0/24"]},
            message(authenticated_as="anna"),
            Skip.AUTHENTICATED,
            id="authenticated-before-exception",
        ),
        pytest.param(
            {"network": {"internal": ["192.0.2.1"]}, "exceptions": ["192.0.2.0/24"]},
            message(),
            Skip.INTERNAL,
            id="internal-before-exception",
        ),
        pytest.param({"exceptions": ["192.0.2.0/24"]}, message(), Skip.EXCEPTION, id="exception"),
        pytest.param({}, message(client=None), Skip.INTERNAL, id="local-submission"),
        pytest.param(
            {"skip_authenticated": False}, message(authenticated_as="anna"), None, id="authenticated-checked"
        ),
        pytest.param({"exceptions": ["192.0.2.1 mode=evaluate"]}, message(), None, id="evaluated-exception"),
        pytest.param(
            {"exceptions": ["192.0.2.1 until=2026-11-22"]}, message(), None, id="exception-of-yesterday"
        ),
        pytest.param(
            {"exceptions": ["192.0.2.1 until=2026-11-23"]}, message(), Skip.EXCEPTION, id="until-today"
        ),
    ],
)
def test_s16_the_first_reason_not_to_verify_in_the_order_of_precedence_holds(
    settings: dict[str, Any], mail: Message, skip: Skip | None
) -> None:
    chosen, client_ip = policy(**settings), mail.envelope.client_ip

    found = chosen.skip_client(mail.envelope, client_ip) or chosen.triage(AUTHOR, client_ip, NOW)

    assert (found.skip if isinstance(found, Verdict) else None) == skip
    assert not isinstance(found, Verdict) or found.outcome is Outcome.DELIVER


def test_s16_an_unknown_client_behind_known_hosts_is_not_taken_for_an_internal_one() -> None:
    verdict = policy().skip_client(message().envelope, None)

    assert verdict is None


def test_s13_a_bare_entry_matches_that_domain_only_and_a_star_the_names_below_it() -> None:
    listed = policy(scope="listed", domains=["example.com", "*.example.net", "Bücher.example"])

    authors = "example.com", "mail.example.com", "example.net", "a.b.example.net", "xn--bcher-kva.example"
    in_scope = listed.triage(Author(authors), CLIENT, NOW)

    assert in_scope == ("example.com", "a.b.example.net", "xn--bcher-kva.example")


def test_s12_mail_of_domains_that_are_not_listed_is_not_verified() -> None:
    verdict = policy(scope="listed", domains=["example.com"]).triage(AUTHOR, CLIENT, NOW)

    assert isinstance(verdict, Verdict)
    assert verdict.skip is Skip.SCOPE


ROWS = [
    ("none", Policy.NONE),
    ("quarantine", Policy.QUARANTINE),
    ("reject", Policy.REJECT),
    ("no_record", None),
]


@pytest.mark.parametrize("action", ["deliver", "quarantine", "reject"])
@pytest.mark.parametrize(("row", "published"), ROWS, ids=[row for row, _ in ROWS])
def test_s24_each_row_takes_each_action(row: str, published: Policy | None, action: str) -> None:
    result = DmarcWord.FAIL if published is not None else DmarcWord.NONE

    verdict = policy(actions={row: action}).decide(
        [evaluation(result, published)], message(), CLIENT, author=AUTHOR
    )

    assert (verdict.row, verdict.outcome) == (Row(row), Outcome(action))


@pytest.mark.parametrize("published", list(Policy))
def test_s19_s33_a_pass_is_delivered_whatever_the_policy(published: Policy) -> None:
    table = {"none": "reject", "quarantine": "reject", "reject": "reject", "no_record": "reject"}

    verdict = policy(actions=table).decide(
        [evaluation(DmarcWord.PASS, published)], message(), CLIENT, author=AUTHOR
    )

    assert verdict.outcome is Outcome.DELIVER


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        (Policy.NONE, Disposition.NONE),
        (Policy.QUARANTINE, Disposition.PASS),
        (Policy.REJECT, Disposition.PASS),
    ],
)
def test_agg_11_a_pass_is_reported_as_pass_where_the_policy_enforces(
    published: Policy, expected: Disposition
) -> None:
    verdict = policy().decide([evaluation(DmarcWord.PASS, published)], message(), CLIENT, author=AUTHOR)

    assert verdict.disposition(verdict.judgements[0]) is expected


@pytest.mark.parametrize(("action", "outcome"), [("deliver", Outcome.DELIVER), ("defer", Outcome.DEFER)])
def test_s22_a_temporary_error_is_never_rejected_and_reported_with_disposition_none(
    action: str, outcome: Outcome
) -> None:
    verdict = policy(actions={"temporary_error": action}).decide(
        [evaluation(DmarcWord.TEMPERROR, Policy.REJECT)], message(), CLIENT, author=AUTHOR
    )

    assert verdict.outcome is outcome
    assert verdict.disposition(verdict.judgements[0]) is Disposition.NONE
    assert verdict.judgements[0].overrides == (Override(OverrideType.OTHER, "temporary DNS error"),)


@pytest.mark.parametrize(
    ("published", "row", "outcome"),
    [
        (Policy.REJECT, Row.QUARANTINE, Outcome.QUARANTINE),
        (Policy.QUARANTINE, Row.NONE, Outcome.DELIVER),
        (Policy.NONE, Row.NONE, Outcome.DELIVER),
    ],
)
def test_s25_test_mode_goes_one_row_down_and_says_so(published: Policy, row: Row, outcome: Outcome) -> None:
    verdict = policy().decide(
        [evaluation(DmarcWord.FAIL, published, testing=True)], message(), CLIENT, author=AUTHOR
    )

    assert (verdict.row, verdict.outcome) == (row, outcome)
    reasons = [override.type for override in verdict.judgements[0].overrides]
    assert reasons == ([OverrideType.POLICY_TEST_MODE] if published is not Policy.NONE else [])


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ((b"List-Id", b" <l.example>"), OverrideType.MAILING_LIST),
        ((b"Precedence", b" list"), OverrideType.MAILING_LIST),
        ((b"ARC-Seal", b" i=1"), OverrideType.LOCAL_POLICY),
        ((b"Resent-From", b" a@b.example"), OverrideType.LOCAL_POLICY),
    ],
    ids=["List-Id", "Precedence", "ARC-Seal", "Resent-From"],
)
def test_enf_05_signs_of_indirect_mail_soften_a_reject_to_quarantine(
    field: tuple[bytes, bytes], reason: OverrideType
) -> None:
    """ENF-04: so p=reject alone never rejects what a list or forwarder may have broken."""
    verdict = policy().decide([FAIL_REJECT], message(field), CLIENT, author=AUTHOR)

    assert verdict.outcome is Outcome.QUARANTINE
    assert [override.type for override in verdict.judgements[0].overrides] == [reason]


def test_enf_05_a_broken_aligned_signature_softens_a_reject() -> None:
    broken = evaluation(DmarcWord.FAIL, Policy.REJECT, broken=True)

    assert policy().decide([broken], message(), CLIENT, author=AUTHOR).outcome is Outcome.QUARANTINE


def test_enf_05_a_trusted_forwarder_softens_a_reject_and_is_named_as_the_reason() -> None:
    verdict = policy(network={"trusted_forwarders": ["192.0.2.0/28"]}).decide(
        [FAIL_REJECT], message(), CLIENT, author=AUTHOR
    )

    assert verdict.outcome is Outcome.QUARANTINE
    assert verdict.judgements[0].overrides[0].type is OverrideType.TRUSTED_FORWARDER


def test_enf_05_with_the_setting_off_reject_rejects_indirect_mail_too() -> None:
    verdict = policy(actions={"soften_indirect": False}).decide(
        [FAIL_REJECT], message((b"List-Id", b" <l.example>")), CLIENT, author=AUTHOR
    )

    assert verdict.outcome is Outcome.REJECT


def test_s17_header_signs_never_lead_to_delivery() -> None:
    quarantined = evaluation(DmarcWord.FAIL, Policy.QUARANTINE)

    verdict = policy().decide([quarantined], message((b"List-Id", b" <l.example>")), CLIENT, author=AUTHOR)

    assert verdict.outcome is Outcome.QUARANTINE


def test_monitor_only_delivers_and_the_report_says_local_policy() -> None:
    verdict = policy(mode="monitor").decide([FAIL_REJECT], message(), CLIENT, author=AUTHOR)

    assert verdict.outcome is Outcome.DELIVER
    assert verdict.judgements[0].overrides == (Override(OverrideType.LOCAL_POLICY, "monitor only"),)


def test_s15_an_evaluated_exception_is_delivered_and_reported_as_an_override() -> None:
    verdict = policy(exceptions=["192.0.2.0/24 mode=evaluate"]).decide(
        [FAIL_REJECT], message(), CLIENT, author=AUTHOR
    )

    assert verdict.outcome is Outcome.DELIVER
    assert verdict.judgements[0].overrides == (Override(OverrideType.LOCAL_POLICY, "exception list"),)


@pytest.mark.parametrize(
    ("published", "testing"),
    [
        pytest.param(Policy.NONE, False, id="p=none"),
        pytest.param(Policy.QUARANTINE, True, id="p=quarantine; t=y"),
    ],
)
def test_enf_02_a_policy_of_none_changes_nothing_by_default(published: Policy, testing: bool) -> None:
    failing = evaluation(DmarcWord.FAIL, published, testing=testing)

    verdict = policy().decide([failing], message((b"List-Id", b" <l.example>")), CLIENT, author=AUTHOR)

    assert verdict.outcome is Outcome.DELIVER
    assert verdict.disposition(verdict.judgements[0]) is Disposition.NONE


@pytest.mark.parametrize("action", ["deliver", "quarantine", "reject"])
@pytest.mark.parametrize("published", list(Policy))
def test_enf_03_the_local_action_wins_and_leaves_a_reason(published: Policy, action: str) -> None:
    actions = {"none": action, "quarantine": action, "reject": action}

    verdict = policy(actions=actions).decide(
        [evaluation(DmarcWord.FAIL, published)], message(), CLIENT, author=AUTHOR
    )

    as_published = {"none": "deliver"}.get(published, published.value) == action
    reasons = [override.type for override in verdict.judgements[0].overrides]
    assert verdict.outcome == action
    assert reasons == ([] if as_published else [OverrideType.LOCAL_POLICY])


def test_enf_09_an_action_other_than_the_published_policy_has_a_reason() -> None:
    verdict = policy(actions={"none": "reject"}).decide(
        [evaluation(DmarcWord.FAIL, Policy.NONE)], message(), CLIENT, author=AUTHOR
    )

    assert verdict.outcome is Outcome.REJECT
    assert [override.type for override in verdict.judgements[0].overrides] == [OverrideType.LOCAL_POLICY]


def test_from_05_the_strictest_policy_among_the_failing_domains_applies() -> None:
    passing = Evaluation("good.example", DmarcWord.PASS, None, Policy.REJECT)

    verdict = policy().decide(
        [passing, evaluation(DmarcWord.FAIL, Policy.NONE), FAIL_REJECT], message(), CLIENT, author=AUTHOR
    )

    assert (verdict.outcome, verdict.row) == (Outcome.REJECT, Row.REJECT)


def test_from_05_more_domains_than_are_evaluated_lead_to_quarantine() -> None:
    passing = evaluation(DmarcWord.PASS, Policy.REJECT)

    verdict = policy().decide([passing], message(), CLIENT, author=Author(AUTHOR.domains, incomplete=True))

    assert (verdict.outcome, verdict.incomplete) == (Outcome.QUARANTINE, True)


@pytest.mark.parametrize("action", ["deliver", "quarantine", "reject"])
def test_s23_an_unusable_from_takes_its_own_row(action: str) -> None:
    verdict = policy(actions={"unusable_from": action}).triage(
        Author(unusable="several From fields"), CLIENT, NOW
    )

    assert isinstance(verdict, Verdict)
    assert (verdict.row, verdict.outcome) == (Row.UNUSABLE_FROM, Outcome(action))
