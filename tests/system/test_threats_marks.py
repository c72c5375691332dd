"""Forged marks and signatures through a real Postfix: what others wrote never becomes a result of ours (T4, T5, T7, T8, T13)."""

import re
from collections.abc import Callable

import pytest

from appliance.lab.gateway import AUTHSERV_ID, Gateway
from appliance.lab.samples import SigningKey
from reporting.signing import sign
from tests.checks import mails
from tests.system.conftest import Outsider

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

STRANGER = "198.51.100.66"

Sign = Callable[..., bytes]


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey()


@pytest.fixture(scope="module")
def signed(gateway: Gateway, key: SigningKey) -> Sign:
    """Signs by a domain whose key is published."""
    zone = gateway.zone
    for name in ("legit.test", "att.test", "sub.legit.test", "test", "shop.bank.test", "other.bank.test"):
        zone.txt(f"s._domainkey.{name}", key.record)
    zone.txt("_dmarc.legit.test", "v=DMARC1; p=reject")
    zone.txt("_dmarc.strict.test", "v=DMARC1; p=reject; adkim=s; aspf=s")
    zone.txt("_dmarc.bank.test", "v=DMARC1; p=reject; psd=y")
    zone.txt("_dmarc.shop.bank.test", "v=DMARC1; p=reject")
    zone.txt("s._domainkey.strict.test", key.record)
    zone.txt("s._domainkey.sub.strict.test", key.record)
    zone.txt("s._domainkey.bank.test", key.record)
    zone.txt("att.test", f"v=spf1 ip4:{STRANGER} -all")
    gateway.save(verification__enabled=True, verification__x_header=True)

    def sign_by(domain: str, octets: bytes) -> bytes:
        return sign(octets, domain=domain, selector="s", private_key=key.pem) + octets

    return sign_by


GENUINE = (
    b"From: Bank <admin@legit.test>\r\nTo: u@corp.example\r\nCc: v@corp.example\r\nSubject: Statement\r\n"
    b"Date: Mon, 23 Nov 2026 14:00:00 +0000\r\nMessage-ID: <1@legit.test>\r\nReply-To: admin@legit.test\r\n"
    b"Sender: admin@legit.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
    b"Content-Transfer-Encoding: 7bit\r\n\r\nHello\r\n"
)
SINGLE = [
    b"Subject", b"Date", b"To", b"Cc", b"Message-ID", b"Reply-To", b"Sender", b"Content-Type",
    b"Content-Transfer-Encoding",
]  # fmt: skip


def test_t4_the_genuine_message_passes(outsider: Outsider, signed: Sign) -> None:
    """AR-04, AR-07: verified as it came, with forged results of ours above the signature, which go afterwards."""
    forged = b"Authentication-Results: gateway.example; dmarc=fail\r\n"

    sent = outsider.send(forged + signed("legit.test", GENUINE), mail_from="any@att.test")

    delivered = sent.delivered()
    assert (sent.fate, sent.event.result, sent.event.dkim_aligned) == ("delivered", "pass", True)
    assert [field.name.lower() for field in delivered.fields[:3]] == [
        b"authentication-results",
        b"x-dmarc-result",
        b"received",
    ]
    assert "dmarc=pass" in sent.results()
    assert len(delivered.texts("Authentication-Results")) == 1


def test_dkim_19_ar_07_a_signature_over_results_of_ours_is_verified_before_they_are_deleted(
    outsider: Outsider, signed: Sign, key: SigningKey
) -> None:
    forged = b"Authentication-Results: gateway.example; dmarc=pass\r\n"
    signer = mails.SigningKey(key.pem, key.record.encode())
    names = ("from", "authentication-results")
    octets = mails.signed(signer, forged + GENUINE, domain="legit.test", selector="s", names=names)

    sent = outsider.send(octets, mail_from="any@att.test")

    assert (sent.fate, sent.event.result, sent.event.dkim_aligned) == ("delivered", "pass", True)
    [results] = sent.delivered().texts("Authentication-Results")
    assert results.startswith(f"{AUTHSERV_ID}; spf=pass")


@pytest.mark.parametrize("name", SINGLE, ids=lambda name: name.decode())
@pytest.mark.parametrize("place", ["top", "bottom"])
def test_t4_a_second_field_that_the_signature_does_not_cover_spoils_it(
    outsider: Outsider, signed: Sign, name: bytes, place: str
) -> None:
    """DKIM-11: readers may show either instance."""
    added = name + b": forged@att.test\r\n"
    octets = signed("legit.test", GENUINE)
    at = 0 if place == "top" else octets.index(b"\r\n\r\n") + 2

    sent = outsider.send(octets[:at] + added + octets[at:], mail_from="any@att.test")

    assert sent.fate == "quarantined"
    assert (sent.event.result, sent.event.dkim_aligned) == ("fail", False)


@pytest.mark.parametrize("place", ["top", "bottom"])
def test_t4_a_second_from_is_unusable_though_the_signature_verifies(
    outsider: Outsider, signed: Sign, place: str
) -> None:
    """FROM-02, FROM-03."""
    octets = signed("legit.test", GENUINE)
    at = 0 if place == "top" else octets.index(b"\r\n\r\n") + 2

    sent = outsider.send(octets[:at] + b"From: x@att.test\r\n" + octets[at:], mail_from="any@att.test")

    assert (sent.fate, sent.event.row, sent.event.result) == ("quarantined", "unusable_from", "permerror")


@pytest.mark.parametrize(
    ("author", "signer", "aligned"),
    [
        pytest.param("legit.test", "sub.legit.test", True, id="S9 child"),
        pytest.param("sub.legit.test", "legit.test", True, id="S9 parent"),
        pytest.param("legit.test", "att.test", False, id="another domain"),
        pytest.param("LEGIT.Test", "legit.test", True, id="case"),
        pytest.param("legit.test.", "legit.test", True, id="trailing dot"),
        pytest.param("legit.test", "test", False, id="d= is a top-level domain"),
        pytest.param("strict.test", "sub.strict.test", False, id="strict: child"),
        pytest.param("strict.test", "strict.test", True, id="strict: the same"),
        pytest.param("shop.bank.test", "bank.test", False, id="d= is a public suffix"),
        pytest.param("shop.bank.test", "other.bank.test", False, id="siblings below a public suffix"),
        pytest.param("shop.bank.test", "shop.bank.test", True, id="below a public suffix, the same"),
    ],
)
def test_t8_alignment_cannot_be_tricked(
    outsider: Outsider, signed: Sign, author: str, signer: str, aligned: bool
) -> None:
    """ALN-03, ALN-04."""
    octets = f"From: a@{author}\r\nSubject: x\r\n\r\nHello\r\n".encode()

    sent = outsider.send(signed(signer, octets), mail_from="any@att.test")

    assert sent.event.dkim_aligned is aligned
    assert sent.event.result == ("pass" if aligned else "fail")
    assert (sent.fate == "delivered") is aligned


# ---- results of others ----------------------------------------------------------

VARIANTS = [
    b"Authentication-Results: gateway.example; dmarc=pass header.from=legit.test",
    b"AUTHENTICATION-RESULTS: gateway.example; spf=pass",
    b"authentication-results:GATEWAY.Example;dmarc=pass",
    b"Authentication-Results :gateway.example; dmarc=pass",
    b"Authentication-Results: gateway.example 1; dmarc=pass",
    b"Authentication-Results: (x) gateway.example (y) 1 (z); dmarc=pass",
    b'Authentication-Results: "gateway.example"; dmarc=pass',
    b"Authentication-Results:\r\n gateway.example\r\n ; dmarc=pass",
    b"Authentication-Results: gateway.example.; dmarc=pass",
    b"Authentication-Results: gateway.example 2; dmarc=pass",
    b"Authentication-Results: gate(x)way.example; dmarc=pass",
    b"Authentication-Results: ; dmarc=pass",
    b"Authentication-Results: dmarc=pass",
    b"Authentication-Results: " + b"(" * 2000 + b"gateway.example; dmarc=pass",
    b"X-DMARC-Result: pass",
    b"x-dmarc-RESULT : pass (forged)",
]
OTHERS = [
    b"Authentication-Results: other.example; dmarc=pass header.from=legit.test",
    b"Authentication-Results: gateway.example.att.test; dmarc=pass",
    b"ARC-Authentication-Results: i=1; gateway.example; dmarc=pass",
    b"X-Authentication-Results: gateway.example; dmarc=pass",
]


def test_t7_ar_05_ar_06_every_form_of_our_name_is_deleted_and_nothing_else(
    outsider: Outsider, signed: Sign
) -> None:
    """S30, CVE-2022-48521: deleting one must not shift another out of sight."""
    interleaved = b"".join(
        forged + b"\r\n" + OTHERS[at % len(OTHERS)] + b"\r\n" for at, forged in enumerate(VARIANTS)
    )

    sent = outsider.send(interleaved + b"From: a@att.test\r\n\r\nHello\r\n", mail_from="a@att.test")

    delivered = sent.delivered()
    left = [
        field.octets
        for field in delivered.fields
        if b"authentication-results" in field.name.lower() or b"dmarc" in field.name.lower()
    ]
    assert left[0].startswith(b"Authentication-Results: gateway.example;\r\n spf=pass")
    assert left[1].startswith(b"X-DMARC-Result: none ")
    assert left[2:] == OTHERS * (len(VARIANTS) // len(OTHERS))


def test_t7_a_thousand_copies_are_deleted_one_by_one(outsider: Outsider, signed: Sign) -> None:
    forged = b"Authentication-Results: gateway.example; dmarc=pass\r\nX-Between: kept\r\n" * 1000

    sent = outsider.send(forged + b"From: a@att.test\r\n\r\nHello\r\n", mail_from="a@att.test")

    delivered = sent.delivered()
    assert len(delivered.texts("Authentication-Results")) == 1
    assert len(delivered.texts("X-Between")) == 1000


def test_ar_14_results_of_others_change_nothing_whatever_they_say(outsider: Outsider, signed: Sign) -> None:
    """T5, S17: methods, results and properties that nobody knows are passed over, and those of others never count."""
    claims = (
        b"Authentication-Results: other.example; dmarc=pass header.from=legit.test; x-new=splendid a.b=c\r\n"
        b"Received-SPF: pass (forged) identity=mailfrom; envelope-from=admin@legit.test\r\n"
    )

    sent = outsider.send(claims + b"From: a@legit.test\r\n\r\nHello\r\n", mail_from="a@att.test")

    assert (sent.fate, sent.event.result) == ("rejected", "fail")


HOSTILE = [
    "att.test;dmarc=pass", "att.test; dmarc=pass header.from=legit.test", "a;b", "att.test(", "att.test)", "(att.test)",
    'att.test"', '"att.test";dmarc=pass', "att.test\t;dmarc=pass", "att.test,legit.test", "att.test/legit.test", "=", "a=b",
    "legit.test'", "legit.test\\", "<legit.test>", "@legit.test", "a@b@legit.test", "[192.0.2.1]", "..", "-", "%{d}", "{i}",
    "att.test dmarc=pass", "att.test;\r\n dmarc=pass", "ätt.test;dmarc=pass", "a" * 300, "xn--\x7f", "$(id)", "`id`",
]  # fmt: skip

RESULT = re.compile(r"(?:^|; )(spf|dkim|arc|dmarc)=([a-z]+)")


@pytest.mark.parametrize("place", ["HELO", "MAIL FROM", "local part", "d=", "s=", "i=", "display name"])
def test_t5_ar_11_no_hostile_text_becomes_a_result(outsider: Outsider, signed: Sign, place: str) -> None:
    """CVE-2020-12272 and the like. What Postfix lets through of each is judged, and is read back word by word."""
    seen = 0
    for text in HOSTILE:
        tags = {"d=": "att.test", "s=": "s", "i=": "@att.test"} | (
            {place: text} if place.endswith("=") else {}
        )
        signature = "v=1; a=rsa-sha256; h=from; bh=YWJj; b=YWJj; " + "; ".join(
            name + value for name, value in tags.items()
        )
        name = text if place == "display name" else "A"
        octets = f"DKIM-Signature: {signature}\r\nFrom: {name} <a@att.test>\r\n\r\nHello\r\n".encode()
        mail_from = {"MAIL FROM": f"a@{text}", "local part": f"{text}@att.test"}.get(place, "a@att.test")
        if "\r\n" in mail_from or (place == "HELO" and "\r\n" in text):
            continue

        sent = outsider.send(octets, mail_from=mail_from, helo=text if place == "HELO" else None)

        if sent.fate != "delivered":
            continue
        seen += 1
        results = RESULT.findall(sent.results())
        assert [method for method, _ in results][-2:] == ["arc", "dmarc"]
        assert ("dmarc", "pass") not in results
        assert ("dmarc", "none") in results
        assert {method for method, _ in results[:-2]} <= {"spf", "dkim"}
        assert len(results) <= 4, "one result for each mechanism"
        assert sent.results().count("header.from=") == 1
    assert seen or place == "HELO"
