"""A whole message with its DNS: judged within the caps, marked without damage, and judged the same from its record."""

from appliance.checks.answers import from_json, to_json
from appliance.checks.authenticate import MAX_WALK_QUESTIONS, Assessment, assess, authenticate
from appliance.checks.options import CheckOptions
from appliance.filter.judged import Judged
from appliance.mail.author import find_author
from appliance.mail.message import Message, split_message
from appliance.mail.origin import Origin, effective_client
from appliance.mail.redaction import Redactor
from appliance.milter.replies import encode_reply
from appliance.policy import LocalPolicy, Verdict
from appliance.settings import from_document
from tests.fuzz.material import Answering, message_of, parts_of, text_of

WORDS = (
    "\n%%\n|From: |DKIM-Signature: |ARC-Seal: |Received: from |"
    "Authentication-Results: gate.example; |\r\n|v=spf1 |v=DMARC1; p=reject|v=DKIM1; p=|192.0.2.1|"
    "example.org|List-Id: |\r\n\r\n|include:|; ruf=mailto:f@x.example; fo=1:d:s"
)

_POLICY = LocalPolicy(
    from_document(
        {
            "verification": {"enabled": True, "x_header": True},
            "reports": {
                "enabled": True,
                "failure_enabled": True,
                "readiness_override": "fuzz",
                "organization": "Gate",
                "address": "dmarc@gate.example",
            },
            "network": {"known_hosts": ["198.51.100.0/24"], "trusted_forwarders": ["203.0.113.0/24"]},
        }
    ),
    1,
)
_OPTIONS = CheckOptions()


def target(data: bytes) -> None:
    """The first part is the envelope as for SPF, the last one the message; those between answer the questions."""
    *before, octets = parts_of(data)
    envelope, *answers = before or [b""]
    client, helo, mail_from = (*envelope.split(b" ", 2), b"", b"")[:3]
    message = message_of(
        octets,
        client=client.decode("ascii", "replace"),
        helo=text_of(helo),
        mail_from=text_of(mail_from),
    )
    origin = effective_client(message, _POLICY.known_hosts)
    author = find_author(message)
    assessment = None
    verdict = _POLICY.triage(author, origin.client_ip, message.envelope.received_at)
    if not isinstance(verdict, Verdict):
        assessment = judge(message, origin, author.domains, Answering(answers))
        verdict = _POLICY.decide(
            assessment.evaluations,
            message,
            origin.client_ip,
            author=author,
            authentication=assessment.authentication,
        )
    mark(Judged("0123456789ab", message, _POLICY, origin, verdict, assessment))


def judge(message: Message, origin: Origin, domains: tuple[str, ...], answering: Answering) -> Assessment:
    now = message.envelope.received_at
    working = authenticate(
        message,
        client_ip=origin.client_ip,
        helo=origin.helo,
        author_domains=domains,
        resolver=answering,
        now=now,
        options=_OPTIONS,
    )
    try:
        working.send(None)
    except StopIteration as done:
        assessment: Assessment = done.value
    else:
        raise AssertionError("it waits though all answers are known")
    assert len(assessment.answers) <= _OPTIONS.max_questions + MAX_WALK_QUESTIONS * (len(domains) - 1)
    assert assessment.authentication.spf.reason != "internal error"
    replayed = assess(
        message,
        client_ip=origin.client_ip,
        helo=origin.helo,
        author_domains=domains,
        answers=from_json(to_json(assessment.answers)),
        now=now,
        options=_OPTIONS,
    )
    assert replayed.evaluations == assessment.evaluations
    assert replayed.authentication == assessment.authentication
    return assessment


def mark(judged: Judged) -> None:
    verdict: Verdict = judged.verdict
    assert verdict.note.isprintable()
    marks = judged.marks("gate.example")
    encode_reply(marks, judged.message.fields, leading_space=True)
    delivered = judged.as_delivered(marks)
    assert delivered.body == judged.message.body
    for sample in judged.record("gate.example", "mx.example").failures:
        fields = sample.with_codes(Redactor(b"key")).header
        assert len(split_message("".join(f"{field}\r\n" for field in fields).encode("ascii"))[0]) == len(
            fields
        )
    assert judged.reply_text("refused: %{domain} %{id}").isascii()
