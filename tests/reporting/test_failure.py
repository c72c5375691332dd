"""The mail of a failure report: well-formed whatever the message was, read by others, and silent about people."""

import email
import quopri
import re
from collections.abc import Sequence
from dataclasses import replace
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.redaction import Redactor
from appliance.store.failure_samples import FailureSample
from reporting.failure import FailureMail, compose_failure
from tests.failing import HEADER, NOW, PERSONAL, RUF, failing_settings, message_of, samples_of
from tests.reporting.reader import read_failure

REPORT_ID = "0123456789abcdef0123456789ab"
RAW = failing_settings(failure_redaction=False)
REDACTOR = Redactor(b"k" * 32)
SPF = {
    "bank.test": "v=spf1 include:_spf.bank.test -all",
    "_spf.bank.test": 'v=spf1 a:"odd\\one" ip4:192.0.2.9',
}


def mail(sample: FailureSample, incidents: int = 1) -> bytes:
    reports = failing_settings().reports
    kept = sample.with_codes(REDACTOR)
    return compose_failure(FailureMail.of(kept, incidents, REPORT_ID, reports), NOW)


def parts(octets: bytes) -> tuple[EmailMessage, list[EmailMessage]]:
    """The mail and its parts, read back; nothing in them may be against the rules."""
    message = email.message_from_bytes(octets, EmailMessage, policy=SMTP)
    assert isinstance(message, EmailMessage)
    found = list(message.iter_parts())
    assert [part.defects for part in (message, *found)] == [[]] * (len(found) + 1)
    assert octets.isascii()
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert octets.count(b"\n") == octets.count(b"\r") == octets.count(b"\r\n")
    return message, [part for part in found if isinstance(part, EmailMessage)]


def fields(octets: bytes) -> list[tuple[str, str]]:
    """Those of the part for programs, unfolded."""
    text = payload(parts(octets)[1][1]).replace("\r\n ", " ")
    return [(name, value) for name, _, value in (line.partition(": ") for line in text.splitlines() if line)]


def payload(part: EmailMessage) -> str:
    """What stands in a part, which may be a message of its own."""
    return part.as_bytes().partition(b"\r\n\r\n")[2].decode("ascii")


def one(samples: Sequence[FailureSample], kind: str) -> FailureSample:
    [found] = [sample for sample in samples if sample.kind == kind]
    return found


SAMPLES = samples_of(message_of(mail_from="boniface@bank.test"), f"{RUF}; fo=1:d:s", dns=SPF)


def test_ruf_07_the_mail_has_the_form_of_a_feedback_report() -> None:
    message, found = parts(mail(SAMPLES[0]))

    assert message.get_content_type() == "multipart/report"
    assert message["Content-Type"].params["report-type"] == "feedback-report"
    assert [part.get_content_type() for part in found] == [
        "text/plain",
        "message/feedback-report",
        "text/rfc822-headers",
    ]


def test_ruf_08_it_says_that_a_program_wrote_it_and_for_whom() -> None:
    message, found = parts(mail(SAMPLES[0]))
    note = quopri.decodestring(payload(found[0])).decode()

    assert message["Auto-Submitted"] == "auto-generated"
    assert message["From"].addresses[0].addr_spec == "dmarc@gateway.test"
    assert message["From"].addresses[0].display_name == "Gateway & Söhne"
    assert message["Reply-To"] is None
    assert message["Message-ID"] == f"<{REPORT_ID}.1@gateway.test>"
    assert "bank.test" in note
    assert "remove the address from the ruf tag" in " ".join(note.split())


def test_every_demanded_field_of_the_dmarc_kind_is_there_once() -> None:
    """RUF-04 (Incidents), RUF-06, RFC 9991 section 4, RFC 6591 section 3.1."""
    found = fields(mail(one(SAMPLES, "dmarc"), incidents=21))

    identity, mail_from = dict(found)["DKIM-Identity"], dict(found)["Original-Mail-From"]
    assert found == [
        ("Feedback-Type", "auth-failure"),
        ("User-Agent", "DMARC-Gate/0.1"),
        ("Version", "1"),
        ("Auth-Failure", "dmarc"),
        ("Authentication-Results", "mx.gateway.test; dmarc=fail (p=reject) header.from=bank.test"),
        ("Identity-Alignment", "dkim,spf"),
        ("Reported-Domain", "bank.test"),
        ("Source-IP", "198.51.100.66"),
        ("Source-Port", "40123"),
        ("Original-Envelope-Id", "4ZqK1x2y3zABCDE"),
        ("Original-Mail-From", mail_from),
        ("Arrival-Date", "Mon, 30 Mar 2026 10:20:30 +0000"),
        ("Reporting-MTA", "dns; gateway.example"),
        ("Delivery-Result", "reject"),
        ("DKIM-Domain", "bank.test"),
        ("DKIM-Identity", identity),
        ("DKIM-Selector", "k1"),
        ("SPF-DNS", 'txt : bank.test : "v=spf1 include:_spf.bank.test -all"'),
        ("SPF-DNS", r'txt : _spf.bank.test : "v=spf1 a:\"odd\\one\" ip4:192.0.2.9"'),
        ("Incidents", "21"),
    ]
    assert re.fullmatch(r"redacted-[0-9a-f]{24}@bank\.test", identity)
    assert re.fullmatch(r"<redacted-[0-9a-f]{24}@bank\.test>", mail_from)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param(
            "bodyhash", "dkim=fail (body hash) header.d=bank.test header.s=k1", id="RUF-06 bodyhash"
        ),
        pytest.param("spf", "spf=permerror smtp.mailfrom=bank.test", id="RUF-06 spf"),
    ],
)
def test_ruf_06_the_other_kinds_name_their_own_mechanism_only(kind: str, expected: str) -> None:
    found = dict(fields(mail(one(SAMPLES, kind))))

    assert found["Auth-Failure"] == kind
    assert found["Authentication-Results"] == f"mx.gateway.test; {expected}"
    assert ("DKIM-Domain" in found, "SPF-DNS" in found) == (kind == "bodyhash", kind == "spf")


def test_identity_alignment_is_none_where_both_aligned_and_one_incident_is_not_counted() -> None:
    found = dict(fields(mail(replace(SAMPLES[0], unaligned=()))))

    assert found["Identity-Alignment"] == "none"
    assert "Incidents" not in found
    assert "Original-Rcpt-To" not in found


@pytest.mark.parametrize("authserv_id", ["mx.gateway.test", 'a "b"; dmarc=pass', "ü\r\nX: y"])
def test_t22_our_own_name_can_not_break_the_results(authserv_id: str) -> None:
    found = dict(fields(mail(replace(SAMPLES[0], authserv_id=authserv_id, node=authserv_id))))

    results = found["Authentication-Results"]
    assert re.fullmatch(
        r'(?:[a-z.]+|"(?:[^"\\]|\\.)*"); dmarc=fail \(p=reject\) header.from=bank.test', results
    )


def test_ruf_10_t24_nothing_personal_is_in_the_mail_but_codes() -> None:
    for sample in SAMPLES:
        octets = mail(sample)
        seen = (octets + quopri.decodestring(octets)).decode("utf-8", "replace").lower()

        assert [word for word in PERSONAL if word in seen] == []
        assert f"redacted-{REDACTOR._digits(b'harriet.quimby').decode()}@bank.test" in seen


def test_ruf_11_the_subject_is_neutral_or_the_original_one() -> None:
    redacted, _ = parts(mail(SAMPLES[0]))
    raw, _ = parts(mail(samples_of(settings=RAW)[0]))

    assert redacted["Subject"] == "DMARC failure report about mail of bank.test"
    assert raw["Subject"] == "FW: Invoice Xylophone overdue"


def test_without_redaction_the_header_is_told_as_it_was_and_never_a_body() -> None:
    octets = mail(samples_of(message_of(HEADER + b"the secret plan\r\n"), settings=RAW)[0])

    header = payload(parts(octets)[1][2])
    assert header.replace("\r\n", "") == HEADER.decode().replace("\r\n", "")
    assert b"secret plan" not in octets


HOSTILE = [
    pytest.param(b"Subject: a\rb\nBcc: victim@x.test\r\n", id="bare CR and LF"),
    pytest.param(b"Subject: =?utf-8?q?a=0d=0aBcc:_victim=40x.test?=\r\n", id="encoded CR LF"),
    pytest.param(b"Subject: " + b"\xff\xfe\x00\x07 \xc3\xbc" * 20 + b"\r\n", id="8-bit and controls"),
    pytest.param(b"Subject: " + b"x" * 1_000_000 + b"\r\n", id="1 MB without a space"),
    pytest.param(b"Subject: " + b"x " * 100_000 + b"\r\n", id="many words"),
    pytest.param(b"X-A: b\r\n" * 20_000, id="many fields"),
    pytest.param(b"Subject: x\r\n \r\n\t\r\nBcc: victim@x.test\r\n", id="blank folds"),
    pytest.param(b"--=_report--\r\nContent-Type: text/html; boundary=x\r\n", id="a boundary"),
    pytest.param(f"X: --{REPORT_ID}=_report--\r\nX:\r\n --{REPORT_ID}=_report--\r\n".encode(), id="our own"),
    pytest.param(b"From : <evil@bank.test>\r\nTo:;;;@@@<<<\r\n", id="addresses that are none"),
    pytest.param(b'To: "a\r\n b"@x.test, (c\r\n d) e@x.test\r\n', id="folded addresses"),
    pytest.param(b"Content-Transfer-Encoding: base64\r\nMIME-Version: 1.0\r\n", id="an encoding"),
    pytest.param(b"Message-ID: <" + b"(" * 5000 + b"@x.test>\r\n", id="nested comments"),
    pytest.param(b"DKIM-Signature: v=1; i=a\r\n b@bank.test; d=bank.test; b=\r\n" * 9, id="signatures"),
]


@pytest.mark.parametrize("settings", [failing_settings(), RAW], ids=["redacted", "raw"])
@pytest.mark.parametrize("top", HOSTILE)
def test_t22_whatever_the_message_was_the_report_is_well_formed_and_readable(top: bytes, settings) -> None:  # type: ignore[no-untyped-def]
    [sample] = samples_of(settings=settings)
    [hostile] = made_of(top + b"From: a@bank.test\r\n\r\n", sample)

    octets = mail(hostile)

    message, found = parts(octets)
    assert len(found) == 3
    assert message["Bcc"] is None
    assert len(octets) < 60_000
    read = read_failure(octets)
    assert (read["reported_domain"], read["sample_headers_only"]) == ("bank.test", True)


def made_of(octets: bytes, sample: FailureSample) -> list[FailureSample]:
    """A sample as if the filter had kept this header: some of these it would refuse to take an author from."""
    from appliance.filter.samples import MAX_SUBJECT
    from appliance.mail.redaction import plain, plain_header, pruned_header

    message = message_of(octets)
    header = (pruned_header if sample.redacted else plain_header)(message.fields)
    subject = "" if sample.redacted else plain(message.text("subject"), MAX_SUBJECT)
    return [replace(sample, header=header, subject=subject)]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.kind.value)
def test_ruf_07_parsedmarc_reads_it_without_a_warning(sample: FailureSample) -> None:
    read = read_failure(mail(sample, incidents=3))

    assert read["auth_failure"] == [sample.kind.value]
    assert read["authentication_mechanisms"] == ["dkim", "spf"]
    assert read["source"]["ip_address"] == "198.51.100.66"
    assert read["arrival_date_utc"] == "2026-03-30 10:20:30"
    assert (read["delivery_result"], read["incidents"]) == ("reject", "3")
    assert read["original_rcpt_to"] is None


@given(record=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=2000))
def test_t22_a_hostile_spf_record_stays_in_its_field(record: str) -> None:
    sample = replace(SAMPLES[0], spf_records=(("bank.test", record),))

    found = fields(mail(sample))

    assert [name for name, _ in found].count("SPF-DNS") == 1
    assert [name for name, _ in found][-2:] == ["DKIM-Selector", "SPF-DNS"]
