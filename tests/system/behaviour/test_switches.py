"""The switches of the DMARC page by mail: off and on, the X-header, reports (S28 to S32)."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.nameserver import Behaviour
from appliance.lab.services import wait_for
from appliance.lab.smtp import SmtpClient
from appliance.settings import Settings
from appliance.store.reports import JobStatus
from reporting.jobs import build_day, send_pending
from reporting.sending import SendResult
from tests.reporting.reader import read_mail
from tests.system.behaviour.observing import (
    REPORTING,
    STRANGER,
    event_count,
    events_for,
    fresh,
    held_copy,
    mail,
    marks,
    publish,
    put_in_force,
    report_rows,
    reported,
    texts,
)
from tests.system.conftest import INSIDE, Outsider, Sent

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

GOOD = "192.0.2.1"
EXEMPT = "203.0.113.9"
ON: dict[str, object] = {"verification.enabled": True}
FORGED = (
    b"X-DMARC-Result: pass (forged)\r\nx-dmarc-RESULT: pass\r\n"
    b"Authentication-Results: gateway.example; dmarc=pass\r\n"
)


# ---- off ------------------------------------------------------------------------


@pytest.mark.parametrize("author", ["of a rejecting domain", "of a domain that does not answer", "missing"])
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="after first boot"),
        pytest.param(
            {
                **REPORTING,
                "verification.x_header": True,
                "verification.scope": "listed",
                "verification.domains": ["example.test"],
                "verification.actions.none": "reject",
                "verification.actions.no_record": "reject",
                "verification.actions.unusable_from": "reject",
                "verification.actions.temporary_error": "defer",
                "reports.gate": "all",
            },
            id="switched off, everything else on",
        ),
    ],
)
def test_s28_while_dmarc_is_off_mail_goes_through_untouched_and_unasked(
    gateway: Gateway, outsider: Outsider, author: str, changes: Mapping[str, object]
) -> None:
    """No questions to the DNS, no marks, no actions, no events, no report rows; what looks like our marks stays."""
    domain = publish(gateway, "p=reject")
    if author == "of a domain that does not answer":
        gateway.zone.misbehave(f"_dmarc.{domain}", Behaviour.SERVFAIL)
    octets = FORGED + mail(f"admin@{domain}")
    if author == "missing":
        octets = octets.replace(b"From:", b"X-From:")
    if changes:
        put_in_force(gateway, {**changes, **ON})
    put_in_force(gateway, changes)
    before = event_count(gateway)
    gateway.nameserver.forget_queries()

    sent = outsider.send(octets, mail_from=f"admin@{domain}")

    assert (sent.reply.code, sent.events) == (250, ())
    delivered = sent.delivered()
    assert delivered.octets.endswith(octets)
    assert {field.name.lower() for field in delivered.fields} == {
        b"received", b"x-dmarc-result", b"authentication-results", b"to", b"subject",
        b"x-from" if author == "missing" else b"from",
    }  # fmt: skip
    assert gateway.nameserver.queries == ()
    assert event_count(gateway) == before
    assert domain not in reported(gateway)


def test_s28_dmarc_is_off_in_a_new_installation() -> None:
    assert not Settings().verification.enabled


def test_s28_turning_off_and_on_again_keeps_every_list_and_setting(
    gateway: Gateway, outsider: Outsider
) -> None:
    listed, other = publish(gateway, "p=quarantine"), publish(gateway, "p=reject")
    put_in_force(
        gateway,
        {
            **ON,
            "verification.scope": "listed",
            "verification.domains": [f"{listed} # a comment"],
            "verification.exceptions": [f"{EXEMPT} mode=evaluate until=2999-12-31 # the scanner"],
            "verification.actions.quarantine": "reject",
            "verification.x_header": True,
            "verification.x_header_name": "X-Ours",
        },
    )
    before = gateway.settings()

    gateway.save(verification__enabled=False)
    while_off = outsider.send(mail(f"a@{listed}"), mail_from=f"a@{listed}")
    gateway.save(verification__enabled=True)

    assert while_off.reply.code == 250
    assert gateway.settings() == before
    spoof = outsider.send(mail(f"a@{listed}"), mail_from=f"a@{listed}")
    exempt = outsider.send(mail(f"a@{listed}"), mail_from=f"a@{listed}", client_ip=EXEMPT)
    unlisted = outsider.send(mail(f"a@{other}"), mail_from=f"a@{other}")
    assert (spoof.fate, exempt.fate, unlisted.fate) == ("rejected", "delivered", "delivered")
    assert [text.split()[0] for text in exempt.delivered().texts("X-Ours")] == ["fail"]
    assert unlisted.event.skip == "scope"


# ---- while mail is under way ----------------------------------------------------


def test_s29_a_toggle_is_in_force_within_a_session_that_stays_open(gateway: Gateway) -> None:
    """S24: the message meets the revision that was saved before its end."""
    domain = publish(gateway, "p=reject")
    put_in_force(gateway, {})
    codes = []
    with SmtpClient(gateway.postfix.config.smtp_port, client_ip=STRANGER) as client:
        for enabled in (None, True, False, True):
            if enabled is not None:
                gateway.save(verification__enabled=enabled)
            reply = client.send(
                mail_from=f"a@{domain}", rcpt_to=[f"toggle@{INSIDE}"], octets=mail(f"a@{domain}")
            )
            codes.append(reply.code)

    assert codes == [250, 550, 250, 550]


@pytest.mark.parametrize(
    ("at_start", "code"), [(False, 550), (True, 250)], ids=["switched on", "switched off"]
)
def test_s29_a_toggle_in_the_middle_of_a_message_holds_for_the_whole_message(
    gateway: Gateway, at_start: bool, code: int
) -> None:
    domain, recipient = publish(gateway, "p=reject"), f"{fresh('middle')}@{INSIDE}"
    octets = FORGED + mail(f"a@{domain}")
    put_in_force(gateway, {"verification.enabled": at_start, "verification.x_header": True})
    with SmtpClient(gateway.postfix.config.smtp_port, client_ip=STRANGER) as client:
        for line, expected in (
            (f"MAIL FROM:<a@{domain}>", 250),
            (f"RCPT TO:<{recipient}>", 250),
            ("DATA", 354),
        ):
            assert client.command(line)[0] == expected
        client._smtp.send(octets[: len(FORGED)])

        saved = gateway.save(verification__enabled=not at_start)
        client._smtp.send(octets[len(FORGED) :] + b".\r\n")
        answer, _text = client.read_reply()
        again, _text = client.command("NOOP")

    assert (answer, again) == (code, 250)
    assert [event.revision for event in events_for(gateway, recipient)] == ([] if at_start else [saved])
    if at_start:
        [delivered] = gateway.inside.wait_until(lambda m: m.recipient == recipient, recipient, seconds=30)
        assert delivered.octets.endswith(octets), "off writes and takes away nothing"


def test_s29_a_message_that_is_being_judged_keeps_the_revision_it_began_with(
    gateway: Gateway, outsider: Outsider
) -> None:
    domain = publish(gateway, "p=quarantine")
    before = put_in_force(gateway, ON)
    gateway.nameserver.forget_queries()
    gateway.nameserver.hold()
    try:
        with ThreadPoolExecutor(1) as sender:
            under_way = sender.submit(outsider.send, mail(f"a@{domain}"), mail_from=f"a@{domain}")
            wait_for("the first question", lambda: gateway.nameserver.count() > 0)
            after = gateway.save(
                verification__x_header=True,
                verification__actions__quarantine="reject",
                identity__authserv_id="other.example",
            )
            gateway.nameserver.release()
            sent = under_way.result(timeout=60)
    finally:
        gateway.nameserver.release()

    assert after == before + 1
    assert (sent.fate, sent.event.revision) == ("quarantined", before)
    kept = held_copy(gateway, sent.event.event_id)
    assert [text.split(";")[0] for text in texts(kept, "Authentication-Results")] == ["gateway.example"]
    assert texts(kept, "X-DMARC-Result") == []


# ---- the X-header ---------------------------------------------------------------


def kept_octets(sent: Sent) -> bytes:
    """The message as it was delivered, or as it lies in quarantine."""
    if sent.fate == "quarantined":
        return held_copy(sent.gateway, sent.event.event_id)
    return sent.delivered().octets


@pytest.mark.parametrize(
    ("word", "fate"),
    [
        pytest.param("pass", "delivered", id="pass"),
        pytest.param("fail", "delivered", id="fail"),
        pytest.param("none", "delivered", id="none"),
        pytest.param("temperror", "delivered", id="temperror"),
        pytest.param("permerror", "delivered", id="permerror"),
        pytest.param("fail", "quarantined", id="fail, in the quarantined copy"),
        pytest.param("none", "quarantined", id="none, in the quarantined copy"),
        pytest.param("permerror", "quarantined", id="permerror, in the quarantined copy"),
    ],
)
@pytest.mark.parametrize("switch", ["on", "off"])
def test_s30_one_x_header_on_each_verified_message_while_it_is_on_and_never_a_forged_one(
    gateway: Gateway, outsider: Outsider, switch: str, word: str, fate: str
) -> None:
    """Its value begins with the result. Results fields with our name are taken away and written in both cases."""
    strict = fate == "quarantined"
    put_in_force(
        gateway,
        ON
        | {
            "verification.x_header": switch == "on",
            "verification.actions.no_record": "quarantine" if strict else "deliver",
            "verification.actions.unusable_from": "quarantine" if strict else "deliver",
        },
    )
    domain = publish(gateway, "p=quarantine" if strict else "p=none", spf=f"ip4:{GOOD} -all")
    octets = FORGED + mail(f"a@{domain}")
    match word:
        case "none":
            gateway.zone.remove(f"_dmarc.{domain}")
        case "temperror":
            gateway.zone.misbehave(f"_dmarc.{domain}", Behaviour.SERVFAIL)
        case "permerror":
            octets = b"From: b@second.test\r\n" + octets
        case _:
            pass

    sent = outsider.send(
        octets, mail_from=f"a@{domain}", client_ip=GOOD if word in {"pass", "none"} else STRANGER
    )

    assert (sent.event.result, sent.fate) == (word, fate)
    kept = kept_octets(sent)
    values = texts(kept, "X-DMARC-Result")
    assert [value.split()[0] for value in values] == ([word] if switch == "on" else [])
    [results] = texts(kept, "Authentication-Results")
    assert f"dmarc={word}" in results
    if switch == "on":
        action = {"delivered": "deliver", "quarantined": "quarantine"}[fate]
        assert f"action={action}" in values[0]


@pytest.mark.parametrize("switch", ["on", "off"])
def test_s30_a_message_that_is_not_verified_has_no_x_header_and_keeps_no_forged_one(
    gateway: Gateway, outsider: Outsider, switch: str
) -> None:
    domain = publish(gateway, "p=reject")
    put_in_force(gateway, ON | {"verification.x_header": switch == "on", "verification.exceptions": [EXEMPT]})

    sent = outsider.send(FORGED + mail(f"a@{domain}"), mail_from=f"a@{domain}", client_ip=EXEMPT)

    assert sent.event.skip == "exception"
    assert marks(sent.delivered()) == ()


@pytest.mark.parametrize("switch", ["on", "off"])
def test_s30_the_x_header_has_the_name_that_is_set(gateway: Gateway, outsider: Outsider, switch: str) -> None:
    domain = publish(gateway, "p=none")
    put_in_force(
        gateway,
        ON | {"verification.x_header": switch == "on", "verification.x_header_name": "X-Our-Check"},
    )
    others = b"X-Our-Check: pass\r\nx-our-CHECK: pass\r\nX-DMARC-Result: pass (of somebody else)\r\n"

    sent = outsider.send(others + mail(f"a@{domain}"), mail_from=f"a@{domain}")

    delivered = sent.delivered()
    assert [text.split()[0] for text in delivered.texts("X-Our-Check")] == (
        ["fail"] if switch == "on" else []
    )
    assert delivered.texts("X-DMARC-Result") == ("pass (of somebody else)",)


def test_s30_a_rejected_message_bears_no_header_anywhere(gateway: Gateway, outsider: Outsider) -> None:
    domain = publish(gateway, "p=reject")
    put_in_force(gateway, ON | {"verification.x_header": True})

    sent = outsider.send(mail(f"a@{domain}"), mail_from=f"a@{domain}")

    assert sent.fate == "rejected"
    assert not [m for m in gateway.inside.messages() if m.recipient == sent.recipient]


# ---- reports --------------------------------------------------------------------


def build(gateway: Gateway) -> set[str]:
    """Build the reports of the day so far; the policy domains that have one."""
    now = datetime.now(UTC)
    return {job.policy_domain for job in build_day(gateway.store, now.date(), now=now, until=now)}


def send(gateway: Gateway) -> dict[str, SendResult]:
    """Send what waits; by policy domain."""
    results = send_pending(
        gateway.store,
        nameserver=gateway.nameserver.address,
        listener=("127.0.0.1", gateway.postfix.config.report_port),
    )
    return {result.policy_domain: result for result in results}


def report_mails(gateway: Gateway, domain: str, number: int) -> dict[str, bytes]:
    """The *number* reports about *domain* that left, by recipient."""
    found = gateway.outside.wait_until(
        lambda m: any(domain in subject for subject in m.texts("Subject")),
        f"reports about {domain}",
        count=number,
        seconds=30,
    )
    assert len(found) == number
    return {message.recipient: message.octets for message in found}


def test_s31_with_reports_off_nothing_is_kept_for_them_and_nothing_is_sent(
    gateway: Gateway, outsider: Outsider
) -> None:
    """S2: verification without reports."""
    domain = publish(gateway, "p=reject")
    put_in_force(gateway, ON | REPORTING | {"reports.enabled": False, "reports.gate": "all"})
    before = len(gateway.outside.messages())

    sent = outsider.send(mail(f"a@{domain}"), mail_from=f"a@{domain}")

    assert (sent.fate, sent.event.result) == ("rejected", "fail")
    assert report_rows(gateway, domain) == []
    assert (build(gateway), send(gateway)) == (set(), {})
    assert len(gateway.outside.messages()) == before


def test_s31_collect_only_keeps_what_reports_would_say_and_sends_nothing(
    gateway: Gateway, outsider: Outsider
) -> None:
    domain = publish(gateway, "p=reject")
    collecting = {"reports.enabled": False, "reports.collect_only": True, "reports.gate": "all"}
    put_in_force(gateway, ON | REPORTING | collecting)
    before = len(gateway.outside.messages())

    outsider.send(mail(f"a@{domain}"), mail_from=f"a@{domain}")

    assert [times for _row, times in report_rows(gateway, domain)] == [1]
    assert (build(gateway), send(gateway)) == (set(), {})
    assert len(gateway.outside.messages()) == before


def test_s31_s32_with_reports_on_each_address_of_the_record_gets_one_report_of_the_day_and_nobody_else(
    gateway: Gateway, outsider: Outsider
) -> None:
    """Passes and failures are reported, skipped messages are not; what senders write of addresses is not looked at."""
    domain, collector = publish(gateway, "p=reject", spf=f"ip4:{GOOD} -all"), fresh("collector")
    gateway.zone.txt(
        f"_dmarc.{domain}", f"v=DMARC1; p=reject; rua=mailto:one@{domain},mailto:two@{collector}"
    )
    gateway.zone.txt(f"{domain}._report._dmarc.{collector}", "v=DMARC1")
    put_in_force(gateway, ON | REPORTING | {"reports.gate": "all", "verification.exceptions": [EXEMPT]})
    claims = (
        b"Reply-To: reply@claimed.test\r\nSender: sender@claimed.test\r\nErrors-To: errors@claimed.test\r\n"
        b"Disposition-Notification-To: receipt@claimed.test\r\n"
    )
    octets = mail(f"author@{domain}", top=claims)

    fates = [
        outsider.send(octets, mail_from=f"envelope@{domain}", client_ip=client).fate
        for client in (GOOD, GOOD, STRANGER, EXEMPT)
    ]
    built, again, sent = build(gateway), build(gateway), send(gateway)

    assert fates == ["delivered", "delivered", "rejected", "delivered"]
    assert domain in built
    assert again == set(), "once a day"
    assert sent[domain].status is JobStatus.SENT
    mails = report_mails(gateway, domain, 2)
    assert set(mails) == {f"one@{domain}", f"two@{collector}"}
    for octets_of_report in mails.values():
        report = read_mail(octets_of_report)
        rows = {
            (row["policy_evaluated"]["disposition"], row["count"], row["source"]["ip_address"])
            for row in report["records"]
        }
        assert rows == {("pass", 2, GOOD), ("reject", 1, STRANGER)}
    addresses = {message.recipient for message in gateway.outside.messages()}
    assert not {address for address in addresses if "claimed" in address or address.startswith("author")}
    assert send(gateway) == {}, "nothing is sent twice"


def test_s31_a_report_that_waits_leaves_only_while_reports_are_on(
    gateway: Gateway, outsider: Outsider
) -> None:
    domain = publish(gateway, "p=none")
    put_in_force(gateway, ON | REPORTING | {"reports.gate": "all"})
    outsider.send(mail(f"a@{domain}"), mail_from=f"a@{domain}")
    built = build(gateway)
    before = len(gateway.outside.messages())

    gateway.save(reports__enabled=False)
    while_off = send(gateway)
    left_while_off = len(gateway.outside.messages()) - before
    gateway.save(reports__enabled=True)
    while_on = send(gateway)

    assert domain in built
    assert (while_off, left_while_off) == ({}, 0)
    assert while_on[domain].status is JobStatus.SENT
    assert set(report_mails(gateway, domain, 1)) == {f"d@{domain}"}
