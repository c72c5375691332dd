"""Who vouches for a message, by mail: SPF or DKIM, for the domain of From and no other (S1, S3, S4, S6, S7, S8, S20)."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.nameserver import Zone
from appliance.lab.samples import Fate
from tests.checks.mails import SigningKey, signed
from tests.system.behaviour.observing import REPORTING, STRANGER, fresh, put_in_force, questions
from tests.system.behaviour.post import OWN, SELECTOR, Letter, Owner, Post, genuine, mail, spoof

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

RUA = "rua=mailto:r@owner.test"
SHORT_KEY = SigningKey(  # 768 bits; no library of ours makes such any more
    b"""-----BEGIN RSA PRIVATE KEY-----
MIIBygIBAAJhAKYJskEKY+LQHUTYlX7okzWArejyfDJB6kN0nlYsZ8RmCE7fjuIY
rWvqFL28x7NQGCZ1rkHYf2xebKc3oUnwWgGVFiImFElG7IOoeFrsxbEDTH+BLe0U
TJzUG11+QY1VjwIDAQABAmBVt0G/1AZW7Et/5DPhLV35y/F8BdrZ8y9mHYk0QX5c
ZLQ7S6wuysCUqmaEwTVzO5A21ouwayimHgvd5GvTIdfJA0OMl7/oO4WXu9ZyFOal
PIcauioQ/kRG2RfLflWqQAkCMQDbpz3Pv/s+F7B5rp3DhdB37tcx0NN7+gkoIrJA
pY1A6msIRFd+fYpZDX9XMOT4MyUCMQDBgz8FZT2sXjjK07iBfipjmrHr7VCZ4dhW
sRs0XXnP44TF9VHlBqiuaKaB6KgpIaMCMHHRFCddXGuNTOWQhLE22pH60ck/YwZ/
xlTkvabf4fS8Q1/SQeAKXzDL3Ksqa8rsfQIwLS9/XLwqLYCG1F2hvKMANOffWc69
PmFtCbkrOAwHsJJY43yIFel7I9aN4tG3ynrvAjEApgdQHp2QPZM4IpUknAOD/ieI
sKHoB/SkD+ekUN1vBdIjkXTvIfYOxuK2697GLuDI
-----END RSA PRIVATE KEY-----
""",
    b"v=DKIM1; k=rsa; p=MHwwDQYJKoZIhvcNAQEBBQADawAwaAJhAKYJskEKY+LQHUTYlX7okzWArejyfDJB6kN0nlYsZ8RmCE7fjuIYrWvqFL28x7NQGCZ1rkHYf2xebKc3oUnwWgGVFiImFElG7IOoeFrsxbEDTH+BLe0UTJzUG11+QY1VjwIDAQAB",
)


@pytest.fixture(scope="module", autouse=True)
def _enforced(gateway: Gateway) -> None:
    put_in_force(gateway, {"verification.enabled": True, **REPORTING})


# ---- either, not both -----------------------------------------------------------


@pytest.mark.parametrize(
    ("spf", "dkim", "result"),
    [
        pytest.param(True, True, "pass", id="both"),
        pytest.param(True, False, "pass", id="SPF alone"),
        pytest.param(False, True, "pass", id="DKIM alone"),
        pytest.param(False, False, "fail", id="neither"),
    ],
)
def test_s1_s8_one_aligned_pass_is_enough_and_without_any_the_message_is_not_delivered(
    post: Post, owner: Owner, spf: bool, dkim: bool, result: str
) -> None:
    domain = owner.domain()
    letter = replace(spoof(domain), mail_from=f"a@{domain}", client_ip=OWN if spf else STRANGER)
    if dkim:
        letter = replace(letter, octets=owner.signed(letter.octets, domain))

    seen = post.one(letter)

    assert seen.fate is (Fate.DELIVERED if result == "pass" else Fate.REFUSED)
    assert (seen.event.result, seen.event.spf_aligned, seen.event.dkim_aligned) == (result, spf, dkim)
    assert (seen.report_row.spf_aligned, seen.report_row.dkim_aligned) == (spf, dkim)


# ---- what is compared -----------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "fate"),
    [
        pytest.param("X-None: {}", Fate.REFUSED, id="MAIL FROM and a signature"),
        pytest.param("Sender: a@{}", Fate.REFUSED, id="Sender"),
        pytest.param("Reply-To: a@{}", Fate.REFUSED, id="Reply-To"),
        pytest.param("Resent-From: a@{}", Fate.QUARANTINED, id="Resent-From, which softens a refusal"),
    ],
)
def test_s4_a_pass_for_another_name_in_the_message_never_counts(
    post: Post, owner: Owner, field: str, fate: Fate
) -> None:
    victim, attacker = owner.domain(), owner.domain(f"p=none; {RUA}")
    octets = owner.signed(mail(f"admin@{victim}", field.format(attacker)), attacker)

    seen = post.one(Letter(octets, mail_from=f"a@{attacker}", client_ip=OWN))

    assert (seen.fate, seen.event.author_domain, seen.event.result) == (fate, victim, "fail")
    assert (seen.report_row.spf_result, seen.report_row.dkim[0][2]) == ("pass", "pass")


@pytest.mark.parametrize("field", ["Sender", "Reply-To", "Resent-From"])
def test_s4_the_policy_of_another_name_in_the_message_never_applies(
    post: Post, owner: Owner, field: str
) -> None:
    victim, author = owner.domain(), owner.domain()

    seen = post.one(genuine(author, f"{field}: admin@{victim}"))

    assert (seen.fate, seen.event.author_domain, seen.event.result) == (Fate.DELIVERED, author, "pass")


# ---- SPF ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mail_from", "helo", "record", "spf", "result"),
    [
        pytest.param("a@{}", "x.test", f"v=spf1 ip4:{OWN} -all", "pass", "pass", id="MAIL FROM passes"),
        pytest.param("", "{}", f"v=spf1 ip4:{OWN} -all", "pass", "pass", id="null path, HELO passes"),
        pytest.param("", "x.test", f"v=spf1 ip4:{OWN} -all", "none", "fail", id="null path, another HELO"),
        pytest.param("a@x.test", "{}", f"v=spf1 ip4:{OWN} -all", "none", "fail", id="HELO alone passes"),
        pytest.param("a@{}", "{}", "v=spf1 -all", "fail", "fail", id="fail"),
        pytest.param("a@{}", "{}", "v=spf1 ~all", "softfail", "fail", id="softfail"),
        pytest.param("a@{}", "{}", "v=spf1 ?all", "neutral", "fail", id="neutral"),
        pytest.param("a@{}", "{}", "no SPF record", "none", "fail", id="none"),
        pytest.param("a@{}", "{}", "v=spf1 nonsense", "permerror", "fail", id="permerror"),
    ],
)
def test_s6_s20_of_spf_only_a_pass_of_mail_from_counts(
    gateway: Gateway, post: Post, owner: Owner, mail_from: str, helo: str, record: str, spf: str, result: str
) -> None:
    domain = owner.domain()
    gateway.zone.txt(domain, record)

    seen = post.one(
        Letter(
            mail(f"a@{domain}"), mail_from=mail_from.format(domain), helo=helo.format(domain), client_ip=OWN
        )
    )

    assert (seen.report_row.spf_result, seen.event.result) == (spf, result)
    assert seen.fate is (Fate.DELIVERED if result == "pass" else Fate.REFUSED)


# ---- DKIM -----------------------------------------------------------------------

Made = Callable[[Owner, str], bytes]


def broken(octets: bytes) -> bytes:
    """A signed message of which somebody changed the body."""
    return octets + b"-- \r\nA footer\r\n"


def beside_broken(owner: Owner, domain: str) -> bytes:
    changed = broken(owner.signed(mail(f"a@{domain}"), domain))
    return owner.signed(changed, domain)


def below_broken(owner: Owner, domain: str) -> bytes:
    good = owner.signed(mail(f"a@{domain}"), domain)
    other = owner.signed(mail(f"a@{domain}"), domain)
    return other.partition(b"From:")[0] + good


def beside_strangers(owner: Owner, domain: str) -> bytes:
    octets = owner.signed(mail(f"a@{domain}"), domain)
    return owner.signed(owner.signed(octets, owner.domain()), owner.domain())


def cut_short(owner: Owner, domain: str) -> bytes:
    return broken(signed(owner.key, mail(f"a@{domain}"), domain=domain, selector=SELECTOR, length=True))


def by_sha1(owner: Owner, domain: str) -> bytes:
    return signed(owner.key, mail(f"a@{domain}"), domain=domain, selector=SELECTOR, algorithm="rsa-sha1")


def by_a_short_key(owner: Owner, domain: str) -> bytes:
    owner.zone.txt(f"short._domainkey.{domain}", SHORT_KEY.record)
    return signed(SHORT_KEY, mail(f"a@{domain}"), domain=domain, selector="short")


@pytest.mark.parametrize(
    ("made", "results", "result"),
    [
        pytest.param(beside_broken, ["pass", "fail"], "pass", id="above a broken one"),
        pytest.param(below_broken, ["fail", "pass"], "pass", id="below a broken one"),
        pytest.param(beside_strangers, ["pass", "pass", "pass"], "pass", id="below those of strangers"),
        pytest.param(lambda o, d: broken(o.signed(mail(f"a@{d}"), d)), ["fail"], "fail", id="broken"),
        pytest.param(cut_short, ["policy"], "fail", id="l= shorter than the body"),
        pytest.param(by_sha1, ["permerror"], "fail", id="rsa-sha1"),
        pytest.param(by_a_short_key, ["permerror"], "fail", id="768 bits"),
    ],
)
def test_s7_s20_one_valid_aligned_signature_among_several_is_enough_and_a_weak_one_is_none(
    post: Post, owner: Owner, made: Made, results: list[str], result: str
) -> None:
    """A weak or broken one looks like mail that a list has changed, and is quarantined (ENF-05)."""
    domain = owner.domain()

    seen = post.one(Letter(made(owner, domain)))

    assert seen.event.authentication is not None
    assert [signature.result.value for signature in seen.event.authentication.dkim] == results
    assert (seen.event.result, seen.fate) == (
        result,
        Fate.DELIVERED if result == "pass" else Fate.QUARANTINED,
    )


def test_s7_a_valid_signature_of_another_domain_does_not_count(post: Post, owner: Owner) -> None:
    domain, other = owner.domain(), owner.domain()

    seen = post.one(Letter(owner.signed(mail(f"a@{domain}"), other)))

    assert (seen.report_row.dkim[0][:3], seen.event.result) == ((other, SELECTOR, "pass"), "fail")
    assert seen.fate is Fate.REFUSED


@pytest.mark.parametrize("good", [True, False], ids=["the last one is aligned and good", "none is good"])
def test_s7_of_fifty_signatures_ten_are_verified_those_that_could_align_first(
    gateway: Gateway, post: Post, owner: Owner, good: bool
) -> None:
    """Bounded work: the keys that are asked for are counted."""
    domain, other = owner.domain(), owner.domain()
    octets = owner.signed(mail(f"a@{domain}"), domain) if good else mail(f"a@{domain}")
    for number in range(49 if good else 50):
        octets = owner.signed(octets, other if good else domain, selector=f"n{number}")
    gateway.nameserver.forget_queries()

    seen = post.one(Letter(octets))

    keys = [query for query in gateway.nameserver.queries if "._domainkey." in query.name]
    assert len(keys) == 10
    assert (seen.event.result, len(seen.report_row.dkim)) == ("pass" if good else "fail", 50)
    assert seen.fate is (Fate.DELIVERED if good else Fate.QUARANTINED)


# ---- one pass over one message --------------------------------------------------


def test_s3_no_name_is_asked_for_twice_within_a_message(gateway: Gateway, post: Post, owner: Owner) -> None:
    """SPF, four signatures and the policy share what the DNS said, even where no cache may keep it, and stand in one field."""
    domain = fresh()
    author = f"news.{domain}"
    keep_nothing(gateway.zone, f"_dmarc.{domain}", f"v=DMARC1; p=reject; {RUA}")
    for name in (domain, author):
        keep_nothing(gateway.zone, name, f"v=spf1 ip4:{OWN} -all")
        keep_nothing(gateway.zone, f"{SELECTOR}._domainkey.{name}", owner.key.record.decode())
    octets = mail(f"a@{author}")
    for signer in (domain, author, domain, author):
        octets = owner.signed(octets, signer)
    gateway.nameserver.forget_queries()

    seen = post.one(Letter(octets, mail_from=f"a@{author}", client_ip=OWN))

    asked = Counter((query.name, query.type) for query in gateway.nameserver.queries)
    needed = {author, f"_dmarc.{author}", f"_dmarc.{domain}", f"{SELECTOR}._domainkey.{domain}"}
    assert needed <= {name for name, _ in asked}
    assert set(asked.values()) == {1}
    [field] = seen.copy.texts("Authentication-Results")
    assert [field.count(word) for word in ("spf=pass", "dkim=pass", "dmarc=pass")] == [1, 4, 1]


def keep_nothing(zone: Zone, name: str, text: str) -> None:
    """Publish *text* with a time to live of nought."""
    strings = " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255))
    zone.load(f"{name}. 0 IN TXT {strings}\n")


def test_s3_off_asks_nothing_and_writes_nothing(gateway: Gateway, post: Post, owner: Owner) -> None:
    put_in_force(gateway, {})
    domain = owner.domain()
    forged = "Authentication-Results: gateway.example; dmarc=pass"
    try:
        seen = post.one(spoof(domain, forged, "X-DMARC-Result: pass"))
    finally:
        put_in_force(gateway, {"verification.enabled": True, **REPORTING})

    assert (seen.fate, seen.events, questions(gateway, domain)) == (Fate.DELIVERED, (), 0)
    assert seen.copy.texts("Authentication-Results") == ("gateway.example; dmarc=pass",)
    assert seen.copy.texts("X-DMARC-Result") == ("pass",)
