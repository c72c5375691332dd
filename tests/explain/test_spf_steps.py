"""SPF told term by term, with what each used up; the steps come to the result that the check comes to."""

from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from appliance.checks.answers import Answers
from appliance.checks.spf import check_spf
from appliance.checks.spf_trace import Outcome, SpfTrace, survey_spf, trace_spf
from appliance.resolver import Answer, Question, RecordType, Status
from tests.checks.mails import answered

ZONE = {
    **answered(
        {
            "a.test": b"v=spf1 ip4:192.0.2.1 a:h.test include:b.test exists:%{i}.x.test redirect=c.test",
            "b.test": b"v=spf1 ip4:192.0.2.9 -all",
            "c.test": b"v=spf1 include:b.test ~all",
            "typo.test": b"v=spf1 a ip4:192.0.2 -all",
            "gone.test": b"v=spf1 include:nothing.test -all",
            "nothing.test": Status.NXDOMAIN,
            "many.test": b"v=spf1 " + b" ".join(b"a:h.test" for _ in range(12)) + b" -all",
            "open.test": b"v=spf1 +all",
        }
    ),
    **answered({"h.test": b"192.0.2.7", "192.0.2.99.x.test": Status.NXDOMAIN}, RecordType.A),
}


def traced(client: str, domain: str) -> SpfTrace:
    return trace_spf(ip_address(client), "helo.test", f"x@{domain}", Answers(ZONE))


def told(trace: SpfTrace) -> list[tuple[str, str, int, int]]:
    return [(step.term, step.outcome, step.lookups, step.void_lookups) for step in trace.steps if step.term]


def test_each_term_stands_with_its_outcome_and_the_running_counts() -> None:
    trace = traced("192.0.2.99", "a.test")

    assert told(trace) == [
        ("ip4:192.0.2.1", "no match", 0, 0),
        ("a:h.test", "no match", 1, 0),
        ("include:b.test", "no match", 2, 0),
        ("ip4:192.0.2.9", "no match", 2, 0),
        ("-all", "match", 2, 0),
        ("exists:%{i}.x.test", "no match", 3, 1),
        ("redirect=c.test", "followed", 4, 1),
        ("include:b.test", "no match", 5, 1),
        ("ip4:192.0.2.9", "no match", 5, 1),
        ("-all", "match", 5, 1),
        ("~all", "match", 5, 1),
    ]


def test_records_stand_before_their_terms_with_their_result() -> None:
    trace = traced("192.0.2.9", "a.test")

    records = [(step.depth, step.domain, step.outcome) for step in trace.steps if not step.term]
    assert records == [(0, "a.test", "pass"), (1, "b.test", "pass")]


def test_terms_behind_the_match_are_told_as_not_reached() -> None:
    trace = traced("192.0.2.7", "a.test")

    assert [outcome for _, outcome, _, _ in told(trace)] == [
        "no match",
        "match",
        "not reached",
        "not reached",
    ]


@pytest.mark.parametrize(
    ("domain", "term", "outcome"),
    [
        pytest.param("typo.test", "ip4:192.0.2", "invalid record", id="a term that is none"),
        pytest.param("gone.test", "include:nothing.test", "include of a domain without record", id="SPF-07"),
        pytest.param("many.test", "a:h.test", "more than 10 terms with DNS lookups", id="SPF-01"),
    ],
)
def test_the_last_step_is_the_one_that_ended_the_check(domain: str, term: str, outcome: str) -> None:
    trace = traced("192.0.2.99", domain)

    last = told(trace)[-1]
    assert last[:2] == (term, outcome)


@pytest.mark.parametrize("domain", ["a.test", "typo.test", "gone.test", "many.test", "open.test"])
@pytest.mark.parametrize("client", ["192.0.2.1", "192.0.2.7", "192.0.2.99"])
def test_the_steps_come_to_the_result_of_the_check(client: str, domain: str) -> None:
    answers = {**ZONE, Question("192.0.2.7.x.test", RecordType.A): Answer(Status.NXDOMAIN)}

    result = check_spf(ip_address(client), "helo.test", f"x@{domain}", Answers(answers))

    first = trace_spf(ip_address(client), "helo.test", f"x@{domain}", Answers(answers)).steps[0]
    assert first.outcome in {result.result, result.reason}


def test_steps_end_at_an_answer_that_was_not_recorded() -> None:
    known = {question: answer for question, answer in ZONE.items() if question.name != "b.test"}

    trace = trace_spf(ip_address("192.0.2.99"), "", "x@a.test", Answers(known))

    assert trace.missing == "TXT b.test"
    assert told(trace)[-1][0] == "include:b.test"


@pytest.mark.parametrize(
    ("domain", "lookups", "skipped"),
    [
        pytest.param("a.test", 5, ["exists:%{i}.x.test"], id="what depends on the message is not looked up"),
        pytest.param("many.test", 12, [], id="SPF-01 counted behind the limit"),
    ],
)
def test_a_survey_counts_all_that_a_record_can_cost(
    domain: str, lookups: int, skipped: Sequence[str]
) -> None:
    survey = survey_spf(domain, Answers(ZONE))

    assert survey.lookups == lookups
    assert [step.term for step in survey.steps if step.outcome == Outcome.SKIPPED] == skipped
