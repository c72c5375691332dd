"""Which row a failing message meets: the policy that its Author Domain publishes, as RFC 9989 reads it (S5, S25, S26)."""

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.nameserver import Zone
from appliance.lab.samples import Fate
from tests.system.behaviour.observing import REPORTING, fresh, put_in_force, report_rows
from tests.system.behaviour.post import Owner, Post, spoof

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

RUA = "rua=mailto:r@owner.test"
FATES = {"none": Fate.DELIVERED, "quarantine": Fate.QUARANTINED, "reject": Fate.REFUSED}


@pytest.fixture(scope="module", autouse=True)
def _enforced(gateway: Gateway) -> None:
    """The default actions: each row of a policy has its own."""
    put_in_force(gateway, {"verification.enabled": True, "verification.x_header": True, **REPORTING})


def publish(zone: Zone, records: dict[str, str]) -> str:
    """Publish tags below a new domain, by prefix; returns the domain."""
    domain = fresh()
    for prefix, tags in records.items():
        zone.txt(f"_dmarc.{prefix}{domain}", f"v=DMARC1; {tags}")
    zone.a(f"here.{domain}", "192.0.2.80")
    return domain


REASON = ("policy_test_mode",)


@pytest.mark.parametrize(
    ("records", "author", "row", "reasons"),
    [
        pytest.param({"": "p=quarantine; sp=reject; np=reject"}, "", "quarantine", (), id="own: p, never sp or np"),
        pytest.param({"": "p=reject; sp=quarantine"}, "here.", "quarantine", (), id="below: sp"),
        pytest.param({"": "p=reject"}, "here.", "reject", (), id="below without sp: p"),
        pytest.param({"": "p=none; sp=quarantine; np=reject"}, "here.", "quarantine", (), id="existing: never np"),
        pytest.param({"": "p=none; sp=quarantine; np=reject"}, "gone.", "reject", (), id="nonexistent: np"),
        pytest.param({"": "p=none; sp=quarantine"}, "gone.", "quarantine", (), id="nonexistent without np: sp"),
        pytest.param({"": "p=reject", "here.": "p=quarantine"}, "here.", "quarantine", (), id="the author's own first"),
        pytest.param({"": "p=quarantine", "here.": "p=reject"}, "a.here.", "quarantine", (), id="none in between"),
        pytest.param({"": "p=none", "here.": "p=reject; psd=n"}, "a.here.", "reject", (), id="psd=n is the organization"),
        pytest.param({"": "p=reject; psd=y"}, "here.", "reject", (), id="a public suffix's counts"),
        pytest.param({"": "p=none; np=reject; psd=y"}, "gone.", "reject", (), id="a public suffix's np"),
        pytest.param({"": "p=reject; psd=y", "here.": "p=quarantine"}, "a.here.", "quarantine", (),
                     id="not beside the organization's"),
        pytest.param({"": "p=reject; t=y"}, "", "quarantine", REASON, id="t=y lowers reject"),
        pytest.param({"": "p=quarantine; t=y"}, "", "none", REASON, id="t=y lowers quarantine"),
        pytest.param({"": "p=none; t=y"}, "", "none", (), id="t=y leaves none"),
        pytest.param({"": "p=none; sp=reject; t=y"}, "here.", "quarantine", REASON, id="t=y lowers sp"),
        pytest.param({"": "p=none; np=reject; t=y"}, "gone.", "quarantine", REASON, id="t=y lowers np"),
        pytest.param({"": "p=reject; pct=0"}, "", "reject", (), id="pct=0 means nothing"),
        pytest.param({"": "p=quarantine; pct=1"}, "", "quarantine", (), id="pct=1 means nothing"),
        pytest.param({"": "p=monitor"}, "", "none", (), id="invalid p with rua"),
        pytest.param({"": "sp=reject"}, "", "none", (), id="no p with rua"),
        pytest.param({"": "p=reject; sp=bogus"}, "", "none", (), id="invalid sp with rua"),
        pytest.param({"": "p=reject; np=bogus"}, "here.", "none", (), id="invalid np with rua"),
    ],
)  # fmt: skip
def test_s5_s25_the_effective_published_policy_chooses_the_row(
    gateway: Gateway, post: Post, records: dict[str, str], author: str, row: str, reasons: tuple[str, ...]
) -> None:
    """ENF-02, ENF-09: what lowers a policy to none leads to delivery, and t=y has its reason."""
    domain = publish(gateway.zone, {prefix: f"{tags}; {RUA}" for prefix, tags in records.items()})

    seen = post.one(spoof(author + domain))

    assert (seen.event.result, seen.event.row, seen.fate) == ("fail", row, FATES[row])
    assert seen.reported == (row, reasons)


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param((), id="no name"),
        pytest.param(("some other text",), id="other TXT"),
        pytest.param((f"v=DMARC2; p=reject; {RUA}",), id="another version"),
        pytest.param((f"v=dmarc1; p=reject; {RUA}",), id="version in small letters"),
        pytest.param((f" v=DMARC1; p=reject; {RUA}",), id="space before the version"),
        pytest.param((f"p=reject; v=DMARC1; {RUA}",), id="version not first"),
        pytest.param((f"v=DMARC1; p=reject; p=reject; {RUA}",), id="a tag twice"),
        pytest.param((f"v=DMARC1; p=reject; {RUA}", f"v=DMARC1; p=none; {RUA}"), id="two records"),
        pytest.param(("v=DMARC1",), id="version alone"),
        pytest.param(("v=DMARC1; p=bogus",), id="S25 invalid p without rua"),
        pytest.param(("v=DMARC1; p=reject; sp=bogus",), id="S25 invalid sp without rua"),
        pytest.param(("v=DMARC1; p=bogus; rua=nonsense",), id="S25 invalid p, rua that is no URI"),
    ],
)
def test_s26_without_a_usable_record_the_message_is_delivered_and_the_mark_says_none(
    gateway: Gateway, post: Post, owner: Owner, texts: tuple[str, ...]
) -> None:
    domain = owner.domain(None)
    if texts:
        gateway.zone.txt(f"_dmarc.{domain}", *texts)

    seen = post.one(spoof(domain))

    assert (seen.event.result, seen.event.row, seen.fate) == ("none", "no_record", Fate.DELIVERED)
    assert seen.copy.texts("X-DMARC-Result")[0].startswith("none ")
    assert "dmarc=none" in seen.results
    assert report_rows(gateway, domain) == []
