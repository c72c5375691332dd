"""An explanation says what passed, what failed and why, which policy applies, and what the sender should fix."""

from collections.abc import Callable

import pytest

from appliance.explain.model import Aligned, Explanation
from appliance.explain.text import as_text
from appliance.resolver import Status
from appliance.settings import Action, ActionTable, Mode, Network, Settings, Verification
from appliance.settings.records import NetworkRecord
from tests.checks.mails import PLAIN, SigningKey, sealed, signed
from tests.explain.explained import ON, Texts, explained

REJECT = b"v=DMARC1; p=reject"
SPF = b"v=spf1 ip4:192.0.2.1 -all"


def advice(explanation: Explanation) -> str:
    return "\n".join(f"{one.domain}: {one.text}" for one in explanation.advice)


def test_a_pass_names_the_mechanism_and_needs_no_advice() -> None:
    explanation = explained(PLAIN, {"_dmarc.example.org": REJECT, "example.org": SPF})

    assert (explanation.result, explanation.because) == (
        "pass",
        "SPF passed for a domain aligned with example.org",
    )
    assert explanation.advice == ()
    assert explanation.local.action == "deliver"


def test_a_fail_says_what_local_settings_do_and_what_would_help() -> None:
    explanation = explained(
        PLAIN, {"_dmarc.example.org": REJECT, "bulk.test": SPF}, mail_from="bounce@bulk.test"
    )

    [author] = explanation.authors
    [spf] = author.alignment
    assert (spf.domain, spf.result, spf.aligned, spf.because) == (
        "bulk.test",
        "pass",
        Aligned.NO,
        "under another top-level domain",
    )
    assert (explanation.local.action, author.row) == ("reject (550)", "p=reject")
    assert explanation.local.reply.startswith("550 5.7.26 Refused by DMARC: example.org")
    assert "example.org: sign mail with DKIM, d=example.org" in advice(explanation)
    assert "MAIL FROM within example.org: SPF passes, but for bulk.test" in advice(explanation)
    assert "it is forged" in explanation.advice[-1].text


def test_a_signature_tells_what_it_covers_and_its_key(rsa_key: SigningKey) -> None:
    texts = {"_dmarc.example.org": REJECT, "s1._domainkey.example.org": rsa_key.record}

    explanation = explained(signed(rsa_key), texts)

    [signature] = explanation.dkim
    assert signature.signed_fields == ("from", "to", "subject", "date", "message-id")
    assert (signature.canonicalization, signature.body) == ("relaxed/relaxed", "hash matches")
    assert (signature.key_name, signature.key) == ("s1._domainkey.example.org", "RSA, 2048 bits")
    assert explanation.because == "DKIM passed for a domain aligned with example.org"


@pytest.mark.parametrize(
    ("spoil", "texts", "because", "remedy"),
    [
        pytest.param(
            lambda octets: octets + b"footer\r\n",
            {},
            "the body is not the one that was signed",
            "sign behind every program that changes mail",
            id="body",
        ),
        pytest.param(
            lambda octets: octets.replace(b"To: bob@", b"To: eve@"),
            {},
            "a signed header field was changed",
            "compare the private key",
            id="header field",
        ),
        pytest.param(
            lambda octets: octets,
            {"s1._domainkey.example.org": Status.NXDOMAIN},
            "no key is published at s1._domainkey.example.org",
            "publish the key at s1._domainkey.example.org",
            id="missing selector",
        ),
        pytest.param(
            lambda octets: octets,
            {"s1._domainkey.example.org": b"v=DKIM1; p="},
            "is revoked",
            "sign with another selector",
            id="revoked key",
        ),
        pytest.param(
            lambda octets: octets.replace(b"a=rsa-sha256", b"a=rsa-sha1"),
            {},
            "rsa-sha1 is no longer accepted",
            "sign with rsa-sha256",
            id="DKIM-02",
        ),
    ],
)
def test_a_broken_signature_says_why_and_what_to_do(
    rsa_key: SigningKey, spoil: Callable[[bytes], bytes], texts: Texts, because: str, remedy: str
) -> None:
    published: Texts = {"_dmarc.example.org": REJECT, "s1._domainkey.example.org": rsa_key.record}

    explanation = explained(spoil(signed(rsa_key)), {**published, **texts})

    [signature] = explanation.dkim
    assert because in signature.because
    assert remedy in advice(explanation)
    assert explanation.authors[0].alignment[1].aligned is Aligned.YES


def test_a_signature_of_somebody_else_counts_for_nothing_and_is_named(rsa_key: SigningKey) -> None:
    texts = {"_dmarc.example.org": REJECT, "s1._domainkey.bulk.org": rsa_key.record}

    explanation = explained(signed(rsa_key, domain="bulk.org"), texts)

    row = explanation.authors[0].alignment[1]
    assert (row.result, row.aligned) == ("pass", Aligned.NO)
    assert row.because == "its Organizational Domain is bulk.org, not example.org"
    assert "it is signed by bulk.org only" in advice(explanation)


def test_strict_alignment_is_told_as_such() -> None:
    texts = {"_dmarc.example.org": REJECT + b"; aspf=s", "mail.example.org": SPF}

    explanation = explained(PLAIN, texts, mail_from="a@mail.example.org")

    row = explanation.authors[0].alignment[0]
    assert (row.aligned, row.mode) == (Aligned.NO, "strict")


@pytest.mark.parametrize(
    ("texts", "addresses", "tag", "where", "requested"),
    [
        pytest.param({"_dmarc.a.example.org": REJECT}, {}, "p", "own record", "reject", id="DISC-30 p"),
        pytest.param(
            {"_dmarc.example.org": REJECT + b"; sp=quarantine"},
            {"a.example.org": b"192.0.2.80"},
            "sp",
            "Organizational Domain",
            "quarantine",
            id="DISC-31 sp",
        ),
        pytest.param(
            {"_dmarc.example.org": REJECT + b"; np=none"},
            {"a.example.org": Status.NXDOMAIN},
            "np",
            "Organizational Domain",
            "none",
            id="DISC-31 np",
        ),
        pytest.param(
            {"_dmarc.example.org": REJECT}, {}, "p", "Organizational Domain", "reject", id="DISC-31 p"
        ),
        pytest.param(
            {"_dmarc.org": REJECT + b"; psd=y"},
            {},
            "p",
            "public suffix",
            "reject",
            id="DISC-21 public suffix",
        ),
        pytest.param(
            {"_dmarc.a.example.org": REJECT + b"; t=y"}, {}, "p", "own record", "quarantine", id="DISC-34"
        ),
        pytest.param(
            {"_dmarc.a.example.org": b"v=DMARC1; p=rejct; rua=mailto:a@example.org"},
            {},
            "p",
            "own record",
            "none",
            id="DISC-12",
        ),
    ],
)
def test_the_policy_that_applies_is_told_with_its_tag_and_place(
    texts: Texts, addresses: Texts, tag: str, where: str, requested: str
) -> None:
    octets = PLAIN.replace(b"ann@example.org", b"ann@a.example.org")

    explanation = explained(octets, texts, addresses=addresses, mail_from="x@bulk.test")

    published = explanation.authors[0].published
    assert published
    assert (published.tag, published.requested) == (tag, requested)
    assert where in published.where


@pytest.mark.parametrize(
    ("texts", "text"),
    [
        pytest.param({}, "publish a DMARC record", id="no record"),
        pytest.param({"_dmarc.example.org": [REJECT, REJECT]}, "2 DMARC records", id="DISC-11"),
        pytest.param({"_dmarc.example.org": b"v=DMARC1; p=x"}, "correct the record", id="DISC-12"),
        pytest.param({"_dmarc.example.org": Status.TEMPORARY}, "make its name servers answer", id="DISC-40"),
        pytest.param(
            {"_dmarc.example.org": REJECT, "example.org": [SPF, SPF]}, "keep one v=spf1 record", id="SPF-06"
        ),
        pytest.param(
            {"_dmarc.example.org": REJECT, "example.org": b"v=spf1 " + b"a " * 11},
            "within 10 look-ups",
            id="SPF-01",
        ),
        pytest.param(
            {"_dmarc.example.org": REJECT, "example.org": b"v=spf1 include:gone.org -all"},
            "(at include:gone.org in the record of example.org)",
            id="SPF-07",
        ),
        pytest.param(
            {"_dmarc.example.org": REJECT, "example.org": b"v=spf1 -all"},
            "if 192.0.2.1 sends mail for example.org, add it to the SPF record",
            id="client not listed",
        ),
    ],
)
def test_mistakes_of_the_sender_come_with_advice(texts: Texts, text: str) -> None:
    explanation = explained(PLAIN, texts, addresses={"example.org": b"192.0.2.80"})

    assert text in advice(explanation)


def test_an_unusable_from_is_told_and_nothing_is_asked_about_it() -> None:
    explanation = explained(PLAIN.replace(b"From: Ann", b"From: x\r\nFrom: Ann"), {})

    assert (explanation.result, explanation.because) == (
        "permerror",
        "the Author Domain cannot be told: several From fields",
    )
    assert explanation.local.because == 'row "Unusable From" of the action table'
    assert not [asked for asked in explanation.questions if asked.name.startswith("_dmarc.example.net")]


def test_several_author_domains_are_told_one_by_one() -> None:
    octets = PLAIN.replace(b"Ann <ann@example.org>", b"ann@example.org, bob@other.org")

    explanation = explained(octets, {"_dmarc.example.org": REJECT, "example.org": SPF})

    assert [(author.domain, author.result) for author in explanation.authors] == [
        ("example.org", "pass"),
        ("other.org", "none"),
    ]
    assert explanation.result == "permerror"


@pytest.mark.parametrize(
    ("settings", "action", "because"),
    [
        pytest.param(Settings(), "deliver", "DMARC is off", id="off"),
        pytest.param(
            Settings(verification=Verification(enabled=True, mode=Mode.MONITOR)),
            "deliver",
            "monitor only",
            id="monitor",
        ),
        pytest.param(
            Settings(verification=Verification(enabled=True, exceptions="192.0.2.0/24")),
            "deliver",
            "on the exception list (192.0.2.0/24)",
            id="exception",
        ),
        pytest.param(
            Settings(verification=Verification(enabled=True, actions=ActionTable(reject=Action.QUARANTINE))),
            "quarantine",
            "action for p=reject: quarantine",
            id="row",
        ),
    ],
)
def test_local_settings_are_told_with_their_reason(settings: Settings, action: str, because: str) -> None:
    explanation = explained(PLAIN, {"_dmarc.example.org": REJECT}, mail_from="x@bulk.test", settings=settings)

    assert explanation.result == "fail"
    assert explanation.local.action == action
    assert because in explanation.local.because


def test_the_client_behind_a_known_host_is_named_with_the_relay() -> None:
    settings = ON.model_copy(update={"network": Network(known_hosts=(NetworkRecord.parse("10.0.0.5"),))})
    octets = (
        b"Received: from far.test (far.test [198.51.100.7]) by relay; Mon, 1 Jan 2026 00:00:00 +0000\r\n"
        + PLAIN
    )

    explanation = explained(octets, {}, client="10.0.0.5", settings=settings)

    who = explanation.identities
    assert (who.client_ip, who.helo, who.relays) == ("198.51.100.7", "far.test", ("10.0.0.5",))
    assert "known hosts" in who.how


def test_an_arc_chain_is_told_set_by_set(rsa_key: SigningKey) -> None:
    octets = sealed(rsa_key, signed(rsa_key), chain="none")

    explanation = explained(
        octets, {"arc._domainkey.list.example": rsa_key.record, "s1._domainkey.example.org": rsa_key.record}
    )

    assert explanation.arc
    assert explanation.arc.result == "pass"
    assert [(s.instance, s.sealer, s.chain) for s in explanation.arc.sets] == [("1", "list.example", "none")]


def test_the_questions_say_which_the_verdict_rests_on() -> None:
    explanation = explained(PLAIN, {"_dmarc.example.org": REJECT, "example.org": SPF})

    questions = {asked.name: asked for asked in explanation.questions}
    assert questions["_dmarc.example.org"].for_verdict
    assert questions["_dmarc.example.org"].ttl_seconds == 60
    assert not questions["_dmarc.org"].for_verdict


def test_hostile_octets_come_out_as_escapes_in_every_part(rsa_key: SigningKey) -> None:
    octets = (
        b"Subject: \x1b[2J"
        + b"A" * 1_000_000
        + b"\r\nDKIM-Signature: v=1; d=\x1b]0;x\x07; s=\xe2\x80\xae; b=\x1b\r\n"
        b"ARC-Seal: i=\x1b; d=\xe2\x80\xae.test\r\nFrom: \xe2\x80\xaegro.elpmaxe <a@example.org>\r\n\r\nx\r\n"
    )
    texts = {
        "example.org": b"v=spf1 include:\xe2\x80\xae -all",
        "_dmarc.example.org": b"v=DMARC1; p=\x1b; rua=mailto:a@b.c",
    }

    text = as_text(explained(octets, texts, mail_from="\x1b\u202e@example.org"))

    assert all(line.isprintable() for line in text.splitlines())
    assert len(text) < 20_000
    assert "\\x1b[2J" in text
