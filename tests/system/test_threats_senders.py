"""What forgers send, through a real Postfix: the espoofer cases A1 to A19 and more of their kind (threats T1, T2, T3, T6).

The attacker's SPF passes for his own domains. legit.test wants forgeries rejected, and Postfix refuses or normalises
some of them before the filter sees them: what it does is part of what is asserted here.
"""

from dataclasses import dataclass

import pytest

from appliance.lab.gateway import Gateway
from appliance.store import events
from tests.system.conftest import Outsider

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

ATTACKER = "198.51.100.66"


@pytest.fixture(scope="module", params=["reject", "quarantine"])
def unusable_from(request: pytest.FixtureRequest, gateway: Gateway) -> str:
    """The action for an unusable From: both rejections and the default are seen."""
    zone = gateway.zone
    for name in ("legit.test", "xn--bcher-kva.test"):
        zone.txt(name, "v=spf1 ip4:192.0.2.1 -all")
        zone.txt(f"_dmarc.{name}", "v=DMARC1; p=reject")
    for name in ("att.test", "any.att.test", "a.att.test", "helo.att.test"):
        zone.txt(name, f"v=spf1 ip4:{ATTACKER} -all")
    action: str = request.param
    gateway.save(verification__enabled=True, verification__actions__unusable_from=action)
    return action


@dataclass(frozen=True)
class Forgery:
    header: bytes = b"From: admin@legit.test\r\n"
    mail_from: str = "any@att.test"
    helo: str = "helo.att.test"
    body: bytes = b"Hello\r\n"


UNUSABLE = [
    pytest.param(Forgery(b"From: a@att.test\r\nFrom: b@legit.test\r\n"), "several From fields", id="A8"),
    pytest.param(Forgery(b" From: a@att.test\r\nFrom: b@legit.test\r\n"), "no From field", id="A9"),
    pytest.param(Forgery(b"From: a@att.test\r\nFrom : b@legit.test\r\n"), "several From fields", id="A10"),
    pytest.param(
        Forgery(b"From : b@legit.test\r\nSubject: x\r\n"),
        "no From field",
        id="A10 first line, mbox's to Postfix",
    ),
    pytest.param(Forgery(b"From\r\n : a@att.test\r\nFrom: b@legit.test\r\n"), "no From field", id="A11"),
    pytest.param(Forgery(b"Sender: b@legit.test\r\nTo: x@corp.example\r\n"), "no From field", id="A12"),
    pytest.param(Forgery(b"Resent-From: b@legit.test\r\nTo: x@corp.example\r\n"), "no From field", id="A13"),
    pytest.param(
        Forgery(b"From: =?utf-8?b?PGFkbWluQGxlZ2l0LnRlc3Q+?=,<b@att.test>\r\n"),
        "From has no domain",
        id="A15",
    ),
    pytest.param(Forgery(b"From: <admin@legit.test>\\,<b@att.test>\r\n"), "From cannot be parsed", id="A17"),
    pytest.param(Forgery(b"From: <a@att.test>admin@legit.test\r\n"), "From cannot be parsed", id="A19"),
    pytest.param(Forgery(b"From: undisclosed:;\r\n"), "From has no domain", id="empty group"),
    pytest.param(Forgery(b"From: admin@legit.test <>\r\n"), "From cannot be parsed", id="addr <>"),
    pytest.param(Forgery(b"From: admin@legit.test>\r\n"), "From cannot be parsed", id="unbalanced >"),
    pytest.param(Forgery(b"From: <admin@legit.test\r\n"), "From cannot be parsed", id="unbalanced <"),
    pytest.param(
        Forgery(b"From: admin@[198.51.100.66]\r\n"), "From has an address in place of a domain", id="literal"
    ),
    pytest.param(Forgery(b"From: postmaster\r\n"), "From has no domain", id="no domain"),
    pytest.param(Forgery(b"From:\r\n"), "From is empty", id="empty From"),
    pytest.param(Forgery(b"Subject: x\r\n"), "no From field", id="no From"),
    pytest.param(Forgery(b""), "no From field", id="T3 no header at all"),
    pytest.param(
        Forgery(b"From: admin@leg\xfcit.test\r\n"), "From has an invalid domain", id="Latin-1 domain"
    ),
    pytest.param(Forgery(b"From: admin@legit.test\x01\r\n"), "From cannot be parsed", id="control octet"),
]


@pytest.mark.parametrize(("forgery", "note"), UNUSABLE)
def test_t1_t2_t3_a_from_that_could_be_read_in_two_ways_meets_its_action(
    outsider: Outsider, unusable_from: str, forgery: Forgery, note: str
) -> None:
    """FROM-03, FROM-06, FROM-10, FROM-13, S23."""
    sent = outsider.send(forgery.header + b"\r\n" + forgery.body, mail_from=forgery.mail_from)

    assert sent.fate == {"reject": "rejected", "quarantine": "quarantined"}[unusable_from]
    assert (sent.event.row, sent.event.author_domain, sent.event.note) == ("unusable_from", "", note)


FAILING = [
    pytest.param(Forgery(mail_from="any@nonexistent.legit.test"), ["legit.test"], id="A1 subdomain, own HELO"),
    pytest.param(Forgery(mail_from="any@legit.test'@any.att.test"), ["legit.test"], id="A6 two at signs"),
    pytest.param(
        Forgery(mail_from="@legit.test,@any.att.test:'any@att.test"), ["legit.test"], id="A7 source route"
    ),
    pytest.param(
        Forgery(b"From: <a@att.test>, <b@legit.test>\r\n"), ["att.test", "legit.test"], id="A14 two mailboxes"
    ),
    pytest.param(
        Forgery(b"From: <@att.test,@any.att.test:admin@legit.test>\r\n"), ["legit.test"], id="A16 route in From"
    ),
    pytest.param(
        Forgery(b"From: b@legit.test,<a@att.test>\r\n"),
        ["legit.test", "att.test"],
        id="A18 bare and angle",
    ),
    pytest.param(Forgery(b"From: g: admin@legit.test;\r\n"), ["legit.test"], id="group"),
    pytest.param(Forgery("From: u@bücher.test\r\n".encode()), ["xn--bcher-kva.test"], id="U-label"),
    pytest.param(Forgery(b"From: admin@LEGIT.Test.\r\n"), ["legit.test"], id="case and trailing dot"),
    pytest.param(Forgery(b'From: "a@att.test" <admin@legit.test>\r\n'), ["legit.test"], id="display name"),
    pytest.param(Forgery(b"From: (a@att.test) admin@legit.test\r\n"), ["legit.test"], id="comment"),
    pytest.param(
        Forgery(b"Subject: x\r\nFrom : admin@legit.test\r\n"), ["legit.test"], id="A10 the only one"
    ),
    pytest.param(Forgery(b"fROM:\r\n\tadmin@legit.test\r\n"), ["legit.test"], id="folded value"),
    pytest.param(Forgery(mail_from='"any@att.test"@legit.test'), ["legit.test"], id="quoted local part"),
    pytest.param(Forgery(mail_from="", helo="att.test"), ["legit.test"], id="null path"),
    pytest.param(
        Forgery(b"DKIM-Signature: v=1; a=rsa-sha256; d=legit.test'a.att.test; s=s; h=from; bh=YQ==; b=YQ==\r\n"
                b"From: admin@legit.test\r\n"), ["legit.test"], id="A4 quote in d=",
    ),
    pytest.param(
        Forgery(b"DKIM-Signature: v=1; a=rsa-sha256; d=att.test; s=s._domainkey.att.test.; h=from; bh=YQ==; b=YQ==\r\n"
                b"From: admin@legit.test\r\n"), ["legit.test"], id="A3 as an older Postfix cuts it",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("forgery", "authors"), FAILING)
def test_t1_t2_t6_a_readable_forgery_fails_and_is_rejected(
    outsider: Outsider, unusable_from: str, forgery: Forgery, authors: list[str]
) -> None:
    """FROM-01, FROM-04, FROM-05, FROM-09, ALN-01."""
    sent = outsider.send(
        forgery.header + b"\r\n" + forgery.body, mail_from=forgery.mail_from, helo=forgery.helo
    )

    assert sent.fate == "rejected"
    assert [event.author_domain for event in sent.events] == authors
    assert "fail" in {event.result for event in sent.events}


def test_t13_a_forged_signature_of_the_victim_gains_a_quarantine_at_most(
    outsider: Outsider, unusable_from: str
) -> None:
    """A3 with the victim's d=: it looks like a signature that a list broke, and such mail is kept, not delivered."""
    signature = b"DKIM-Signature: v=1; a=rsa-sha256; d=legit.test; s=x._domainkey.att.test.; h=from; bh=YQ==; b=YQ==\r\n"

    sent = outsider.send(signature + b"From: admin@legit.test\r\n\r\nHello\r\n", mail_from="any@att.test")

    assert (sent.fate, sent.event.result) == ("quarantined", "fail")


REFUSED_BY_POSTFIX = [
    pytest.param(Forgery(mail_from="(any@legit.test"), "501 by Postfix", id="A2"),
    pytest.param(Forgery(mail_from="legit.test(a.att.test"), "501 by Postfix", id="A5"),
    pytest.param(
        Forgery(
            b"DKIM-Signature: v=1; d=att.test; s=s._domainkey.att.test.\0x; b=YQ==\r\nFrom: admin@legit.test\r\n"
        ),
        "550 by Postfix",
        id="A3 NUL in s=",
    ),
    pytest.param(Forgery(b"From: admin@legit.test\0.att.test\r\n"), "550 by Postfix", id="NUL in From"),
    pytest.param(Forgery(body=b"a\0b\r\n"), "550 by Postfix", id="NUL in the body"),
    pytest.param(Forgery(helo="a@b;dmarc=pass"), "501 by Postfix", id="T6 HELO that is no name"),
    pytest.param(Forgery(helo='"legit.test"'), "501 by Postfix", id="T6 HELO in quotes"),
]


@pytest.mark.parametrize(("forgery", "fate"), REFUSED_BY_POSTFIX)
def test_t6_what_postfix_itself_refuses_never_reaches_the_filter(
    outsider: Outsider, forgery: Forgery, fate: str
) -> None:
    sent = outsider.send(
        forgery.header + b"\r\n" + forgery.body, mail_from=forgery.mail_from, helo=forgery.helo
    )

    assert sent.fate == fate


def test_t3_a_line_that_is_no_field_ends_the_header_for_reader_and_filter_alike(
    outsider: Outsider, unusable_from: str
) -> None:
    """FROM-13: the second From is body, and stands there for everybody. Newer Postfix refuses the message."""
    sent = outsider.send(
        b"From: a@att.test\r\nSub ject: x\r\nFrom: b@legit.test\r\n\r\nHello\r\n", mail_from="any@att.test"
    )

    if sent.fate != "550 by Postfix":
        assert (sent.fate, sent.event.author_domain) == ("delivered", "att.test")
        assert sent.delivered().texts("From") == ("a@att.test",)
        assert sent.delivered().body == b"Sub ject: x\r\nFrom: b@legit.test\r\n\r\nHello\r\n"


@pytest.mark.parametrize(
    ("header", "author"),
    [
        pytest.param(b'From: "admin@legit.test" <a@att.test>\r\n', "att.test", id="display name"),
        pytest.param(b"From: legit.test (admin@legit.test) <a@att.test>\r\n", "att.test", id="comment"),
        pytest.param(b"From: =?utf-8?q?admin=40legit=2Etest?= <a@att.test>\r\n", "att.test", id="FROM-08"),
        pytest.param(b"From: a@att.test\r\nSender: admin@legit.test\r\n", "att.test", id="S4 Sender"),
        pytest.param(b"From: a@att.test\r\nReply-To: admin@legit.test\r\n", "att.test", id="S4 Reply-To"),
    ],
)
def test_t2_the_domain_of_the_address_is_judged_whatever_else_is_shown(
    outsider: Outsider, unusable_from: str, header: bytes, author: str
) -> None:
    """FROM-01: look-alikes are out of DMARC's scope, and are named by nobody's policy."""
    sent = outsider.send(header + b"\r\nHello\r\n", mail_from="any@att.test")

    assert (sent.fate, sent.event.author_domain, sent.event.result) == ("delivered", author, "none")


@pytest.mark.parametrize(
    ("mail_from", "helo", "spf"),
    [
        pytest.param("any@nowhere.legit.test", "helo.att.test", "none", id="A1 a HELO pass never stands in"),
        pytest.param(
            "any@legit.test", "helo.att.test", "fail", id="CVE-2019-20790 HELO passes, MAIL FROM fails"
        ),
        pytest.param("any@legit.test'@any.att.test", "helo.att.test", "none", id="A6 two at signs"),
        pytest.param("@legit.test:'any@att.test", "helo.att.test", "none", id="A7 route"),
        pytest.param("", "att.test", "pass", id="the null path is checked by HELO"),
        pytest.param("", "[198.51.100.66]", "none", id="SPF-10 HELO literal"),
        pytest.param("any@test", "helo.att.test", "none", id="SPF-09 single label"),
        pytest.param("any@att.test", "helo.att.test", "pass", id="his own domain passes, and does not align"),
    ],
)
def test_t6_only_the_checked_identity_counts(
    outsider: Outsider, unusable_from: str, mail_from: str, helo: str, spf: str
) -> None:
    """S6, ALN-01, SPF-10."""
    sent = outsider.send(b"From: admin@legit.test\r\n\r\nHello\r\n", mail_from=mail_from, helo=helo)

    assert sent.fate == "rejected"
    assert sent.event.authentication is not None
    assert (sent.event.authentication.spf.result, sent.event.spf_aligned) == (spf, False)


def test_t42_a_header_block_beyond_its_limit_is_cut_for_reader_and_filter_alike(
    outsider: Outsider, unusable_from: str
) -> None:
    """What Postfix makes of 102,400 octets and of a line of 3,000: nothing that hides a second From."""
    fields = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 2000) for number in range(60))

    sent = outsider.send(fields + b"From: a@att.test\r\n\r\nHello\r\n", mail_from="any@att.test")

    delivered = sent.delivered()
    assert (sent.fate, sent.event.author_domain) == ("delivered", "att.test")
    assert delivered.texts("From") == ("a@att.test",)


def test_t42_a_field_longer_than_postfix_allows_is_judged_as_it_is_delivered(
    outsider: Outsider, unusable_from: str
) -> None:
    """The tail that Postfix cuts off holds no address that a reader would still see."""
    long_name = b"".join(b"%s\r\n " % (b"x" * 900) for _ in range(140))

    sent = outsider.send(
        b"From: " + long_name + b"<admin@legit.test>\r\n\r\nHello\r\n", mail_from="any@att.test"
    )

    assert sent.fate == {"reject": "rejected", "quarantine": "quarantined"}[unusable_from]
    assert sent.event.row == "unusable_from"


def test_no_quarantined_or_refused_forgery_was_delivered(outsider: Outsider, gateway: Gateway) -> None:
    """S24: after all of them, the mailbox holds only what was called delivered."""
    marker = outsider.send(b"From: a@att.test\r\n\r\nlast\r\n", mail_from="any@att.test")
    marker.delivered()

    with gateway.store.read() as connection:
        judged = events.recent(connection, 1000)
    kept_back = {
        event.envelope.recipients[0].address for event in judged if event.outcome in {"quarantine", "reject"}
    }
    assert kept_back
    assert not kept_back & {message.recipient for message in gateway.inside.messages()}
