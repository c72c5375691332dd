"""What the filter keeps for failure reports, and of which mail it keeps nothing (RUF-01, RUF-09, T24, T48)."""

from dataclasses import replace
from typing import Any

import pytest

from appliance.policy import Outcome, Skip
from appliance.store.failure_samples import FailedSignature
from tests.failing import (
    HEADER,
    PERSONAL,
    RUF,
    failing_settings,
    message_of,
    samples_of,
)

RAW: dict[str, Any] = {"failure_redaction": False}


def test_ruf_01_the_settings_keep_nothing_unless_they_are_changed() -> None:
    assert samples_of(settings=failing_settings(failure_enabled=False)) == ()


@pytest.mark.parametrize("off", [{"enabled": False}, {"failure_per_day": 0}], ids=str)
def test_ruf_01_nothing_is_kept_while_nothing_could_be_sent(off: dict[str, Any]) -> None:
    assert samples_of(settings=failing_settings(**off)) == ()


def test_a_failure_is_kept_with_what_its_report_needs() -> None:
    [sample] = samples_of(dns={"stranger.test": "v=spf1 -all"})

    assert (sample.policy_domain, sample.author_domain, sample.kind) == ("bank.test", "bank.test", "dmarc")
    assert sample.unaligned == ("dkim", "spf")
    assert (sample.source_ip, sample.source_port) == ("198.51.100.66", 40_123)
    assert (sample.queue_id, sample.delivery, sample.result) == ("4ZqK1x2y3zABCDE", "reject", "fail")
    assert (sample.authserv_id, sample.node) == ("mx.gateway.test", "gateway.example")
    assert sample.signature is not None
    assert (sample.signature.domain, sample.signature.selector) == ("bank.test", "k1")
    assert sample.spf_records == ()  # of a domain that is not aligned


def test_ruf_10_nothing_personal_is_in_a_redacted_sample_but_what_is_marked() -> None:
    marked = samples_of()[0]
    texts = [marked.mail_from, marked.subject, *marked.header, marked.signature and marked.signature.identity]
    left = "".join(part.partition("\x02")[2] for text in texts for part in f"\x02{text}".split("\x01"))

    assert [word for word in PERSONAL if word in left.lower()] == []


def test_without_redaction_the_header_and_the_subject_are_kept_as_they_are() -> None:
    [sample] = samples_of(settings=failing_settings(**RAW))

    assert not sample.redacted
    assert sample.subject == "Invoice Xylophone overdue"
    assert sample.mail_from == "boniface@stranger.test"
    assert any(line.startswith("Received: from ann-pc.inner.corp") for line in sample.header)
    assert sample.signature == FailedSignature("bank.test", "k1", "harriet.quimby@bank.test", "body hash")


def test_no_body_is_ever_kept() -> None:
    for settings in (failing_settings(), failing_settings(**RAW)):
        [sample] = samples_of(message_of(HEADER + b"the secret plan\r\n"), settings=settings)

        assert "secret plan" not in repr(sample)


@pytest.mark.parametrize(
    ("octets", "mail_from", "recipients"),
    [
        pytest.param(HEADER, "", ("u@corp.example",), id="null MAIL FROM"),
        pytest.param(
            b"Content-Type: Multipart/REPORT; report-type=feedback-report\r\n" + HEADER,
            "a@stranger.test",
            ("u@corp.example",),
            id="multipart/report",
        ),
        pytest.param(
            b"Auto-Submitted: auto-generated (by us)\r\n" + HEADER,
            "a@stranger.test",
            ("u@corp.example",),
            id="Auto-Submitted",
        ),
        pytest.param(
            HEADER, "a@stranger.test", ("u@corp.example", "DMARC@gateway.test"), id="to our report address"
        ),
        pytest.param(
            HEADER, "a@stranger.test", ("bounces+1.2@gateway.test",), id="to one of our bounce addresses"
        ),
        pytest.param(HEADER, "bounces+1.2@gateway.test", ("u@corp.example",), id="from our report host"),
    ],
)
def test_ruf_09_mail_that_programs_write_or_that_is_about_our_reports_causes_none(
    octets: bytes, mail_from: str, recipients: tuple[str, ...]
) -> None:
    assert samples_of(message_of(octets, mail_from=mail_from, recipients=recipients)) == ()


@pytest.mark.parametrize("field", [b"Auto-Submitted: no\r\n", b"Content-Type: multipart/mixed\r\n", b""])
def test_ruf_09_other_mail_causes_one(field: bytes) -> None:
    assert len(samples_of(message_of(field + HEADER))) == 1


def test_ruf_09_mail_that_names_our_report_domain_as_its_author_causes_none() -> None:
    octets = HEADER.replace(b"@bank.test>\r\nSender", b"@gateway.test>\r\nSender")

    assert samples_of(message_of(octets), policy_domain="gateway.test") == ()


@pytest.mark.parametrize(
    "verdict",
    [
        pytest.param({"skip": Skip.INTERNAL}, id="internal"),
        pytest.param({"skip": Skip.AUTHENTICATED}, id="signed in"),
        pytest.param({"skip": Skip.EXCEPTION}, id="exception"),
        pytest.param({"outcome": Outcome.DEFER}, id="deferred, it comes again"),
    ],
)
def test_t48_nothing_is_kept_of_mail_that_is_not_verified_or_comes_again(verdict: dict[str, Any]) -> None:
    assert samples_of(verdict=verdict) == ()


@pytest.mark.parametrize(
    ("outcome", "word"),
    [(Outcome.DELIVER, "delivered"), (Outcome.QUARANTINE, "policy"), (Outcome.REJECT, "reject")],
)
def test_what_became_of_the_message_is_said_in_the_words_of_rfc_6591(outcome: Outcome, word: str) -> None:
    assert samples_of(verdict={"outcome": outcome})[0].delivery == word


def test_each_kind_that_is_asked_for_is_a_sample_of_its_own() -> None:
    samples = samples_of(tags=f"{RUF}; fo=1:d:s", dns={"stranger.test": "v=spf1 -all"})

    assert [(sample.kind.value, sample.result) for sample in samples] == [
        ("dmarc", "fail"),
        ("bodyhash", "fail"),
        ("spf", "fail"),
    ]


SPF = {
    "bank.test": "v=spf1 include:_spf.bank.test redirect=Other.Test.",
    "_spf.bank.test": "v=spf1 ip4:192.0.2.9",
    "other.test": "v=spf1 -all",
}


def test_every_spf_record_that_was_used_is_named_where_the_failed_domain_is_aligned() -> None:
    [sample] = samples_of(message_of(mail_from="zoe@bank.test"), dns=SPF)

    assert sample.spf_records == tuple(SPF.items())


def test_ruf_10_a_record_whose_name_is_made_of_the_senders_address_is_not_named() -> None:
    dns = {
        "bank.test": "v=spf1 include:%{l}.users.bank.test -all",
        "zoe.users.bank.test": "v=spf1 ip4:192.0.2.9",
    }

    [sample] = samples_of(message_of(mail_from="zoe@bank.test"), dns=dns)

    assert sample.spf_records == (("bank.test", dns["bank.test"]),)


def test_alike_are_messages_of_one_client_and_domain_that_fail_alike_within_an_hour() -> None:
    [first] = samples_of()
    [later] = samples_of(message_of(received_at=first.received_at.replace(minute=59)))
    [next_hour] = samples_of(message_of(received_at=first.received_at.replace(hour=11)))
    [elsewhere] = samples_of(message_of(client_ip="198.51.100.67"))
    [otherwise] = samples_of(tags=f"{RUF}; fo=d")

    assert first.key == later.key
    assert first.key != next_hour.key
    assert first.alike == next_hour.alike
    assert len({first.alike, elsewhere.alike, otherwise.alike}) == 3
    assert first.alike != replace(first, author_domain="mail.bank.test").alike
