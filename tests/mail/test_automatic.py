"""Which mail causes no report: bounces, reports and automatic answers (AGG-20, pain 3)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from appliance.mail.automatic import is_automatic
from appliance.mail.message import Message

MakeMessage = Callable[..., Message]


@pytest.mark.parametrize(
    "field",
    [
        pytest.param(
            (b"Content-Type", b" multipart/report; report-type=feedback-report"), id="failure report"
        ),
        pytest.param((b"content-type", b" Multipart/Report;\r\n report-type=delivery-status"), id="bounce"),
        pytest.param((b"Auto-Submitted", b" auto-generated"), id="generated"),
        pytest.param((b"Auto-Submitted", b" auto-replied; owner-email=x"), id="vacation"),
        pytest.param((b"AUTO-SUBMITTED", b" nobody-knows"), id="word of another time"),
        pytest.param(
            (b"Subject", b" Report Domain: a.test\r\n Submitter: b.test Report-ID: <1>"),
            id="aggregate report",
        ),
        pytest.param((b"Subject", b" Report domain: a.test Submitter: b.test"), id="as others spell it"),
    ],
)
def test_agg_20_mail_about_mail_is_known_by_its_header(
    message_of: MakeMessage, field: tuple[bytes, bytes]
) -> None:
    assert is_automatic(message_of((b"From", b" a@b.test"), field))


def test_agg_20_the_null_reverse_path_is_enough(message_of: MakeMessage) -> None:
    message = message_of((b"From", b" a@b.test"))

    bounce = replace(message, envelope=replace(message.envelope, mail_from=""))

    assert is_automatic(bounce)


@pytest.mark.parametrize(
    "field",
    [
        pytest.param((b"Subject", b" Your report on the domain: submitter"), id="subject of people"),
        pytest.param(
            (b"Subject", b" Re: Report Domain: a.test Submitter: b.test"), id="an answer to a report"
        ),
        pytest.param((b"Auto-Submitted", b" no"), id="not automatic"),
        pytest.param((b"Auto-Submitted", b" no (said by hand)"), id="not automatic, with a comment"),
        pytest.param((b"Content-Type", b" multipart/reporting"), id="another type"),
        pytest.param((b"Precedence", b" bulk"), id="newsletter"),
    ],
)
def test_agg_20_other_mail_causes_reports(message_of: MakeMessage, field: tuple[bytes, bytes]) -> None:
    assert not is_automatic(message_of((b"From", b" a@b.test"), field))
