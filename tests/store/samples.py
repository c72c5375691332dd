"""Messages as the filter hands them over, for the tests of the store."""

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address

from appliance.dmarc.discovery import Found
from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.record import Policy, parse_record
from appliance.mail.authentication import (
    ArcResult,
    ArcSeal,
    ArcWord,
    Authentication,
    DkimResult,
    DkimWord,
    SpfResult,
    SpfScope,
    SpfWord,
)
from appliance.mail.message import Envelope, Recipient
from appliance.policy import Judgement, Outcome, Override, OverrideType, Row, Skip, Verdict
from appliance.store.quarantine import QuarantineRow
from appliance.store.records import MessageRecord

RECEIVED_AT = datetime(2026, 3, 4, 10, 20, 30, 123456, tzinfo=UTC)
HOUR = 1_772_618_400  # 2026-03-04 10:00 UTC
DAY_BEGIN = 1_772_582_400
DAY_END = DAY_BEGIN + 86_400

ENVELOPE = Envelope(
    client_ip=ip_address("192.0.2.7"),
    client_name="mx.sender.example",
    helo="mx.sender.example",
    mail_from="alice@sender.example",
    recipients=(Recipient("bob@inside.example", ("NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;bob@old.example")),),
    queue_id="4ZqK1x2y3zABCDE",
    received_at=RECEIVED_AT,
    mail_parameters=("SIZE=2048", "BODY=8BITMIME"),
    client_port=40_000,
)

AUTHENTICATION = Authentication(
    spf=SpfResult(SpfWord.PASS, "sender.example"),
    dkim=(
        DkimResult(
            DkimWord.PASS,
            "sender.example",
            "s1",
            identity="@sender.example",
            algorithm="rsa-sha256",
            signature_start="abcdefgh",
        ),
        DkimResult(DkimWord.FAIL, "list.example", "k", reason="body hash", testing=True),
    ),
    arc=ArcResult(ArcWord.PASS, (ArcSeal(1, "list.example", "arc"),), oldest_pass=0),
)


def found(
    domain: str = "sender.example", text: str = "v=DMARC1; p=reject; rua=mailto:r@sender.example"
) -> Found:
    record = parse_record(text.encode())
    assert record is not None
    applied = record.as_applied()
    assert applied is not None
    return Found(domain, applied)


def passing(author_domain: str = "sender.example", published: Found | None = None) -> Judgement:
    evaluation = Evaluation(
        author_domain,
        DmarcWord.PASS,
        published or found(),
        Policy.REJECT,
        spf_aligned=True,
        dkim_aligned=True,
        organizational_domain="sender.example",
    )
    return Judgement(evaluation, Row.PASS, Outcome.DELIVER)


def failing(author_domain: str = "sender.example", published: Found | None = None) -> Judgement:
    evaluation = Evaluation(
        author_domain,
        DmarcWord.FAIL,
        published or found(),
        Policy.REJECT,
        broken_aligned_signature=True,
        reason="no aligned identifier passed",
    )
    override = Override(OverrideType.MAILING_LIST, "list header fields")
    return Judgement(evaluation, Row.REJECT, Outcome.QUARANTINE, (override,))


def without_record(author_domain: str = "norecord.example") -> Judgement:
    return Judgement(Evaluation(author_domain, DmarcWord.NONE), Row.NO_RECORD, Outcome.DELIVER)


def message(
    event_id: str = "0123456789ab", *judgements: Judgement, envelope: Envelope = ENVELOPE
) -> MessageRecord:
    """A delivered message; one that passes, without *judgements*."""
    judged = judgements or (passing(),)
    strictest = max(judged, key=lambda j: j.outcome.severity)
    return MessageRecord(
        event_id=event_id,
        node="gateway.example",
        revision=3,
        envelope=envelope,
        client_ip=envelope.client_ip,
        message_id="<1@sender.example>",
        subject="Minutes of the meeting",
        header_from="Alice <alice@sender.example>",
        size_octets=2048,
        authentication=AUTHENTICATION,
        verdict=Verdict(strictest.outcome, strictest.row, judgements=judged),
        answers=b'{"recorded": "answers"}' * 10,
    )


def skipped(event_id: str = "0123456789ab") -> MessageRecord:
    verdict = Verdict(Outcome.DELIVER, Row.UNVERIFIED, skip=Skip.EXCEPTION, note="192.0.2.0/24")
    return replace(message(event_id), authentication=None, verdict=verdict, answers=b"")


def held(
    event_id: str = "0123456789ab", envelope: Envelope = ENVELOPE, sha256: str = "0" * 64
) -> QuarantineRow:
    return QuarantineRow(
        event_id=event_id,
        node="gateway.example",
        held_at=RECEIVED_AT,
        envelope=envelope,
        client_ip=str(envelope.client_ip or ""),
        message_id="<1@sender.example>",
        subject="Minutes of the meeting",
        header_from="Alice <alice@sender.example>",
        author_domain="sender.example",
        reason="quarantine",
        size_octets=2048,
        sha256=sha256,
    )


def octets(raw: bytes) -> str:
    """*raw* as the filter decodes what comes from SMTP."""
    return raw.decode("utf-8", "surrogateescape")


NULL_SENDER_SPF = SpfResult(SpfWord.PASS, "mx.sender.example", SpfScope.HELO)
