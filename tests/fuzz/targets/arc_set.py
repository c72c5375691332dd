"""A message with ARC sets: a result, whatever they say; the same from the answers that were used."""

from appliance.checks.answers import Answers, Missing
from appliance.checks.arc import ArcCheck
from appliance.checks.canonical import CanonicalMessage
from appliance.checks.options import CheckOptions
from tests.fuzz.material import NOW, Answering, message_of, parts_of

WORDS = (
    "\n%%\n|ARC-Seal: |ARC-Message-Signature: |ARC-Authentication-Results: |i=1;|i=2;|cv=none;|"
    "cv=pass;|cv=fail;|a=rsa-sha256;|d=list.example;|s=arc;|h=from:to;|bh=|b=|c=relaxed/relaxed;|t="
)

_OPTIONS = CheckOptions()


def target(data: bytes) -> None:
    """All parts but the last are keys; the last is the message."""
    *keys, octets = parts_of(data)
    message = message_of(octets, mail_from="ann@example.org")
    answers, answering = Answers(), Answering(keys)
    check = ArcCheck(CanonicalMessage(message), NOW, _OPTIONS)
    try:
        result = check.result(answers)
    except Missing as missing:
        answering.fill(answers, missing)
        result = check.result(answers)  # all keys are asked for in one round
    assert result.reason.isascii()
    assert result.reason.isprintable()
    again = ArcCheck(CanonicalMessage(message), NOW, _OPTIONS)
    assert again.result(Answers(answers.used)) == result
