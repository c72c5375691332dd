import gzip
import io
import random
import re
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP

import pytest

from appliance.settings import ReportForm
from reporting.aggregate_xml import Totals, write_report
from reporting.compose import AggregateMail, addressed, compose
from reporting.mailto import MailAddress
from reporting.period import utc_day
from reporting.planning import new_report_id
from tests.reporting.samples import DAY, GROUP, MIDNIGHT, ORIGIN, ROW

NOW = datetime(2026, 3, 30, 1, 2, 3, tzinfo=UTC)
MAIL = AggregateMail(ORIGIN, "bank.test", utc_day(DAY), Totals(2, 42), gzip.compress(b"<feedback/>" * 200))
FILE_NAME = f"gateway.test!bank.test!{MIDNIGHT}!{MIDNIGHT + 86_399}!{ORIGIN.report_id}.xml.gz"


def parsed(mail: AggregateMail = MAIL) -> EmailMessage:
    message = message_from_bytes(compose(mail, NOW), policy=SMTP)
    assert isinstance(message, EmailMessage)
    return message


def test_the_report_is_a_gzip_attachment_after_a_note_agg_30() -> None:
    message = parsed()

    note, attachment = message.iter_parts()
    assert message.get_content_type() == "multipart/mixed"
    assert note.get_content_type() == "text/plain"
    assert attachment.get_content_type() == "application/gzip"
    assert attachment.get_content_disposition() == "attachment"
    assert attachment.get_payload(decode=True) == MAIL.xml_gz


def test_the_note_says_what_the_report_is_about() -> None:
    note = next(parsed().iter_parts()).get_content().replace("\r\n", "\n")

    assert "Reporter:   Gateway & Söhne <dmarc@gateway.test>\n" in note
    assert "Period:     2026-03-29 00:00:00 to 2026-03-29 23:59:59 UTC\n" in note
    assert "Messages:   42\n" in note
    assert note.endswith("\n\nhttps://gateway.test/dmarc\n")


def test_the_file_name_has_all_its_parts_agg_31() -> None:
    attachment = list(parsed().iter_parts())[1]

    assert attachment.get_filename() == FILE_NAME


@pytest.mark.parametrize("domain", ["bank.test", ".".join(["x" * 60] * 4)], ids=["short", "very long"])
def test_the_file_name_stands_unsplit_on_one_line_agg_38(domain: str) -> None:
    octets = compose(replace(MAIL, policy_domain=domain), NOW)

    [line] = re.findall(rb'filename="[^"]*"', octets)
    assert f"!{domain}!".encode() in line
    assert b"filename*" not in octets
    assert max(len(line) for line in octets.split(b"\r\n")) <= 998


def test_the_subject_has_the_words_of_the_grammar_agg_33() -> None:
    octets = compose(MAIL, NOW)

    subject = f"Report Domain: bank.test Submitter: gateway.test Report-ID: <{ORIGIN.report_id}>"
    assert f"\r\nSubject: {subject}\r\n".encode() in octets


def test_the_header_marks_an_automatic_message_of_its_own_agg_36_agg_37() -> None:
    message = parsed()

    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"] == f"<{ORIGIN.report_id}.1@gateway.test>"
    assert message["From"].addresses[0].display_name == "Gateway & Söhne"
    assert message["From"].addresses[0].addr_spec == "dmarc@gateway.test"
    assert message["Date"].datetime == NOW
    assert "Reply-To" not in message
    assert "To" not in message


def test_all_lines_end_in_cr_lf() -> None:
    octets = compose(MAIL, NOW)

    assert octets.count(b"\n") == octets.count(b"\r\n")
    assert octets.endswith(b"\r\n")


def test_base64_lines_keep_to_mimes_limit() -> None:
    body = compose(MAIL, NOW).partition(b"filename=")[2].partition(b"\r\n\r\n")[2]

    assert max(len(line) for line in body.split(b"\r\n")) <= 76


def test_copies_differ_in_their_to_line_alone_agg_32() -> None:
    message = compose(MAIL, NOW)

    copy = addressed(message, MailAddress("a,b", "x.test"))

    assert copy == b'To: "a,b"@x.test\r\n' + message


def test_all_octets_are_seven_bit_and_survive_any_server() -> None:
    assert max(compose(MAIL, NOW)) < 128


@pytest.mark.parametrize("octets", [0, 1, 57, 58, 58_367, 58_368, 58_369, 300_000])
def test_an_attachment_of_any_size_comes_back_as_it_was(octets: int) -> None:
    content = random.Random(octets).randbytes(octets)

    [_, attachment] = parsed(replace(MAIL, xml_gz=content)).iter_parts()

    assert attachment.get_payload(decode=True) == content


def test_the_note_says_what_the_report_does_not_list_and_what_it_does_not_cover() -> None:
    whole_day = note_of(replace(MAIL, not_listed=12))
    morning = note_of(replace(MAIL, period=utc_day(DAY).parts(12)[0]))

    assert "12 more messages are in no record" in whole_day
    assert "part of the day" not in whole_day
    assert "Period:     2026-03-29 00:00:00 to 2026-03-29 11:59:59 UTC\n" in morning
    assert "part of the day" in morning
    assert "in no record" not in morning


def test_the_note_names_the_rfc_whose_form_the_report_has() -> None:
    assert "(RFC 9990)" in note_of(MAIL)
    assert "(RFC 7489)" in note_of(replace(MAIL, form=ReportForm.LEGACY))


def note_of(mail: AggregateMail) -> str:
    text: str = next(parsed(mail).iter_parts()).get_content()
    return text.replace("\r\n", "\n")


def test_the_report_id_is_the_same_plain_word_everywhere_agg_40() -> None:
    report_id = new_report_id()
    xml = io.BytesIO()
    origin = replace(ORIGIN, report_id=report_id)
    write_report(xml, origin, GROUP, utc_day(DAY), [(ROW, 1)])

    message = parsed(replace(MAIL, origin=origin))

    assert re.fullmatch(r"[0-9a-z]{26,32}", report_id)
    assert message["Subject"].endswith(f"Report-ID: <{report_id}>")
    assert attached(message).get_filename("").endswith(f"!{report_id}.xml.gz")
    assert f"<report_id>{report_id}</report_id>".encode() in xml.getvalue()


def test_no_two_reports_have_one_id_agg_40() -> None:
    assert len({new_report_id() for _ in range(1000)}) == 1000


def attached(message: EmailMessage) -> EmailMessage:
    [_, attachment] = message.iter_parts()
    assert isinstance(attachment, EmailMessage)
    return attachment
