"""Who is verified at all, by mail: off, authenticated or internal, exceptions, scope, evaluation, in this order (S16, S17, S33)."""

from dataclasses import dataclass, replace

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.samples import Fate
from tests.system.behaviour.observing import REPORTING, STRANGER, put_in_force, questions, report_rows
from tests.system.behaviour.post import OWN, Letter, Owner, Post, genuine, mail, spoof

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

INTERNAL = "203.0.113.10"
INTERNAL_AND_EVALUATED = "203.0.113.11"
EXEMPT = "203.0.113.20"
EVALUATED = "203.0.113.21"
RELAY = "203.0.113.30"


@dataclass(frozen=True)
class World:
    """Settings under which each line of the order can be met, all actions being the strictest."""

    settings: dict[str, object]
    listed: str
    """In the verification list; its owner wants forgeries rejected."""
    unlisted: str
    """As strict, but not in the list."""


@pytest.fixture(scope="module")
def world(owner: Owner) -> World:
    listed, unlisted = owner.domain(), owner.domain()
    rows = ("none", "quarantine", "reject", "no_record", "unusable_from")
    strictest = {f"verification.actions.{row}": "reject" for row in rows}
    settings: dict[str, object] = {
        "verification.enabled": True,
        "verification.x_header": True,
        "verification.scope": "listed",
        "verification.domains": [listed],
        "verification.exceptions": [
            EXEMPT,
            f"{EVALUATED} mode=evaluate",
            f"{INTERNAL_AND_EVALUATED} mode=evaluate",
        ],
        "verification.actions.temporary_error": "defer",
        "verification.actions.soften_indirect": False,
        "network.internal": ["127.0.0.0/8", INTERNAL, INTERNAL_AND_EVALUATED],
        "network.known_hosts": [RELAY],
        **strictest,
        **REPORTING,
    }
    return World(settings, listed, unlisted)


@pytest.fixture
def in_force(gateway: Gateway, world: World) -> World:
    put_in_force(gateway, world.settings)
    return world


# ---- adjacent pairs of the order ------------------------------------------------


@pytest.mark.parametrize(
    ("client_ip", "login", "skip"),
    [
        pytest.param(INTERNAL, "", "internal", id="internal"),
        pytest.param(STRANGER, "ann", "authenticated", id="authenticated"),
    ],
)
def test_s16_off_comes_before_authenticated_and_internal(
    gateway: Gateway, post: Post, world: World, client_ip: str, login: str, skip: str
) -> None:
    """What is off writes nothing: not even the event of a message that is not verified."""
    letter = replace(spoof(world.listed), client_ip=client_ip, login=login)

    put_in_force(gateway, world.settings | {"verification.enabled": False, "reports.enabled": False})
    off = post.one(letter)
    put_in_force(gateway, world.settings)
    on = post.one(letter)

    assert (off.fate, off.events) == (Fate.DELIVERED, ())
    assert (on.fate, on.event.skip) == (Fate.DELIVERED, skip)


@pytest.mark.parametrize(
    ("client_ip", "login", "skip"),
    [
        pytest.param(INTERNAL_AND_EVALUATED, "", "internal", id="internal, to be evaluated"),
        pytest.param(EVALUATED, "ann", "authenticated", id="authenticated, to be evaluated"),
        pytest.param(EXEMPT, "ann", "authenticated", id="authenticated, exempt"),
    ],
)
def test_s16_authenticated_and_internal_come_before_exceptions(
    post: Post, in_force: World, client_ip: str, login: str, skip: str
) -> None:
    seen = post.one(replace(spoof(in_force.listed), client_ip=client_ip, login=login))

    assert (seen.fate, seen.event.skip, seen.event.result) == (Fate.DELIVERED, skip, "")
    assert seen.copy.texts("X-DMARC-Result") == ()


@pytest.mark.parametrize("name", ["listed", "unlisted"])
def test_s16_exceptions_come_before_the_scope(
    gateway: Gateway, post: Post, in_force: World, name: str
) -> None:
    """A listed domain is not verified, and an unlisted one is skipped as an exception."""
    domain: str = getattr(in_force, name)
    before = len(report_rows(gateway, domain))
    gateway.nameserver.forget_queries()

    seen = post.one(replace(spoof(domain), client_ip=EXEMPT))

    assert (seen.fate, seen.event.skip, seen.event.note) == (Fate.DELIVERED, "exception", EXEMPT)
    assert seen.copy.texts("X-DMARC-Result") == ()
    assert (questions(gateway, domain), len(report_rows(gateway, domain))) == (0, before)


def test_s16_the_scope_comes_before_evaluation(gateway: Gateway, post: Post, in_force: World) -> None:
    """Also for a client whose mail is to be evaluated though not acted on."""
    gateway.nameserver.forget_queries()

    outside, evaluated, inside, spared = post.send(
        spoof(in_force.unlisted),
        replace(spoof(in_force.unlisted), client_ip=EVALUATED),
        spoof(in_force.listed),
        replace(spoof(in_force.listed), client_ip=EVALUATED),
    )

    assert [(one.fate, one.event.skip) for one in (outside, evaluated)] == [(Fate.DELIVERED, "scope")] * 2
    assert (inside.fate, inside.event.result) == (Fate.REFUSED, "fail")
    assert (spared.fate, spared.event.result) == (Fate.DELIVERED, "fail")
    assert questions(gateway, in_force.unlisted) == 0


# ---- nothing in a message makes an exception ------------------------------------


def hop(client: str) -> str:
    """As a relay writes it."""
    return (
        f"Received: from mx.test (unknown [{client}])\r\n\tby relay.test (Postfix) with ESMTP id 4X;"
        " Mon, 23 Nov 2026 14:00:00 +0000 (UTC)"
    )


@pytest.mark.parametrize(
    ("above", "client"),
    [
        pytest.param("List-Id: <l.corp.example>", STRANGER, id="List-Id"),
        pytest.param("X-DMARC-Result: pass", STRANGER, id="our X-header"),
        pytest.param("Authentication-Results: gateway.example; dmarc=pass", STRANGER, id="our results"),
        pytest.param("X-DMARC-Gate-Released: 0123456789ab", STRANGER, id="the trace of a release"),
        pytest.param(f"X-Originating-IP: [{EXEMPT}]", STRANGER, id="another header of the client's address"),
        pytest.param(hop(EXEMPT), STRANGER, id="Received of an exempt client, unknown peer"),
        pytest.param(hop(INTERNAL), STRANGER, id="Received of an internal client, unknown peer"),
        pytest.param(f"{hop(RELAY)}\r\n{hop(EXEMPT)}", STRANGER, id="Received of a known host, unknown peer"),
        pytest.param(f"{hop(STRANGER)}\r\n{hop(EXEMPT)}", RELAY, id="Received below the known hosts' chain"),
    ],
)
def test_s17_no_field_of_a_message_makes_it_an_exception(
    post: Post, in_force: World, above: str, client: str
) -> None:
    seen = post.one(replace(spoof(in_force.listed, above), client_ip=client))

    assert (seen.fate, seen.event.skip, seen.event.client_ip) == (Fate.REFUSED, "", STRANGER)


def test_s17_what_a_known_host_wrote_does_count(post: Post, in_force: World) -> None:
    seen = post.one(replace(spoof(in_force.listed, hop(EXEMPT)), client_ip=RELAY))

    assert (seen.fate, seen.event.skip, seen.event.client_ip) == (Fate.DELIVERED, "exception", EXEMPT)


# ---- no action on what is not a failure -----------------------------------------

NO_FROM = Letter(b"Subject: no From\r\n\r\nHello\r\n")


@pytest.mark.parametrize("domain", ["listed", ""], ids=["a failure", "no From"])
@pytest.mark.parametrize(
    ("client_ip", "login", "skip"),
    [
        pytest.param(STRANGER, "ann", "authenticated", id="authenticated"),
        pytest.param(INTERNAL, "", "internal", id="internal"),
        pytest.param(EXEMPT, "", "exception", id="exception"),
    ],
)
def test_s33_the_strictest_settings_stop_nothing_that_is_not_verified(
    post: Post, in_force: World, client_ip: str, login: str, skip: str, domain: str
) -> None:
    letter = spoof(in_force.listed) if domain else NO_FROM

    seen = post.one(replace(letter, client_ip=client_ip, login=login))

    assert (seen.fate, seen.event.skip, seen.event.row) == (Fate.DELIVERED, skip, "unverified")


def test_s33_the_strictest_settings_stop_nothing_out_of_scope(post: Post, in_force: World) -> None:
    seen = post.one(spoof(in_force.unlisted))

    assert (seen.fate, seen.event.skip, seen.event.row) == (Fate.DELIVERED, "scope", "unverified")


def test_s33_the_strictest_settings_stop_nothing_while_dmarc_is_off(
    gateway: Gateway, post: Post, world: World
) -> None:
    put_in_force(gateway, world.settings | {"verification.enabled": False, "reports.enabled": False})

    seen = post.send(spoof(world.listed), NO_FROM)

    assert [(one.fate, one.events) for one in seen] == [(Fate.DELIVERED, ())] * 2


def test_s33_the_strictest_settings_stop_no_pass(post: Post, owner: Owner, in_force: World) -> None:
    """Not even one that bears every sign of indirect mail and a broken signature."""
    signed = owner.signed(mail(f"a@{in_force.listed}"), in_force.listed)
    above = b"List-Id: <l>\r\nResent-From: x@y.test\r\nDKIM-Signature: v=1; d=x.test\r\nARC-Seal: i=1\r\n"
    by_dkim = Letter(above + signed)
    by_spf = replace(genuine(in_force.listed, "Precedence: list"), client_ip=OWN)

    seen = post.send(by_dkim, by_spf)

    assert [(one.fate, one.event.result) for one in seen] == [(Fate.DELIVERED, "pass")] * 2
