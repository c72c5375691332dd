from collections.abc import Mapping

import pytest

from appliance.checks.answers import Answers, Missing
from appliance.checks.dmarc import dmarc_questions, evaluate_author, evaluate_authors
from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.record import Policy
from appliance.mail.authentication import SpfResult, SpfWord
from appliance.resolver import Answer, Question, RecordType, Status
from tests.checks.mails import answered

NOTHING = SpfResult(SpfWord.NONE, "")


def evaluate(
    author: str,
    texts: Mapping[str, bytes | Status],
    *,
    spf: SpfResult = NOTHING,
    more: Mapping[Question, Answer] | None = None,
) -> Evaluation:
    answers = Answers(answered({f"_dmarc.{name}": text for name, text in texts.items()}) | dict(more or {}))
    return evaluate_author(author, spf, (), answers)


def empty(*names: str) -> dict[str, bytes | Status]:
    return dict.fromkeys(names, Status.NXDOMAIN)


def test_a_spoof_of_a_protected_domain_fails() -> None:
    """S1."""
    found = evaluate("example.org", {"example.org": b"v=DMARC1; p=reject", **empty("org")})

    assert (found.result, found.policy, found.policy_domain) == (DmarcWord.FAIL, Policy.REJECT, "example.org")


def test_a_walk_is_missing_as_a_whole() -> None:
    """DISC-26."""
    with pytest.raises(Missing) as missing:
        evaluate("a.mail.example.org", {})

    assert missing.value.questions == dmarc_questions("a.mail.example.org")
    assert [question.name for question in missing.value.questions] == [
        "_dmarc.a.mail.example.org",
        "_dmarc.mail.example.org",
        "_dmarc.example.org",
        "_dmarc.org",
    ]


def test_a_long_author_domain_costs_at_most_eight_questions() -> None:
    """DISC-17, T18."""
    name = ".".join("x" for _ in range(100)) + ".example.org"

    assert len(dmarc_questions(name)) == 8


def test_a_name_without_room_for_the_prefix_counts_as_empty() -> None:
    """DISC-28."""
    name = ".".join(["x" * 60] * 4) + ".example"
    parents = [question.name for question in dmarc_questions(name)]
    assert len(parents) == 4

    found = evaluate(name, {parent.removeprefix("_dmarc."): Status.NXDOMAIN for parent in parents})

    assert found.result is DmarcWord.NONE


def test_a_temporary_failure_in_discovery_is_temperror() -> None:
    """DISC-40, S22, TW-45."""
    found = evaluate("a.example.org", {"example.org": Status.TEMPORARY, **empty("a.example.org", "org")})

    assert (found.result, found.policy) == (DmarcWord.TEMPERROR, None)
    assert found.reason == "policy discovery: timeout"


def test_no_record_anywhere_is_none() -> None:
    """DISC-24."""
    assert evaluate("example.org", empty("example.org", "org")).result is DmarcWord.NONE


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(Status.NXDOMAIN, (DmarcWord.FAIL, Policy.REJECT), id="does not exist"),
        pytest.param(Status.NO_DATA, (DmarcWord.FAIL, Policy.NONE), id="exists without address"),
        pytest.param(Status.TEMPORARY, (DmarcWord.TEMPERROR, None), id="can't be told"),
    ],
)
def test_existence_is_asked_of_the_author_domain_itself(
    status: Status, expected: tuple[DmarcWord, Policy | None]
) -> None:
    """DISC-32, DISC-33: that _dmarc.x.example.org does not exist says nothing."""
    texts = {"example.org": b"v=DMARC1; p=none; np=reject", **empty("x.example.org", "org")}

    found = evaluate("x.example.org", texts, more=answered({"x.example.org": status}, RecordType.A))

    assert (found.result, found.policy) == expected


def test_existence_is_not_asked_when_it_changes_nothing() -> None:
    """DISC-33."""
    texts = {"example.org": b"v=DMARC1; p=reject", **empty("x.example.org", "org")}

    assert evaluate("x.example.org", texts).policy is Policy.REJECT


def test_the_walk_from_an_authenticated_domain_is_missing_as_a_whole() -> None:
    spf = SpfResult(SpfWord.PASS, "a.b.example.org")

    with pytest.raises(Missing) as missing:
        evaluate("example.org", {"example.org": b"v=DMARC1; p=reject", **empty("org")}, spf=spf)

    assert [question.name for question in missing.value.questions] == [
        "_dmarc.a.b.example.org",
        "_dmarc.b.example.org",
    ]


def test_several_authors_miss_their_walks_together() -> None:
    """FROM-05."""
    with pytest.raises(Missing) as missing:
        evaluate_authors(("example.org", "example.net"), NOTHING, (), Answers())

    assert {question.name for question in missing.value.questions} == {
        "_dmarc.example.org",
        "_dmarc.org",
        "_dmarc.example.net",
        "_dmarc.net",
    }
