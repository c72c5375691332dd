"""The exception list by mail: whom it spares, how narrowly, and until when (S15)."""

import json
from datetime import date, timedelta

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.samples import Fate
from tests.checks.mails import new_rsa_key, signed
from tests.checks.sealer import Sealer, with_set
from tests.system.behaviour.observing import (
    REPORTING,
    STRANGER,
    command,
    fresh,
    marks,
    put_in_force,
    report_rows,
    today,
)
from tests.system.behaviour.post import Letter, Owner, Post, Seen, mail

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

ON: dict[str, object] = {"verification.enabled": True, "verification.x_header": True, **REPORTING}
LISTED: dict[str, object] = {**ON, "verification.scope": "listed", "verification.domains": ["kept.example"]}


def untouched(seen: Seen, reason: str) -> None:
    """The message was delivered without marks, and is counted nowhere; the record says why."""
    assert (seen.fate, seen.event.skip, seen.event.result) == (Fate.DELIVERED, reason, "")
    assert marks(seen.copy) == ()


EXEMPT: dict[str, object] = {
    **ON,
    "verification.exceptions": [
        "192.0.2.99 # one address",
        "203.0.113.64/26 # a network",
        "2001:db8:5::7",
        "2001:db8:6::/48",
        "192.0.2.98 mode=evaluate",
        "203.0.113.192/26 mode=evaluate",
    ],
}


@pytest.mark.parametrize(
    ("client", "entry"),
    [
        pytest.param("192.0.2.99", "192.0.2.99", id="an address"),
        pytest.param("203.0.113.64", "203.0.113.64/26", id="the first of a network"),
        pytest.param("203.0.113.127", "203.0.113.64/26", id="the last of a network"),
        pytest.param("2001:db8:5::7", "2001:db8:5::7", id="an IPv6 address"),
        pytest.param("2001:db8:6:ffff::1", "2001:db8:6::/48", id="in an IPv6 network"),
    ],
)
def test_s15_an_excepted_client_is_not_asked_about_marked_stopped_or_counted_and_the_log_names_the_entry(
    gateway: Gateway, post: Post, owner: Owner, client: str, entry: str
) -> None:
    domain = owner.domain()
    put_in_force(gateway, EXEMPT)
    gateway.nameserver.forget_queries()

    seen = post.one(Letter(mail(f"a@{domain}", "X-DMARC-Result: pass"), client_ip=client))

    untouched(seen, "exception")
    assert gateway.nameserver.queries == ()
    assert report_rows(gateway, domain) == []
    assert seen.event.note == entry
    [line] = [
        line
        for line in (gateway.directory / "filter.log").read_text().splitlines()
        if seen.event.event_id in line
    ]
    assert "exception" in line
    assert entry in line


@pytest.mark.parametrize("client", ["192.0.2.98", "203.0.113.200"])
def test_s15_evaluate_marks_and_counts_and_does_not_act(
    gateway: Gateway, post: Post, owner: Owner, client: str
) -> None:
    domain = owner.domain()
    put_in_force(gateway, EXEMPT)

    seen = post.one(Letter(mail(f"a@{domain}"), client_ip=client))

    assert (seen.fate, seen.event.result, seen.event.skip) == (Fate.DELIVERED, "fail", "")
    assert marks(seen.copy) == ("authentication-results", "x-dmarc-result")
    assert "dmarc=fail" in seen.results
    disposition, reasons = seen.reported
    assert disposition == "none"
    assert set(reasons) <= {"local_policy", "trusted_forwarder"}
    assert len(reasons) == 1


@pytest.mark.parametrize("policy", ["none", "quarantine", "reject"])
def test_s15_a_pass_of_an_excepted_client_is_a_pass(
    gateway: Gateway, post: Post, owner: Owner, policy: str
) -> None:
    domain = owner.domain(f"p={policy}; rua=mailto:r@owner.test")
    owner.zone.txt(domain, "v=spf1 ip4:192.0.2.98 -all")
    put_in_force(gateway, EXEMPT)

    seen = post.one(Letter(mail(f"a@{domain}"), mail_from=f"a@{domain}", client_ip="192.0.2.98"))

    assert (seen.fate, seen.event.result, seen.reported[1]) == (Fate.DELIVERED, "pass", ())


@pytest.mark.parametrize(
    "client",
    [
        "192.0.2.97",
        "192.0.2.100",
        "203.0.113.63",
        "203.0.113.128",
        "2001:db8:5::8",
        "2001:db8:7::1",
        "2001:db8::1",
    ],
)
def test_s15_a_neighbour_of_an_excepted_client_is_verified(
    gateway: Gateway, post: Post, owner: Owner, client: str
) -> None:
    put_in_force(gateway, EXEMPT)

    seen = post.one(Letter(mail(f"a@{owner.domain()}"), client_ip=client))

    assert (seen.fate, seen.event.result) == (Fate.REFUSED, "fail")


def expiring(day: date) -> list[str]:
    yesterday, tomorrow = day - timedelta(days=1), day + timedelta(days=1)
    return [
        f"192.0.2.10 until={yesterday}",
        f"192.0.2.11 until={day}",
        f"192.0.2.12 until={tomorrow}",
        # An expired narrow entry within a wider live one, and the other way round.
        f"203.0.113.0/24 until={day}",
        f"203.0.113.5 mode=evaluate until={yesterday}",
        f"198.51.100.0/24 until={yesterday}",
        f"198.51.100.5 until={tomorrow}",
        # An expired narrow entry within an expired one within a live one.
        "100.64.0.0/10 mode=evaluate",
        f"100.64.1.0/24 until={yesterday}",
        f"100.64.1.1 until={yesterday}",
        # The narrower of two live ones.
        "172.16.0.0/12 mode=evaluate",
        "172.16.1.1",
    ]


@pytest.mark.parametrize(
    ("client", "shown"),
    [
        pytest.param("192.0.2.10", "refused", id="until yesterday"),
        pytest.param("192.0.2.11", "delivered exception", id="until today"),
        pytest.param("192.0.2.12", "delivered exception", id="until tomorrow"),
        pytest.param("203.0.113.5", "delivered exception", id="expired within a wider one that holds"),
        pytest.param("203.0.113.6", "delivered exception", id="the wider one"),
        pytest.param("198.51.100.5", "delivered exception", id="within a wider one that expired"),
        pytest.param("198.51.100.6", "refused", id="the wider one that expired"),
        pytest.param("100.64.1.1", "delivered", id="expired within an expired one within one that holds"),
        pytest.param("172.16.1.1", "delivered exception", id="the narrower of two decides"),
        pytest.param("172.16.1.2", "delivered", id="the wider of two"),
    ],
)
def test_s15_an_exception_holds_until_the_end_of_its_day(
    gateway: Gateway, post: Post, owner: Owner, client: str, shown: str
) -> None:
    put_in_force(gateway, {**ON, "verification.exceptions": expiring(today())})

    seen = post.one(Letter(mail(f"a@{owner.domain()}"), client_ip=client))

    assert f"{seen.fate} {seen.event.skip}".strip() == shown


# ---- narrow exceptions ----------------------------------------------------------

PARTNER, LIST = "partner.test", "list.test"
NARROW: dict[str, object] = {
    **ON,
    "verification.exceptions": [
        f"192.0.2.0/28 from={PARTNER} owner=anna # their scanner",
        f"192.0.2.16/28 from=*.{PARTNER} mode=evaluate",
        f"* dkim={LIST} # the list signs all that it sends",
        f"203.0.113.0/28 dkim={LIST} from={PARTNER} mode=evaluate",
        "203.0.113.16/28 dkim=other-list.test mode=evaluate",
    ],
}


def narrow_letter(
    owner: Owner, author: str, client: str, *, policy: str = "p=reject; rua=mailto:r@owner.test"
) -> Letter:
    owner.zone.txt(f"_dmarc.{author}", f"v=DMARC1; {policy}")
    return Letter(mail(f"a@{author}"), client_ip=client)


@pytest.mark.parametrize(
    ("author", "client", "shown"),
    [
        pytest.param(PARTNER, "192.0.2.5", "delivered exception", id="address and author domain"),
        pytest.param(PARTNER, "192.0.2.15", "delivered exception", id="the network's last address"),
        pytest.param(PARTNER, STRANGER, "refused", id="another address"),
        pytest.param(PARTNER, "192.0.2.17", "refused", id="the address of the other entry"),
        pytest.param("mail.partner.test", "192.0.2.5", "refused", id="a name below the author domain"),
        pytest.param("notpartner.test", "192.0.2.5", "refused", id="another author domain"),
        pytest.param("partner.test.evil.test", "192.0.2.5", "refused", id="the domain as a subdomain"),
        pytest.param("mail.partner.test", "192.0.2.17", "delivered", id="a star: below, evaluated"),
        pytest.param("a.b.partner.test", "192.0.2.17", "delivered", id="a star: far below"),
    ],
)
def test_s15_an_exception_of_an_author_holds_for_that_author_s_mail_from_there_only(
    gateway: Gateway, post: Post, owner: Owner, author: str, client: str, shown: str
) -> None:
    put_in_force(gateway, NARROW)

    seen = post.one(narrow_letter(owner, author, client))

    assert f"{seen.fate} {seen.event.skip}".strip() == shown


@pytest.mark.parametrize(
    "from_field",
    [
        pytest.param(f"a@{PARTNER}, b@second.test", id="several authors, one of them excepted"),
        pytest.param(f"a@second.test, b@{PARTNER}", id="several authors, the other way round"),
        pytest.param(f'"a@{PARTNER}" <b@second.test>', id="in the display name"),
        pytest.param(f"b@second.test (a@{PARTNER})", id="in a comment"),
        pytest.param(f"a%{PARTNER}@second.test", id="in the local part"),
    ],
)
def test_s15_t2_an_exception_of_an_author_cannot_be_claimed_in_passing(
    gateway: Gateway, post: Post, owner: Owner, from_field: str
) -> None:
    for name in (PARTNER, "second.test"):
        owner.zone.txt(f"_dmarc.{name}", "v=DMARC1; p=reject")
    put_in_force(gateway, NARROW)
    top = f"Sender: <a@{PARTNER}>", f"Reply-To: <a@{PARTNER}>"

    seen = post.one(Letter(mail(from_field, *top), mail_from=f"a@{PARTNER}", client_ip="192.0.2.5"))

    assert seen.fate is Fate.REFUSED
    assert {event.skip for event in seen.events} == {""}


def test_s15_an_exception_of_an_author_does_not_hold_without_an_author(gateway: Gateway, post: Post) -> None:
    put_in_force(gateway, NARROW)
    octets = mail(f"a@{PARTNER}", f"From: b@{PARTNER}")

    seen = post.one(Letter(octets, mail_from=f"a@{PARTNER}", client_ip="192.0.2.5"))

    assert (seen.fate, seen.event.row) == (Fate.QUARANTINED, "unusable_from")


def test_s15_a_signature_of_the_named_domain_that_verifies_spares_the_message(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    """Evaluated, never skipped: header, row in the report with disposition none, and the reason."""
    owner.authenticate(LIST)
    put_in_force(gateway, NARROW)
    domain = owner.domain()

    seen = post.one(Letter(owner.signed(mail(f"a@{domain}"), LIST)))

    assert (seen.fate, seen.event.result) == (Fate.DELIVERED, "fail")
    assert "dmarc=fail" in seen.results
    assert seen.reported == ("none", ("local_policy",))


SIGNED_NEAR_MISSES = (
    "nothing of it is signed",
    "signed by another domain",
    "signed by a name below",
    "changed after signing",
    "signed by another's key in its name",
    "only a part of the body signed",
    "only named in other fields",
    "sealed, not signed",
)


@pytest.mark.parametrize("how", SIGNED_NEAR_MISSES)
def test_s15_t4_a_signature_that_is_not_the_named_domain_s_or_does_not_count_spares_nothing(
    gateway: Gateway, post: Post, owner: Owner, how: str
) -> None:
    owner.authenticate(LIST, "evil.test", f"sub.{LIST}")
    put_in_force(gateway, NARROW)
    octets = mail(f"a@{owner.domain()}")
    match how:
        case "signed by another domain":
            octets = owner.signed(octets, "evil.test")
        case "signed by a name below":
            octets = owner.signed(octets, f"sub.{LIST}")
        case "changed after signing":
            octets = owner.signed(octets, LIST).replace(b"Hello", b"Hullo")
        case "signed by another's key in its name":
            octets = signed(new_rsa_key(), octets, domain=LIST, selector="s")
        case "only a part of the body signed":
            octets = signed(owner.key, octets, domain=LIST, selector="s", length=True) + b"More\r\n"
        case "only named in other fields":
            results = f"Authentication-Results: gateway.example; dkim=pass header.d={LIST}\r\n"
            octets = f"{results}List-Id: <{LIST}>\r\n".encode() + octets
        case "sealed, not signed":
            octets = with_set(
                octets, Sealer(owner.key, LIST, "s"), results="dkim=pass", names="from:to:subject"
            )
        case _:
            pass

    seen = post.one(Letter(octets, mail_from=f"bounces@{LIST}"))

    assert seen.event.result == "fail"
    assert seen.fate in {Fate.REFUSED, Fate.QUARANTINED}


@pytest.mark.parametrize(
    ("author", "client", "signer", "spared"),
    [
        pytest.param(PARTNER, "203.0.113.20", "other-list.test", True, id="address and signer"),
        pytest.param(PARTNER, "203.0.113.33", "other-list.test", False, id="another address"),
        pytest.param(PARTNER, "203.0.113.20", "evil.test", False, id="another signer"),
    ],
)
def test_s15_an_exception_of_a_signer_at_an_address_needs_both(
    gateway: Gateway, post: Post, owner: Owner, author: str, client: str, signer: str, spared: bool
) -> None:
    owner.authenticate("other-list.test", "evil.test")
    put_in_force(gateway, NARROW)
    letter = narrow_letter(owner, author, client)

    seen = post.one(Letter(owner.signed(letter.octets, signer), client_ip=client))

    assert seen.event.result == "fail"
    assert (seen.fate is Fate.DELIVERED) is spared


def test_s15_each_entry_counts_the_messages_that_it_held_for(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    """Those of an expired entry and near misses count nowhere; neither does anything while DMARC is off."""
    partner, signer = fresh("partner"), fresh("signer")
    owner.authenticate(signer)
    owner.zone.txt(f"_dmarc.{partner}", "v=DMARC1; p=reject")
    until = today() - timedelta(days=1)
    keys = (
        "100.65.0.1",
        "100.65.0.2",
        f"100.65.0.3 from={partner}",
        f"* dkim={signer}",
        "100.65.0.4",
        "100.65.0.5",
    )
    lines = (keys[0], f"{keys[1]} mode=evaluate", keys[2], keys[3], f"{keys[4]} until={until}", keys[5])
    spoofed = mail(f"a@{owner.domain()}")

    def hits() -> dict[str, int]:
        shown = command(gateway, "list", "exceptions", "show", "--json").stdout.splitlines()
        entries = [json.loads(line) for line in shown]
        return {entry["entry"]: entry["hits"] for entry in entries}

    put_in_force(gateway, {**ON, "verification.exceptions": list(lines), "verification.enabled": False})
    post.one(Letter(spoofed, client_ip="100.65.0.1"))
    put_in_force(gateway, {**ON, "verification.exceptions": list(lines)})
    before = hits()
    seen = post.send(
        *(Letter(spoofed, client_ip="100.65.0.1") for _ in range(3)),
        *(Letter(spoofed, client_ip="100.65.0.2") for _ in range(2)),
        Letter(mail(f"a@{partner}"), client_ip="100.65.0.3"),
        Letter(spoofed, client_ip="100.65.0.3"),
        Letter(owner.signed(spoofed, signer)),
        Letter(owner.signed(spoofed, signer).replace(b"Hello", b"Hullo")),
        Letter(spoofed, client_ip="100.65.0.4"),
    )

    assert [one.fate for one in seen].count(Fate.DELIVERED) == 7
    assert before == dict.fromkeys(keys, 0)
    assert hits() == dict(zip(keys, (3, 2, 1, 1, 0, 0), strict=True))
