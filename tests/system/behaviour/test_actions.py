"""The action table by mail: each row with each action, for all recipients, from the save on (S19, S21, S23, S24, S33, ENF)."""

import re
import smtplib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.samples import Fate
from appliance.lab.services import wait_for
from appliance.lab.smtp import Reply, Stage
from appliance.store import nodes
from tests.processes import children_of
from tests.system.behaviour.observing import REPORTING, STRANGER, put_in_force, report_rows
from tests.system.behaviour.post import Letter, Owner, Post, Seen, genuine, mail, spoof

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

RUA = "rua=mailto:r@owner.test"
POLICIES = ("none", "quarantine", "reject")
FATES = {"deliver": Fate.DELIVERED, "quarantine": Fate.QUARANTINED, "reject": Fate.REFUSED}
ASKED = {"none": "deliver", "quarantine": "quarantine", "reject": "reject"}
DISPOSITIONS = {"deliver": "none", "quarantine": "quarantine", "reject": "reject"}

DEFAULTS = {
    "none": "deliver",
    "quarantine": "quarantine",
    "reject": "reject",
    "no_record": "deliver",
    "unusable_from": "quarantine",
}
TABLES = [  # together each row with each action, and no two rows alike
    dict(zip(DEFAULTS, actions, strict=True))
    for actions in (
        ("deliver", "quarantine", "reject", "deliver", "quarantine"),
        ("quarantine", "reject", "deliver", "reject", "deliver"),
        ("reject", "deliver", "quarantine", "quarantine", "reject"),
    )
]


def settings(table: Mapping[str, str]) -> dict[str, object]:
    actions = {f"verification.actions.{row}": action for row, action in table.items()}
    return {"verification.enabled": True, "verification.x_header": True, **actions, **REPORTING}


@pytest.fixture(scope="module", params=TABLES, ids=lambda table: "-".join(table.values()))
def table(request: pytest.FixtureRequest, gateway: Gateway) -> dict[str, str]:
    """An action table that is in force: the actions of ``DEFAULTS``' rows in their order."""
    wanted: dict[str, str] = request.param
    put_in_force(gateway, settings(wanted))
    return wanted


# ---- each row with each action --------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_s24_enf_03_a_failing_message_meets_the_action_of_its_policy(
    post: Post, owner: Owner, table: dict[str, str], policy: str
) -> None:
    """And the report says what was done, with a reason where it is not what the owner asks for."""
    action, domain = table[policy], owner.domain(f"p={policy}; {RUA}")

    seen = post.one(spoof(domain))

    assert seen.fate is FATES[action]
    assert (seen.event.row, seen.event.result) == (policy, "fail")
    assert seen.reported == (DISPOSITIONS[action], () if action == ASKED[policy] else ("local_policy",))
    if seen.fate is Fate.DELIVERED:
        assert seen.copy.texts("X-DMARC-Result")[0].startswith("fail ")
        assert "dmarc=fail" in seen.results


def test_s24_a_message_without_a_record_meets_the_action_of_that_row(
    post: Post, owner: Owner, table: dict[str, str]
) -> None:
    domain = owner.domain(None)

    seen = post.one(spoof(domain))

    assert seen.fate is FATES[table["no_record"]]
    assert (seen.event.row, seen.event.result) == ("no_record", "none")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(b"", id="no From"),
        pytest.param(b"From: postmaster\r\n", id="no domain"),
        pytest.param(b"From: <a@{domain}\r\n", id="unparseable"),
        pytest.param(b"From: a@{domain}\r\nFrom: a@{domain}\r\n", id="several From fields"),
    ],
)
def test_s23_s24_an_unusable_from_meets_the_action_of_that_row(
    post: Post, owner: Owner, table: dict[str, str], fields: bytes
) -> None:
    domain = owner.domain()
    octets = fields.replace(b"{domain}", domain.encode()) + b"Subject: x\r\n\r\nHello\r\n"

    seen = post.one(Letter(octets))

    assert seen.fate is FATES[table["unusable_from"]]
    assert (seen.event.row, seen.event.result) == ("unusable_from", "permerror")
    assert report_rows(seen.gateway, domain) == []
    if seen.fate is Fate.DELIVERED:
        assert seen.copy.texts("X-DMARC-Result")[0].startswith("permerror ")
        assert "dmarc=permerror" in seen.results
    if seen.fate is Fate.REFUSED:
        assert re.fullmatch(rf"5\.7\.26 .*DMARC.*{seen.event.event_id}.*", seen.reply.text)


@pytest.mark.parametrize("policy", POLICIES)
def test_s19_s33_a_pass_is_delivered_whatever_the_policy_and_the_actions(
    post: Post, owner: Owner, table: dict[str, str], policy: str
) -> None:
    domain = owner.domain(f"p={policy}; {RUA}")
    signed = owner.signed(mail(f"a@{domain}"), domain)

    by_spf, by_dkim = post.send(genuine(domain), Letter(signed))

    assert (by_spf.fate, by_dkim.fate) == (Fate.DELIVERED, Fate.DELIVERED)
    assert (by_spf.event.result, by_dkim.event.result) == ("pass", "pass")
    rows = {(row.disposition, row.reasons) for row, _ in report_rows(post.gateway, domain)}
    assert rows == {("none" if policy == "none" else "pass", ())}


@pytest.mark.parametrize("policy", POLICIES)
def test_s24_the_action_covers_all_recipients(
    post: Post, owner: Owner, table: dict[str, str], policy: str
) -> None:
    seen = post.one(Letter(mail(f"a@{owner.domain(f'p={policy}; {RUA}')}"), recipients=3))

    assert seen.fate is FATES[table[policy]]
    assert seen.reply.refused_recipients == ()
    if seen.held is not None:
        assert tuple(recipient.address for recipient in seen.held.envelope.recipients) == seen.recipients


# ---- several in one From --------------------------------------------------------


def test_s23_several_addresses_of_one_domain_are_that_domain(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    put_in_force(gateway, settings(DEFAULTS))
    domain = owner.domain()
    octets = mail(f"a@{domain}, Ann <b@{domain}>, c@{domain.upper()}")

    passing, failing = post.send(Letter(owner.signed(octets, domain)), Letter(octets))

    assert (passing.fate, passing.event.result) == (Fate.DELIVERED, "pass")
    assert (failing.fate, failing.event.result) == (Fate.REFUSED, "fail")


def test_s23_of_several_domains_the_strictest_policy_of_those_that_fail_applies(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    """FROM-05: and without a failure the message is delivered, with permerror in place of a pass."""
    put_in_force(gateway, settings(DEFAULTS))
    mild, strict = owner.domain(f"p=quarantine; {RUA}"), owner.domain()
    octets = mail(f"a@{mild}, b@{strict}")

    nobodys, mild_ones, strict_ones, both = post.send(
        Letter(octets),
        Letter(owner.signed(octets, mild)),
        Letter(owner.signed(octets, strict)),
        Letter(owner.signed(owner.signed(octets, mild), strict)),
    )

    assert [one.fate for one in (nobodys, mild_ones, strict_ones, both)] == [
        Fate.REFUSED,
        Fate.REFUSED,
        Fate.QUARANTINED,
        Fate.DELIVERED,
    ]
    assert [event.result for event in strict_ones.events] == ["fail", "pass"]
    assert both.copy.texts("X-DMARC-Result")[0].startswith("permerror ")


def test_enf_03_each_owner_of_a_from_hears_why_the_message_met_another_policy_than_his(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    """The message has one fate; for all but the strictest domain it is not what the owner asks for."""
    put_in_force(gateway, settings(DEFAULTS))
    domains = [owner.domain(f"p={policy}; {RUA}") for policy in POLICIES]

    seen = post.one(Letter(mail(", ".join(f"a@{domain}" for domain in domains))))

    assert seen.fate is Fate.REFUSED
    assert [said(gateway, domain) for domain in domains] == [
        ("reject", ["local_policy"]),
        ("reject", ["local_policy"]),
        ("reject", []),
    ]


def test_enf_03_owners_hear_why_a_message_of_too_many_domains_is_quarantined(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    """FROM-05: the first five are evaluated, and none of them asks for anything."""
    put_in_force(gateway, settings(DEFAULTS))
    domains = [owner.domain(f"p=none; {RUA}") for _ in range(6)]

    seen = post.one(Letter(mail(", ".join(f"a@{domain}" for domain in domains))))

    assert (seen.fate, len(seen.events)) == (Fate.QUARANTINED, 5)
    assert [said(gateway, domain) for domain in domains[:5]] == [("quarantine", ["local_policy"])] * 5


def said(gateway: Gateway, domain: str) -> tuple[str, list[str]]:
    """Disposition and reasons in the one report row about *domain*."""
    [(row, _)] = report_rows(gateway, domain)
    return row.disposition, [reason for reason, _comment in row.reasons]


# ---- how each action is done ----------------------------------------------------


def test_s24_enf_10_a_quarantined_message_is_ours_and_not_postfixs(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    """The client hears 250; row and file are there with the reply, and no queue of Postfix holds a copy."""
    put_in_force(gateway, settings(DEFAULTS))
    domain = owner.domain(f"p=quarantine; {RUA}")

    seen = post.one(Letter(mail(f"a@{domain}", body="Keep this\r\n"), mail_from="x@y.test"))

    assert seen.fate is Fate.QUARANTINED
    assert seen.reply.queue_id == seen.event.queue_id
    assert seen.held is not None
    assert (seen.held.event_id, seen.held.author_domain) == (seen.event.event_id, domain)
    assert (seen.held.envelope.mail_from, str(seen.held.envelope.client_ip)) == ("x@y.test", STRANGER)
    assert b"Keep this\r\n" in seen.kept
    assert gateway.postfix.queue_length() == 0


@pytest.mark.parametrize("above", ["X-None: x", "DKIM-Signature: v=1; d=z.test", "ARC-Seal: i=1; cv=none"])
def test_enf_06_enf_08_a_refusal_is_550_5_7_26_with_the_domain_and_the_id(
    gateway: Gateway, post: Post, owner: Owner, above: str
) -> None:
    """Whichever check failed: the code that stands for several."""
    put_in_force(gateway, settings(DEFAULTS) | {"verification.actions.soften_indirect": False})
    domain = owner.domain()

    seen = post.one(spoof(domain, above))

    assert seen.fate is Fate.REFUSED
    assert re.fullmatch(rf"5\.7\.26 .*DMARC.* {re.escape(domain)} .*{seen.event.event_id}.*", seen.reply.text)


def test_enf_06_the_text_of_a_refusal_is_a_setting_and_its_code_is_not(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    text = "DMARC says no to %{domain}; ask the helpdesk about %{id}"
    put_in_force(gateway, settings(DEFAULTS) | {"verification.reject_text": text})
    domain = owner.domain()

    seen = post.one(spoof(domain))

    assert (seen.reply.code, seen.reply.text) == (
        550,
        f"5.7.26 DMARC says no to {domain}; ask the helpdesk about {seen.event.event_id}",
    )


def test_enf_01_the_reply_to_the_message_waits_for_the_verdict(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    put_in_force(gateway, settings(DEFAULTS))
    domain = owner.domain()
    gateway.nameserver.forget_queries()
    gateway.nameserver.hold()
    try:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(post.one, spoof(domain))
            wait_for("a question", lambda: gateway.nameserver.count() > 0)
            early = answer.done()
            gateway.nameserver.release()
    finally:
        gateway.nameserver.release()

    assert not early
    assert answer.result().fate is Fate.REFUSED


# ---- which settings hold --------------------------------------------------------


def test_s21_a_fresh_install_and_restored_defaults_act_alike(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    """ENF-02: p=none changes nothing by default."""
    fates = {
        "none": Fate.DELIVERED,
        "quarantine": Fate.QUARANTINED,
        "reject": Fate.REFUSED,
        "no_record": Fate.DELIVERED,
    }
    put_in_force(gateway, settings(TABLES[2]))
    restored = put_in_force(gateway, {"verification.enabled": True})

    seen = post.send(*(spoof(owner.domain(f"p={row}; {RUA}" if row in POLICIES else None)) for row in fates))

    assert dict(zip(fates, (one.fate for one in seen), strict=True)) == fates
    assert {one.event.revision for one in seen} == {restored}


def test_s24_a_save_holds_for_messages_that_end_after_it_on_every_worker(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    """Also for those begun before it: no worker starts anew, and no connection is lost."""
    put_in_force(gateway, settings(TABLES[0]))
    workers = sorted(children_of(gateway.service("filter").pid))
    domain = owner.domain(f"p=none; {RUA}")
    with ExitStack() as stack:
        begun = [stack.enter_context(begun_message(gateway, f"t{n}@corp.example")) for n in range(8)]
        saved = put_in_force(gateway, settings(TABLES[2]))
        answered = [(recipients, end(client, domain)) for client, recipients in begun]

    seen = post.look(answered)

    assert {(one.fate, one.event.revision) for one in seen} == {(Fate.REFUSED, saved)}
    assert sorted(children_of(gateway.service("filter").pid)) == workers
    with gateway.store.read() as connection:
        assert {status.revision for status in nodes.list_nodes(connection)} == {saved}


@contextmanager
def begun_message(gateway: Gateway, recipient: str) -> Iterator[tuple[smtplib.SMTP, tuple[str, ...]]]:
    """A message of which the first octets are sent."""
    port = gateway.postfix.config.smtp_port
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=60) as client:
        client.ehlo()
        for line in (
            f"XCLIENT ADDR={STRANGER} NAME=[UNAVAILABLE]",
            "EHLO client.example",
            "MAIL FROM:<a@stranger.test>",
            f"RCPT TO:<{recipient}>",
            "DATA",
        ):
            code, text = client.docmd(line)
            assert code in {220, 250, 354}, text
        client.send(b"Subject: begun\r\n")
        yield client, (recipient,)


def end(client: smtplib.SMTP, domain: str) -> Reply:
    client.send(f"From: a@{domain}\r\n\r\nHello\r\n.\r\n")
    code, text = client.getreply()
    return Reply(Stage.MESSAGE, code, text.decode())


def test_enf_06_nothing_accepted_ever_bounced(gateway: Gateway, post: Post, owner: Owner) -> None:
    """Last in the file: what goes outside would lie in the other mailbox."""
    seen: Seen = post.one(genuine(owner.domain()))

    assert seen.fate is Fate.DELIVERED
    assert gateway.outside.messages() == ()
