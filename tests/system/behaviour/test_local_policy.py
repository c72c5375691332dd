"""Where we do other than the owner asks, and what the report says of it: indirect mail, trust, Monitor only (ENF, S2)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.nameserver import Behaviour
from appliance.lab.samples import Fate
from appliance.settings import InvalidSettings, Settings
from appliance.store import settings as store_settings
from tests.checks.sealer import Sealer, with_set
from tests.system.behaviour.observing import REPORTING, put_in_force, report_rows
from tests.system.behaviour.post import Letter, Owner, Post, Seen, genuine, mail, spoof

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

RUA = "rua=mailto:r@owner.test"
FORWARDER = "203.0.113.20"
EVALUATED = "203.0.113.30"
ON: dict[str, object] = {
    "verification.enabled": True,
    "verification.x_header": True,
    "verification.exceptions": [f"{EVALUATED} mode=evaluate"],
    "network.trusted_forwarders": [FORWARDER],
    "network.trusted_sealers": ["trusted.test"],
    **REPORTING,
}
STRICTEST: dict[str, object] = {
    "verification.actions.none": "reject",
    "verification.actions.quarantine": "reject",
    "verification.actions.reject": "reject",
    "verification.actions.no_record": "reject",
    "verification.actions.unusable_from": "reject",
    "verification.actions.temporary_error": "defer",
    "verification.actions.soften_indirect": False,
}


# ---- indirect mail --------------------------------------------------------------


@pytest.fixture(scope="module", params=[True, False], ids=["softened", "not softened"])
def softened(request: pytest.FixtureRequest, gateway: Gateway) -> bool:
    """Quarantine instead of rejecting indirect mail."""
    wanted: bool = request.param
    put_in_force(gateway, ON | {"verification.actions.soften_indirect": wanted})
    return wanted


def with_arc(owner: Owner, domain: str) -> Letter:
    """A set that verifies, of a sealer whom nobody trusts."""
    sealer = Sealer(owner.key, "other.test")
    owner.zone.txt(sealer.place, owner.key.record)
    results = f"dmarc=pass header.from={domain}"
    return Letter(with_set(mail(f"a@{domain}"), sealer, results=results))


def forwarded(owner: Owner, domain: str) -> Letter:
    return replace(spoof(domain), client_ip=FORWARDER)


def changed(owner: Owner, domain: str, signer: str) -> Letter:
    """*signer*'s signature was good before somebody added a footer."""
    if signer != domain:
        owner.authenticate(signer)
    return Letter(owner.signed(mail(f"a@{domain}"), signer) + b"-- \r\nA footer\r\n")


SIGNS: dict[str, tuple[Callable[[Owner, str], Letter], str]] = {
    "List-Id": (lambda _, d: spoof(d, "List-Id: <l.other.test>"), "mailing_list"),
    "List-Unsubscribe": (lambda _, d: spoof(d, "List-Unsubscribe: <mailto:l@o.test>"), "mailing_list"),
    "Precedence: list": (lambda _, d: spoof(d, "Precedence: List"), "mailing_list"),
    "ARC set": (with_arc, "local_policy"),
    "broken ARC set": (lambda _, d: spoof(d, "ARC-Seal: i=1; cv=none; d=o.test"), "local_policy"),
    "Resent-From": (lambda _, d: spoof(d, "Resent-From: a@other.test"), "local_policy"),
    "Resent-To": (lambda _, d: spoof(d, "Resent-To: a@other.test"), "local_policy"),
    "trusted forwarder": (forwarded, "trusted_forwarder"),
    "broken signature of the domain": (lambda o, d: changed(o, d, d), "local_policy"),
    "broken signature of a name below": (lambda o, d: changed(o, d, f"m.{d}"), "local_policy"),
}  # fmt: skip
"""Signs of mail that did not come straight, with the reason that the report gives."""


@pytest.mark.parametrize("sign", SIGNS)
def test_enf_04_enf_05_a_refusal_of_indirect_mail_becomes_a_quarantine_while_that_is_on(
    post: Post, owner: Owner, softened: bool, sign: str
) -> None:
    """ENF-09: and with the switch off p=reject rejects, as the owner asks, without a reason."""
    made, reason = SIGNS[sign]

    seen = post.one(made(owner, owner.domain()))

    assert (seen.event.result, seen.event.row) == ("fail", "reject")
    assert seen.fate is (Fate.QUARANTINED if softened else Fate.REFUSED)
    assert seen.reported == (("quarantine", (reason,)) if softened else ("reject", ()))


@pytest.mark.parametrize(
    "above",
    [
        pytest.param("X-None: x", id="plain spoof"),
        pytest.param("Precedence: bulk", id="Precedence: bulk"),
        pytest.param("X-List-Id: <l.other.test>", id="another field"),
        pytest.param("Received-SPF: pass", id="another's claim"),
        pytest.param("DKIM-Signature: v=1; d=other.test; s=s; h=from; bh=YQ==; b=YQ==", id="a stranger's signature"),
    ],
)  # fmt: skip
def test_enf_05_without_a_sign_reject_rejects(post: Post, owner: Owner, softened: bool, above: str) -> None:
    seen = post.one(spoof(owner.domain(), above))

    assert (seen.fate, seen.reported) == (Fate.REFUSED, ("reject", ()))


@pytest.mark.parametrize("sign", SIGNS)
def test_enf_05_s17_no_sign_ever_leads_to_delivery(
    post: Post, owner: Owner, softened: bool, sign: str
) -> None:
    made, _ = SIGNS[sign]

    seen = post.one(made(owner, owner.domain(f"p=quarantine; {RUA}")))

    assert (seen.fate, seen.reported) == (Fate.QUARANTINED, ("quarantine", ()))


@pytest.mark.parametrize("policy", ["none", "quarantine", None])
def test_enf_05_whatever_row_would_reject_is_softened(
    gateway: Gateway, post: Post, owner: Owner, policy: str | None
) -> None:
    put_in_force(gateway, ON | STRICTEST | {"verification.actions.soften_indirect": True})
    domain = owner.domain(policy and f"p={policy}; {RUA}")

    plain, indirect = post.send(spoof(domain), spoof(domain, "List-Id: <l.other.test>"))

    assert (plain.fate, indirect.fate) == (Fate.REFUSED, Fate.QUARANTINED)
    assert reasons(indirect) == ["mailing_list"]


# ---- whom the administrator trusts ----------------------------------------------


def test_enf_09_a_trusted_sealers_word_leads_to_delivery_as_local_policy(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    put_in_force(gateway, ON)
    domain = owner.domain()
    sealer = Sealer(owner.key, "trusted.test")
    owner.zone.txt(sealer.place, owner.key.record)
    octets = with_set(mail(f"a@{domain}"), sealer, results=f"dmarc=pass header.from={domain}")

    seen = post.one(Letter(octets))

    assert (seen.fate, seen.event.result) == (Fate.DELIVERED, "fail")
    assert seen.reported == ("none", ("local_policy",))
    assert seen.report_row.reasons[0][1].startswith("arc=pass as[1].d=trusted.test")


def test_enf_09_an_exception_that_is_evaluated_is_delivered_as_local_policy(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    put_in_force(gateway, ON | STRICTEST)

    seen = post.one(replace(spoof(owner.domain()), client_ip=EVALUATED))

    assert (seen.fate, seen.event.result) == (Fate.DELIVERED, "fail")
    assert seen.reported == ("none", ("local_policy",))


# ---- three powers, each with its switch -----------------------------------------


@pytest.mark.parametrize(
    ("tags", "row", "said"),
    [
        pytest.param("p=none", "none", ("local_policy",), id="p=none"),
        pytest.param("p=quarantine", "quarantine", ("local_policy",), id="p=quarantine"),
        pytest.param("p=reject", "reject", ("local_policy",), id="p=reject"),
        pytest.param("p=reject; t=y", "quarantine", ("policy_test_mode", "local_policy"), id="t=y"),
    ],
)
def test_s2_enf_09_monitor_only_reports_failures_and_stops_none(
    gateway: Gateway, post: Post, owner: Owner, tags: str, row: str, said: tuple[str, ...]
) -> None:
    """Reports without interception, with the strictest actions."""
    put_in_force(gateway, ON | STRICTEST | {"verification.mode": "monitor"})

    seen = post.one(spoof(owner.domain(f"{tags}; {RUA}")))

    assert (seen.fate, seen.event.result, seen.event.row) == (Fate.DELIVERED, "fail", row)
    assert "dmarc=fail" in seen.results
    assert seen.reported == ("none", said)


def test_s2_enf_09_monitor_only_stops_nothing_in_the_other_rows_either(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    put_in_force(gateway, ON | STRICTEST | {"verification.mode": "monitor"})
    troubled, six = owner.domain(), ", ".join(f"a@{owner.domain()}" for _ in range(6))
    gateway.zone.misbehave(troubled, Behaviour.SERVFAIL)

    no_record, unusable, trouble, several, passing = post.send(
        spoof(owner.domain(None)),
        Letter(b"Subject: no From\r\n\r\nHello\r\n"),
        genuine(troubled),
        Letter(mail(six)),
        genuine(owner.domain()),
    )

    seen = (no_record, unusable, trouble, several, passing)
    assert {one.fate for one in seen} == {Fate.DELIVERED}
    assert [one.copy.texts("X-DMARC-Result")[0].split()[0] for one in seen] == [
        "none",
        "permerror",
        "temperror",
        "fail",
        "pass",
    ]
    assert reasons(no_record) == ["local_policy"]
    assert trouble.reported == ("none", ("local_policy",))
    assert passing.reported == ("pass", ())


def test_s2_verification_without_reports_acts_and_keeps_nothing_for_them(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    put_in_force(gateway, {"verification.enabled": True})
    domain = owner.domain()

    failing, passing = post.send(spoof(domain), genuine(domain))

    assert (failing.fate, passing.fate) == (Fate.REFUSED, Fate.DELIVERED)
    assert report_rows(gateway, domain) == []


def test_s2_reports_without_verification_cannot_be_selected(gateway: Gateway) -> None:
    put_in_force(gateway, {"verification.enabled": True})
    before = current(gateway)

    with pytest.raises(InvalidSettings, match="verification"):
        put_in_force(gateway, REPORTING)

    assert current(gateway) == before


def current(gateway: Gateway) -> Settings:
    with gateway.store.read() as connection:
        return store_settings.current(connection).settings


def reasons(seen: Seen) -> list[str]:
    return [override.type.value for override in seen.event.overrides]
