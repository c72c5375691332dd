"""The value of a DKIM-Signature field: read, or refused in our words; and judged without a key in either case."""

from appliance.checks.answers import Answers, Missing
from appliance.checks.canonical import CanonicalMessage
from appliance.checks.dkim import DkimCheck
from appliance.checks.options import CheckOptions
from appliance.checks.signature import Refused, check_times, read_coverage, read_signer
from appliance.checks.tags import InvalidTags, parse_tags, without_value
from appliance.mail.message import HeaderField, Message
from tests.fuzz.material import NOW, Answering, in_our_words, message_of

WORDS = (
    "v=1;|a=rsa-sha256;|a=ed25519-sha256;|c=relaxed/simple;|d=example.org;|s=s1;|h=from:to;|bh=|b=|"
    "l=|t=|x=|i=@|q=dns/txt|\r\n |=20|xn--|z="
)

_OPTIONS = CheckOptions()
_PLAIN = message_of(b"From: Ann <ann@example.org>\r\nTo: b@example.net\r\n\r\nHello\r\n", mail_from="")


def target(data: bytes) -> None:
    try:
        tags = parse_tags(data)
        read_signer(tags)
        read_coverage(tags)
        check_times(tags, NOW, _OPTIONS)
    except (InvalidTags, Refused) as refused:
        in_our_words(refused)
    assert len(without_value(data, b"b")) <= len(data)
    judge(HeaderField(b"DKIM-Signature", data))


def judge(signature: HeaderField) -> None:
    message = Message(_PLAIN.envelope, (signature, *_PLAIN.fields), _PLAIN.body)
    check = DkimCheck(CanonicalMessage(message), ("example.org",), NOW, _OPTIONS)
    answers = Answers()
    try:
        results = check.results(answers)
    except Missing as missing:
        Answering([]).fill(answers, missing)
        results = check.results(answers)
    assert len(results) == 1
    for text in (results[0].reason, results[0].identity, results[0].selector, results[0].signature_start):
        assert text.isascii()
        assert text.isprintable()
