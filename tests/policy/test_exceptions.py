"""The exception list: which record holds for a message, and what it does."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from ipaddress import ip_address

import pytest

from appliance.dmarc.discovery import Found
from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.record import DmarcRecord, Policy
from appliance.mail.authentication import (
    ArcResult,
    ArcWord,
    Authentication,
    DkimResult,
    DkimWord,
    SpfResult,
    SpfWord,
)
from appliance.mail.author import Author
from appliance.mail.message import Envelope, Message
from appliance.policy import LocalPolicy, Outcome, Override, OverrideType, Skip, Verdict
from appliance.settings import ExceptionRecord, from_document
from appliance.settings.exceptions import ExceptionList

CLIENT = ip_address("192.0.2.1")
NOW = datetime(2026, 11, 23, 23, 59, tzinfo=UTC)
SPARED = (Override(OverrideType.LOCAL_POLICY, "exception list"),)


def found(
    *lines: str, authors: Sequence[str] = (), signers: Sequence[str] = (), client: str = "192.0.2.1"
) -> str | None:
    """The line that holds."""
    listed = ExceptionList(map(ExceptionRecord.parse, lines))
    record = listed.find(ip_address(client), NOW.date(), authors=authors, signers=signers)
    return str(record) if record is not None else None


def policy(*lines: str) -> LocalPolicy:
    document = {"verification": {"enabled": True, "exceptions": list(lines)}}
    return LocalPolicy(from_document(document), revision=1)


def decide(chosen: LocalPolicy, author: Author, *signatures: DkimResult) -> Verdict:
    """The verdict on a message that fails p=reject."""
    envelope = Envelope(
        client_ip=CLIENT,
        client_name="",
        helo="",
        mail_from="",
        recipients=(),
        queue_id="",
        received_at=NOW,
    )
    published = Found("example.org", DmarcRecord(text="", p=Policy.REJECT))
    failed = [Evaluation(d, DmarcWord.FAIL, published, Policy.REJECT) for d in author.domains]
    authentication = Authentication(SpfResult(SpfWord.NONE, ""), signatures, ArcResult(ArcWord.NONE))
    return chosen.decide(
        failed, Message(envelope, (), b""), CLIENT, author=author, authentication=authentication
    )


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param(("192.0.0.0/8", "192.0.2.0/24 mode=evaluate"), 1, id="the narrowest"),
        pytest.param(("192.0.2.0/24", "192.0.2.1 until=2026-11-22"), 0, id="an expired one hides nothing"),
        pytest.param(("192.0.2.0/24", "192.0.2.1 until=2026-11-23"), 1, id="the last day is still in"),
        pytest.param(("192.0.2.1", "192.0.2.1 mode=evaluate from=example.org"), 1, id="the one with conditions"),
        pytest.param(("192.0.2.0/24 from=example.net", "192.0.0.0/8"), 1, id="conditions that do not hold"),
        pytest.param(("198.51.100.0/24", "2001:db8::/32"), None, id="none"),
    ],
)  # fmt: skip
def test_s15_the_narrowest_record_that_holds_counts(lines: tuple[str, ...], expected: int | None) -> None:
    holding = found(*lines, authors=["example.org"])

    assert holding == (lines[expected] if expected is not None else None)


@pytest.mark.parametrize(
    ("line", "authors", "holds"),
    [
        pytest.param("192.0.2.1 from=example.org", ["example.org"], True, id="the domain"),
        pytest.param("192.0.2.1 from=example.org", ["a.example.org"], False, id="a name below it"),
        pytest.param("192.0.2.1 from=*.example.org", ["a.example.org"], True, id="a star and a name below"),
        pytest.param("192.0.2.1 from=example.org", ["example.org", "b.example"], False, id="another author besides"),
        pytest.param("192.0.2.1 from=example.org", [], False, id="no usable author"),
        pytest.param("192.0.2.2 from=example.org", ["example.org"], False, id="another client"),
    ],
)  # fmt: skip
def test_s15_an_exception_narrowed_to_an_author_domain_needs_client_and_author(
    line: str, authors: list[str], *, holds: bool
) -> None:
    assert (found(line, authors=authors) is not None) is holds


@pytest.mark.parametrize(
    ("signature", "outcome"),
    [
        pytest.param(DkimResult(DkimWord.PASS, "list.example"), Outcome.DELIVER, id="verified"),
        pytest.param(DkimResult(DkimWord.FAIL, "list.example"), Outcome.REJECT, id="broken"),
        pytest.param(DkimResult(DkimWord.POLICY, "list.example"), Outcome.REJECT, id="weak"),
        pytest.param(DkimResult(DkimWord.PASS, "a.list.example"), Outcome.REJECT, id="another domain"),
    ],
)
def test_s17_an_exception_for_a_signer_needs_a_signature_that_verifies(
    signature: DkimResult, outcome: Outcome
) -> None:
    verdict = decide(policy("* dkim=list.example"), Author(("example.org",)), signature)

    assert verdict.outcome is outcome
    assert (verdict.judgements[0].overrides == SPARED) is (outcome is Outcome.DELIVER)


def test_s15_one_unlisted_author_among_more_than_are_evaluated_undoes_a_narrow_exception() -> None:
    narrow = policy("192.0.2.1 mode=evaluate from=example.org")

    whole = decide(narrow, Author(("example.org",)))
    cut = decide(narrow, Author(("example.org",), incomplete=True))

    assert (whole.outcome, cut.outcome) == (Outcome.DELIVER, Outcome.REJECT)


def test_the_verdict_names_the_exception_that_held_for_its_counter() -> None:
    skipped = policy("192.0.2.0/24 from=example.org").triage(Author(("example.org",)), CLIENT, NOW)
    spared = decide(policy("192.0.2.1 mode=evaluate"), Author(("example.org",)))

    assert isinstance(skipped, Verdict)
    assert (skipped.skip, skipped.exception) == (Skip.EXCEPTION, "192.0.2.0/24 from=example.org")
    assert (spared.outcome, spared.exception) == (Outcome.DELIVER, "192.0.2.1")


def test_a_record_keeps_all_its_attributes() -> None:
    line = (
        "192.0.2.0/24 mode=evaluate until=2027-01-01 owner=anna from=*.example.org dkim=esp.example # printer"
    )

    record = ExceptionRecord.parse(line)

    assert str(record) == line
    assert (record.key, record.until) == (
        "192.0.2.0/24 from=*.example.org dkim=esp.example",
        date(2027, 1, 1),
    )
