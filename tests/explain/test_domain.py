"""What a domain publishes, and every kind of mistake found in it."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from appliance.explain.ask import MAX_QUESTIONS, answered
from appliance.explain.domain import LookedUp, ReportTag, look_up, with_reports
from appliance.explain.findings import FindingKind
from appliance.resolver import Answer, Question, Status
from tests.checks.mails import SigningKey
from tests.explain.explained import Dns, Texts

GOOD = b"v=DMARC1; p=reject; rua=mailto:a@shop.test"
SPF = b"v=spf1 ip4:192.0.2.1 -all"


def looked_up(
    texts: Texts, addresses: Texts | None = None, *, domain: str = "shop.test", selectors: Sequence[str] = ()
) -> LookedUp:
    until = time.monotonic() + 20
    dns = Dns(texts, {"shop.test": b"192.0.2.80", **(addresses or {})})
    found, evaluation = asyncio.run(answered(lambda known: look_up(domain, selectors, known), dns, until))
    published = evaluation.published.record.rua if evaluation.published else ()
    return with_reports(found, (ReportTag("rua", published, published, (), ()),))


def findings(found: LookedUp, kind: FindingKind) -> str:
    return "\n".join(finding.text for finding in found.findings if finding.kind is kind)


def test_a_clean_domain_has_no_findings() -> None:
    found = looked_up({"_dmarc.shop.test": GOOD, "shop.test": SPF})

    assert found.findings == ()
    assert (found.exists, found.applied) == ("yes", "reject")


def test_the_wishes_for_names_below_are_told_after_t_y() -> None:
    found = looked_up(
        {"_dmarc.shop.test": b"v=DMARC1; p=reject; sp=quarantine; np=reject; t=y", "shop.test": SPF}
    )

    assert found.wishes
    assert (found.wishes.itself, found.wishes.below, found.wishes.nonexistent) == (
        "quarantine",
        "none",
        "quarantine",
    )


@pytest.mark.parametrize(
    ("texts", "text"),
    [
        pytest.param(
            {"_dmarc.shop.test": Status.NXDOMAIN}, "no DMARC record speaks for shop.test", id="no record"
        ),
        pytest.param({"_dmarc.shop.test": [GOOD, GOOD]}, "2 DMARC records", id="DISC-11"),
        pytest.param({"_dmarc.shop.test": GOOD + b"; p=none"}, "a tag occurs twice", id="DISC-08"),
        pytest.param({"_dmarc.shop.test": b"v=DMARC1; p=rejct"}, "without a valid p", id="DISC-12 no rua"),
        pytest.param({"_dmarc.shop.test": GOOD + b"; sp=x"}, "the sp tag is not", id="DISC-12 sp"),
        pytest.param({"_dmarc.shop.test": b" " + GOOD}, "does not begin with v=DMARC1", id="DISC-05"),
        pytest.param({"_dmarc.test": GOOD}, "without psd=y makes one organization", id="DISC-27"),
        pytest.param({"shop.test": [SPF, SPF]}, "several SPF records", id="SPF-06"),
        pytest.param({"shop.test": b"v=spf1 " + b"a " * 12}, "takes 12 look-ups; only 10", id="SPF-01"),
        pytest.param(
            {"shop.test": b"v=spf1 " + b"a " * 50}, "takes more than 20 look-ups", id="SPF-01 bounded"
        ),
        pytest.param(
            {"shop.test": b"v=spf1 a:x.test a:y.test a:z.test -all"}, "3 names with nothing", id="SPF-02"
        ),
        pytest.param({"shop.test": b"v=spf1 include:gone.test -all"}, "at include:gone.test", id="SPF-07"),
        pytest.param({"shop.test": b"v=spf1 ip4:1.2.3 -all"}, "invalid record, at ip4:1.2.3", id="syntax"),
        pytest.param({"shop.test": b"v=spf1 a +all"}, "allows everybody", id="+all"),
        pytest.param({"shop.test": b"v=spf1;a -all"}, "must be followed by a space", id="no SPF record"),
    ],
)
def test_mistakes_are_named(texts: Texts, text: str) -> None:
    found = looked_up({"_dmarc.shop.test": GOOD, "shop.test": SPF, **texts})

    assert text in findings(found, FindingKind.MISTAKE)


@pytest.mark.parametrize(
    ("texts", "text"),
    [
        pytest.param(
            {"_dmarc.shop.test": b"v=DMARC1; p=none; rua=mailto:a@shop.test"}, "p=none asks", id="p=none"
        ),
        pytest.param({"_dmarc.shop.test": b"v=DMARC1; p=reject"}, "no rua tag", id="no rua"),
        pytest.param({"_dmarc.shop.test": GOOD + b"; sp=none"}, "sp=none is milder", id="sp"),
        pytest.param({"_dmarc.shop.test": GOOD + b"; np=none"}, "np=none is milder", id="np"),
        pytest.param({"_dmarc.shop.test": GOOD + b"; t=y"}, "t=y asks", id="t=y"),
        pytest.param({"_dmarc.shop.test": GOOD + b"; pct=50"}, "the pct tag is historic", id="DISC-06"),
        pytest.param({"shop.test": b"hello"}, "has no SPF record", id="no SPF"),
        pytest.param({"shop.test": b"v=spf1 a"}, "end it with ~all or -all", id="no all"),
        pytest.param({"shop.test": b"v=spf1 ?all"}, "(?all)", id="?all"),
        pytest.param({"shop.test": b"v=spf1 ptr -all"}, "ptr should not be used", id="ptr"),
        pytest.param({"shop.test": b"v=spf1 -all a"}, "terms behind all", id="behind all"),
        pytest.param({"shop.test": b"v=spf1 " + b"a " * 9 + b"-all"}, "takes 9 of 10", id="SPF-01 near"),
    ],
)
def test_what_could_be_better_is_no_mistake(texts: Texts, text: str) -> None:
    found = looked_up({"_dmarc.shop.test": GOOD, "shop.test": SPF, **texts})

    assert text in findings(found, FindingKind.ADVICE)
    assert not findings(found, FindingKind.MISTAKE)


@pytest.mark.parametrize(
    ("record", "key"),
    [
        pytest.param(None, "RSA, 2048 bits", id="usable"),
        pytest.param(b"v=DKIM1; p=", "key revoked", id="revoked"),
        pytest.param(b"v=DKIM1; p=AAAA", "key unusable", id="broken"),
        pytest.param(Status.NXDOMAIN, "nothing there", id="missing"),
    ],
)
def test_keys_of_named_selectors_are_judged(
    rsa_key: SigningKey, record: bytes | Status | None, key: str
) -> None:
    texts: Texts = {"s1._domainkey.shop.test": rsa_key.record if record is None else record}

    found = looked_up({"_dmarc.shop.test": GOOD, "shop.test": SPF, **texts}, selectors=["s1"])

    assert found.keys[0].key == key
    assert (key in findings(found, FindingKind.MISTAKE)) == (record is not None)


@pytest.mark.parametrize("name", ["_dmarc.shop.test", "shop.test", "s1._domainkey.shop.test", "x.test"])
def test_what_the_dns_cannot_tell_is_no_mistake(name: str, rsa_key: SigningKey) -> None:
    texts: Texts = {
        "_dmarc.shop.test": GOOD,
        "shop.test": b"v=spf1 include:x.test -all",
        "x.test": SPF,
        "s1._domainkey.shop.test": rsa_key.record,
    }

    found = looked_up({**texts, name: Status.TEMPORARY}, selectors=["s1"])

    assert "timeout" in findings(found, FindingKind.TEMPORARY)
    assert not findings(found, FindingKind.MISTAKE)


def test_a_record_that_branches_without_end_is_asked_a_bounded_number_of_questions() -> None:
    class Branching(Dns):
        asked = 0

        async def resolve(self, question: Question, deadline: float) -> Answer:
            self.asked += 1
            if question.name.endswith("loop.test"):
                text = b" ".join(b"include:%d-%d.loop.test" % (self.asked, at) for at in range(9))
                return Answer(Status.RECORDS, (b"v=spf1 " + text + b" -all",), 60)
            return await super().resolve(question, deadline)

    dns = Branching({})

    found, _ = asyncio.run(
        answered(lambda known: look_up("loop.test", (), known), dns, time.monotonic() + 20)
    )

    assert dns.asked <= MAX_QUESTIONS
    assert "more than 20 look-ups" in findings(found, FindingKind.MISTAKE)
