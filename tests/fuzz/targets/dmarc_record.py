"""DMARC records at every name of a walk: each parses or doesn't count, and an evaluation comes of it."""

from appliance.checks.answers import Answers, Missing
from appliance.checks.dmarc import evaluate_author
from appliance.dmarc.evaluation import Evaluation
from appliance.dmarc.record import DmarcRecord, is_dmarc_record, parse_record, select_record
from appliance.mail.authentication import DkimResult, DkimWord, SpfResult, SpfScope, SpfWord
from tests.fuzz.material import MAX_QUESTIONS, Answering, parts_of

WORDS = (
    "\n%%\n|v=DMARC1;|p=reject;|p=none;|sp=quarantine;|np=|adkim=s;|aspf=r;|t=y;|psd=y;|psd=n;|"
    "fo=0:1:d:s;|rua=mailto:|ruf=|!10m|,|rf=afrf;|pct=50;|ri=86400"
)

_AUTHOR = "a.b.example.org"
_SPF = SpfResult(SpfWord.PASS, "b.example.org", SpfScope.MAIL_FROM)
_DKIM = (DkimResult(DkimWord.PASS, "example.org", "s"), DkimResult(DkimWord.PASS, "other.example", "s"))


def target(data: bytes) -> None:
    for text in parts_of(data):
        check(select_record(text.split(b"\n")))
        if is_dmarc_record(text):
            check(parse_record(text))
    evaluated = evaluate(Answering(parts_of(data)))
    assert evaluated.author_domain == _AUTHOR
    assert evaluated.reason.isascii()


def check(record: DmarcRecord | None) -> None:
    if record is None:
        return
    assert all(problem.isascii() and problem.isprintable() for problem in record.problems)
    assert all(uri.isascii() and uri.isprintable() for uri in (*record.rua, *record.ruf))
    applied = record.as_applied()
    assert applied is None or applied.p is not None


def evaluate(answering: Answering) -> Evaluation:
    answers = Answers()
    for _ in range(MAX_QUESTIONS):
        try:
            return evaluate_author(_AUTHOR, _SPF, _DKIM, answers)
        except Missing as missing:
            answering.fill(answers, missing)
    raise AssertionError("the walk does not end")
