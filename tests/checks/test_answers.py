import pytest

from appliance.checks.answers import Answers, Missing, from_json, to_json
from appliance.resolver import Answer, Question, RecordType, Status, TemporaryDnsError

A = Question("a.example", RecordType.TXT)
B = Question("b.example", RecordType.TXT)
C = Question("c.example", RecordType.TXT)


def test_a_question_without_answer_is_missing() -> None:
    with pytest.raises(Missing) as missing:
        Answers().get(A)

    assert missing.value.questions == (A,)


def test_questions_that_belong_together_are_missing_together() -> None:
    answers = Answers({B: Answer(Status.NXDOMAIN)})
    answers.ask_together((A, B, C))

    with pytest.raises(Missing) as missing:
        answers.get(C)

    assert missing.value.questions == (A, C)


def test_what_nobody_reads_is_not_missing() -> None:
    answers = Answers({A: Answer(Status.NXDOMAIN)})
    answers.ask_together((A, B))

    assert answers.get(A).status is Status.NXDOMAIN


@pytest.mark.parametrize("status", [Status.NXDOMAIN, Status.NO_DATA])
def test_no_such_name_and_no_data_are_answers_without_records(status: Status) -> None:
    assert Answers({A: Answer(status)}).records("a.example", RecordType.TXT) == ()


def test_a_temporary_failure_is_never_no_record() -> None:
    """T20."""
    answers = Answers({A: Answer(Status.TEMPORARY, reason="SERVFAIL")})

    with pytest.raises(TemporaryDnsError, match="SERVFAIL"):
        answers.records("a.example", RecordType.TXT)


def test_only_answers_that_were_read_are_recorded_as_used() -> None:
    answers = Answers({A: Answer(Status.NXDOMAIN), B: Answer(Status.TEMPORARY, reason="timeout")})

    with pytest.raises(TemporaryDnsError):
        answers.get(B)

    assert list(answers.used) == [B]


def test_recorded_answers_survive_storage() -> None:
    answers = {
        A: Answer(Status.RECORDS, (b"\x00\xff plain", b""), 60, authenticated=True),
        B: Answer(Status.TEMPORARY, reason="timeout"),
        Question("10.mx\udce9.example", RecordType.MX): Answer(Status.RECORDS, (b"10 mx.example",), 1),
    }

    assert from_json(to_json(answers)) == answers


@pytest.mark.parametrize(
    "octets", [b"", b"{}x", b"7", b"[7]", b'[["a"]]', b'[["a","NS","records",[],1,"",0]]', b"\xff"]
)
def test_anything_else_is_refused(octets: bytes) -> None:
    with pytest.raises(ValueError):
        from_json(octets)
