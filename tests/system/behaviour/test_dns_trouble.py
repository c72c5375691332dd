"""When the DNS can't tell now, by mail: temperror and its own action, never a failure (S22, ENF-07, ENF-09)."""

from dataclasses import dataclass, replace

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.nameserver import Behaviour
from appliance.lab.samples import Fate
from tests.system.behaviour.observing import REPORTING, STRANGER, put_in_force, report_rows
from tests.system.behaviour.post import OWN, SELECTOR, Letter, Owner, Post, Seen, mail

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

PLACES = {"policy": "_dmarc.", "SPF": "", "DKIM": f"{SELECTOR}._domainkey."}
TROUBLES = (Behaviour.SERVFAIL, Behaviour.SILENCE)


@dataclass(frozen=True)
class Judged:
    """Letters under one action for temporary errors; all others are rejected that fail for good."""

    action: str
    undecided: dict[tuple[Behaviour, str], Seen]
    """By the trouble and the look-up that could have made each a pass."""
    passed: dict[Behaviour, Seen]
    """SPF passed for the Author Domain; the key of its signature could not be fetched."""

    @property
    def fate(self) -> Fate:
        return Fate.DELIVERED if self.action == "deliver" else Fate.DEFERRED


@pytest.fixture(scope="module", params=["deliver", "defer"])
def judged(request: pytest.FixtureRequest, gateway: Gateway, post: Post, owner: Owner) -> Judged:
    """Sent at the same time, because silence takes its time."""
    rows = ("none", "quarantine", "reject", "no_record", "unusable_from")
    put_in_force(
        gateway,
        {
            "verification.enabled": True,
            "verification.x_header": True,
            "verification.actions.temporary_error": request.param,
            **{f"verification.actions.{row}": "reject" for row in rows},
            **REPORTING,
        },
    )
    cases = [(trouble, place) for trouble in TROUBLES for place in PLACES]
    letters = [undecided(owner, trouble, place) for trouble, place in cases]
    passing = [replace(undecided(owner, trouble, "DKIM"), client_ip=OWN) for trouble in TROUBLES]
    seen = post.send(*letters, *passing)
    return Judged(
        request.param,
        dict(zip(cases, seen, strict=False)),
        dict(zip(TROUBLES, seen[len(cases) :], strict=True)),
    )


def undecided(owner: Owner, trouble: Behaviour, place: str) -> Letter:
    """A letter that would pass by SPF, or by DKIM, if the DNS answered at *place*."""
    domain = owner.domain()
    owner.zone.misbehave(PLACES[place] + domain, trouble)
    octets = mail(f"a@{domain}")
    return Letter(
        owner.signed(octets, domain) if place == "DKIM" else octets,
        mail_from=f"a@{domain}",
        client_ip=STRANGER if place == "DKIM" else OWN,
    )


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("place", PLACES)
def test_s22_enf_07_trouble_in_a_deciding_look_up_is_temperror_and_meets_its_own_action(
    judged: Judged, trouble: Behaviour, place: str
) -> None:
    seen = judged.undecided[trouble, place]

    assert (seen.event.result, seen.event.row, seen.fate) == ("temperror", "temporary_error", judged.fate)
    if seen.fate is Fate.DELIVERED:
        assert seen.copy.texts("X-DMARC-Result")[0].startswith("temperror ")
        assert "dmarc=temperror" in seen.results
    else:
        assert seen.reply.text.startswith("4.7.")
        assert seen.event.event_id in seen.reply.text


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("place", ["SPF", "DKIM"])
def test_s22_enf_09_what_was_delivered_is_reported_with_a_reason_and_what_was_deferred_is_not(
    judged: Judged, trouble: Behaviour, place: str
) -> None:
    """A deferred message comes again, and is counted then."""
    seen = judged.undecided[trouble, place]

    if judged.action == "deliver":
        assert seen.reported == ("none", ("other",))
    else:
        assert report_rows(seen.gateway, seen.event.policy_domain) == []


@pytest.mark.parametrize("trouble", TROUBLES)
def test_s22_an_aligned_pass_stands_beside_trouble(judged: Judged, trouble: Behaviour) -> None:
    seen = judged.passed[trouble]

    assert (seen.event.result, seen.fate, seen.reported) == ("pass", Fate.DELIVERED, ("pass", ()))


def test_s22_a_failure_that_no_answer_could_mend_stays_a_failure(
    gateway: Gateway, post: Post, owner: Owner, judged: Judged
) -> None:
    """Trouble of the sender's own making, in a domain that would not align, gains nothing."""
    domain, other = owner.domain(), owner.domain()
    gateway.zone.misbehave(other, Behaviour.SERVFAIL)
    gateway.zone.misbehave(f"{SELECTOR}._domainkey.{other}", Behaviour.SERVFAIL)
    octets = owner.signed(mail(f"a@{domain}"), other)

    seen = post.one(Letter(octets, mail_from=f"a@{other}", client_ip=OWN))

    assert (seen.event.result, seen.fate) == ("fail", Fate.REFUSED)
