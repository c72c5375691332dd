"""Two mistakes of comparable products: a list that feeds something else, a switch that needs a second option (pain 24).

Each list gets an entry of a host or a domain that nothing else names; then everything that could come of any list is
looked at, and only what this list is for may differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

import pytest

from appliance.lab.gateway import Gateway
from appliance.settings import InvalidSettings, Settings
from appliance.store import facts, reports
from reporting.jobs import build_day, send_pending
from tests.checks import mails
from tests.checks.sealer import Sealer, with_set
from tests.system.behaviour.observing import (
    REPORTING,
    STRANGER,
    fresh,
    mail,
    marks,
    publish,
    put_in_force,
    report_rows,
    reported,
    save,
    today,
)
from tests.system.conftest import Outsider, Sent

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

GOOD = "192.0.2.1"
ELSEWHERE = "198.51.100.77"
HOP = (
    f"Received: from a (unknown [{ELSEWHERE}])\r\n\tby b (Postfix) with ESMTP id 4X;"
    " Mon, 23 Nov 2026 14:00:00 +0000\r\n"
).encode()
NOBODY = "x@nowhere.test"
ON: dict[str, object] = {"verification.enabled": True}
_hosts = count(1)


@pytest.fixture(scope="module")
def key() -> mails.SigningKey:
    return mails.new_rsa_key()


def report_on(gateway: Gateway, domain: str) -> str:
    """Build and send the reports of the day so far; what became of the one to *domain*."""
    now = datetime.now(UTC)
    build_day(gateway.store, now.date(), now=now, until=now)
    listener = ("127.0.0.1", gateway.postfix.config.report_port)
    send_pending(gateway.store, nameserver=gateway.nameserver.address, listener=listener)
    with gateway.store.read() as connection:
        jobs = [job for job in reports.jobs(connection, 1000) if job.policy_domain == domain]
    return " | ".join(filter(None, (jobs[0].status, jobs[0].reason))) if jobs else "nothing to report"


# ---- a list that feeds something else -------------------------------------------


@dataclass
class Probe:
    """Looks at everything that a list may decide, for one host and one domain that only this probe uses."""

    gateway: Gateway
    outsider: Outsider
    key: mails.SigningKey
    host: str = field(default_factory=lambda: f"203.0.113.{next(_hosts)}")
    domain: str = field(default_factory=lambda: fresh("listed"))

    def look(self) -> dict[str, str]:
        zone = self.gateway.zone
        zone.txt(f"_dmarc.{self.domain}", f"v=DMARC1; p=reject; rua=mailto:d@{self.domain}")
        zone.txt(self.domain, f"v=spf1 ip4:{GOOD} -all")
        for selector in ("s1", "arc"):
            zone.txt(f"{selector}._domainkey.{self.domain}", self.key.record)
        other = publish(self.gateway, "p=reject")
        spoof, of_domain = mail(f"a@{other}"), mail(f"a@{self.domain}")
        signed = mails.signed(self.key, spoof, domain=self.domain)
        sealer = Sealer(self.key, self.domain)
        sealed = with_set(spoof, sealer, results=f"dmarc=pass header.from={other}", names="from:to:subject")
        handed_on = self._send(HOP + spoof, self.host)
        return {
            "spoof from the host": shown(self._send(spoof, self.host)),
            "handed on by the host": shown(handed_on),
            "client of what the host hands on": self._client(handed_on),
            "spoof of the domain": shown(self._send(of_domain, STRANGER)),
            "genuine mail of the domain": shown(self._send(of_domain, GOOD, f"a@{self.domain}")),
            "domain in MAIL FROM only": shown(self._send(spoof, GOOD, f"a@{self.domain}")),
            "signed by the domain": shown(self._send(signed, STRANGER)),
            "sealed by the domain": shown(self._send(sealed, STRANGER)),
            "counted of the host": str(self._counted(other)),
            "report to the domain": report_on(self.gateway, self.domain),
        }

    def _send(self, octets: bytes, client: str, mail_from: str = "x@nowhere.test") -> Sent:
        return self.outsider.send(octets, mail_from=mail_from, client_ip=client)

    def _client(self, sent: Sent) -> str:
        return {self.host: "the host", ELSEWHERE: "the hop before it"}[sent.event.client_ip]

    def _counted(self, policy_domain: str) -> int:
        rows = report_rows(self.gateway, policy_domain)
        return sum(times for row, times in rows if row.source_ip == self.host)


def shown(sent: Sent) -> str:
    event = sent.event
    overrides = ", ".join(f"{o.type}: {o.comment}".partition(" as[")[0] for o in event.overrides)
    result = f"not verified: {event.skip}" if event.skip else event.result
    return " | ".join(filter(None, (sent.fate, result, overrides)))


BASE: dict[str, object] = ON | REPORTING | {"reports.gate": "listed"}
LISTED: dict[str, object] = BASE | {"verification.scope": "listed", "verification.domains": ["x.example"]}
OUT_OF_SCOPE = "delivered | not verified: scope"

SEEN: dict[str, str] = {
    "spoof from the host": "rejected | fail",
    "handed on by the host": "rejected | fail",
    "client of what the host hands on": "the host",
    "spoof of the domain": "rejected | fail",
    "genuine mail of the domain": "delivered | pass",
    "domain in MAIL FROM only": "rejected | fail",
    "signed by the domain": "rejected | fail",
    "sealed by the domain": "quarantined | fail | local_policy: ARC set",
    "counted of the host": "2",
    "report to the domain": "refused | not on the list of domains always reported to",
}
"""While no list holds the host or the domain."""

SEEN_LISTED: dict[str, str] = {
    name: OUT_OF_SCOPE if value.count("|") and "report" not in name else value
    for name, value in (
        SEEN | {"counted of the host": "0", "report to the domain": "nothing to report"}
    ).items()
}


@dataclass(frozen=True)
class Filled:
    """One list with one entry, ``{host}`` and ``{domain}`` filled in, and all that may come of it."""

    setting: str
    entry: str
    changes: Mapping[str, str]
    base: Mapping[str, object] = field(default_factory=lambda: BASE)
    seen: Mapping[str, str] = field(default_factory=lambda: SEEN)


def not_verified(skip: str) -> dict[str, str]:
    found = f"delivered | not verified: {skip}"
    return {"spoof from the host": found, "handed on by the host": found, "counted of the host": "0"}


SPARED = "delivered | fail | local_policy: exception list"
FORWARDED = "quarantined | fail | trusted_forwarder: trusted forwarder"

CASES = {
    "nothing": Filled("verification.domains", "unrelated.example", {}),
    "domain list, all domains verified": Filled("verification.domains", "{domain}", {}),
    "domain list": Filled(
        "verification.domains",
        "{domain}",
        {
            "spoof of the domain": SEEN["spoof of the domain"],
            "genuine mail of the domain": SEEN["genuine mail of the domain"],
            "report to the domain": SEEN["report to the domain"],
        },
        LISTED,
        SEEN_LISTED,
    ),
    "exception": Filled("verification.exceptions", "{host}", not_verified("exception")),
    "exception, evaluated": Filled(
        "verification.exceptions",
        "{host} mode=evaluate",
        {"spoof from the host": SPARED, "handed on by the host": SPARED},
    ),
    "exception of an author": Filled(
        "verification.exceptions",
        "{stranger} from={domain}",
        {"spoof of the domain": "delivered | not verified: exception"},
    ),
    "exception of a signer": Filled(
        "verification.exceptions", "* dkim={domain}", {"signed by the domain": SPARED}
    ),
    "internal network": Filled("network.internal", "{host}", not_verified("internal")),
    "known host": Filled(
        "network.known_hosts",
        "{host}",
        {"client of what the host hands on": "the hop before it", "counted of the host": "0"},
    ),
    "trusted forwarder": Filled(
        "network.trusted_forwarders",
        "{host}",
        {"spoof from the host": FORWARDED, "handed on by the host": FORWARDED},
    ),
    "trusted sealer": Filled(
        "network.trusted_sealers",
        "{domain}",
        {"sealed by the domain": "delivered | fail | local_policy: arc=pass"},
    ),
    "protected domain": Filled(
        "identity.protected_domains", "{domain}", {"report to the domain": "refused | our own domain"}
    ),
    "always reported to": Filled("reports.allowed_domains", "{domain}", {"report to the domain": "sent"}),
    "legacy form of reports": Filled("reports.legacy_domains", "{domain}", {}),
    "never reported to": Filled(
        "reports.denied_domains",
        "{domain}",
        {"report to the domain": "refused | on the list of domains never reported to"},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_pain_24_an_entry_of_a_list_does_what_the_list_is_for_and_nothing_else(
    gateway: Gateway, outsider: Outsider, key: mails.SigningKey, case: Filled
) -> None:
    probe = Probe(gateway, outsider, key)
    entry = case.entry.format(host=probe.host, domain=probe.domain, stranger=STRANGER)
    kept = list(case.base.get(case.setting, ()))  # type: ignore[call-overload]  # a list where there is one
    put_in_force(gateway, {**case.base, case.setting: [*kept, entry]})

    seen = probe.look()

    assert seen == {**case.seen, **case.changes}


def test_pain_24_every_list_is_among_them() -> None:
    document = Settings().model_dump(mode="json")
    lists = {
        f"{group}.{name}"
        for group, values in document.items()
        for name, value in values.items()
        if isinstance(value, list)
    }

    assert {case.setting for case in CASES.values()} == lists


# ---- a switch that needs a second option ----------------------------------------

ALL_ABOUT_REPORTS: dict[str, object] = REPORTING | {
    "reports.enabled": False,
    "reports.contact": "https://corp.example/",
    "reports.gate": "all",
}


def seen_yesterday_too(gateway: Gateway, policy_domain: str) -> None:
    """What was counted of *policy_domain* today, a day before as well: to be known on two days is the default gate."""
    rows = report_rows(gateway, policy_domain)
    assert rows
    hour = int(datetime.now(UTC).timestamp()) // 3600 * 3600
    with gateway.store.begin() as connection:
        facts.add(connection, hour - 24 * 3600, [row for row, times in rows for _ in range(times)])


def test_pain_24_with_reports_on_they_go_out_and_nothing_else_is_needed(
    gateway: Gateway, outsider: Outsider
) -> None:
    """Every other setting of reports has its default."""
    today()
    domain = publish(gateway, "p=reject")
    put_in_force(gateway, ON | REPORTING)

    outsider.send(mail(f"a@{domain}"), mail_from=f"a@{domain}")
    seen_yesterday_too(gateway, domain)
    sent = report_on(gateway, domain)

    assert sent == "sent"
    gateway.outside.wait_until(lambda m: m.recipient == f"d@{domain}", f"the report to {domain}", seconds=30)


@pytest.mark.parametrize("left_out", [name for name in REPORTING if name != "reports.enabled"])
def test_pain_24_what_reports_need_is_asked_for_when_they_are_switched_on(
    gateway: Gateway, left_out: str
) -> None:
    """So nobody believes that they go out while they don't."""
    before = gateway.settings()

    with pytest.raises(InvalidSettings) as refused:
        save(gateway, {**ON, **REPORTING, left_out: ""})

    assert gateway.settings() == before
    assert all(problem.field.startswith("reports.") for problem in refused.value.problems)
    assert any(word in str(refused.value) for word in left_out.partition(".")[2].split("_"))


def test_pain_24_with_reports_off_no_other_option_makes_one(gateway: Gateway, outsider: Outsider) -> None:
    domain = publish(gateway, "p=reject")
    put_in_force(gateway, ON | ALL_ABOUT_REPORTS | {"reports.allowed_domains": [domain]})
    before = len(gateway.outside.messages())

    sent = outsider.send(mail(f"a@{domain}"), mail_from=f"a@{domain}")

    assert sent.fate == "rejected"
    assert domain not in reported(gateway)
    assert report_on(gateway, domain) == "nothing to report"
    assert len(gateway.outside.messages()) == before


@pytest.mark.parametrize(
    ("changes", "x_headers"),
    [
        pytest.param({"verification.x_header": True}, ("X-DMARC-Result",), id="the switch alone"),
        pytest.param({"verification.x_header_name": "X-DMARC-Result"}, (), id="the name alone"),
        pytest.param(REPORTING, (), id="reports"),
    ],
)
def test_pain_24_the_x_header_needs_its_switch_and_nothing_else(
    gateway: Gateway, outsider: Outsider, changes: dict[str, object], x_headers: tuple[str, ...]
) -> None:
    domain = publish(gateway, "p=none")
    put_in_force(gateway, ON | changes)

    delivered = outsider.send(mail(f"a@{domain}"), mail_from=f"a@{domain}").delivered()

    assert marks(delivered) == ("authentication-results", *(name.lower() for name in x_headers))


@pytest.mark.parametrize(
    ("changes", "fates"),
    [
        pytest.param(ON, ("delivered", "quarantined", "rejected"), id="the switch alone"),
        pytest.param(
            {
                "verification.actions.none": "reject",
                "verification.actions.no_record": "reject",
                "verification.x_header": True,
                **REPORTING,
            },
            ("delivered", "delivered", "delivered"),
            id="everything but the switch",
        ),
    ],
)
def test_pain_24_enforcement_needs_the_one_switch_and_nothing_else(
    gateway: Gateway, outsider: Outsider, changes: Mapping[str, object], fates: tuple[str, ...]
) -> None:
    domains = [publish(gateway, f"p={policy}") for policy in ("none", "quarantine", "reject")]
    put_in_force(gateway, {**changes, **ON})
    put_in_force(gateway, changes)

    sent = [outsider.send(mail(f"a@{domain}"), mail_from=f"a@{domain}") for domain in domains]

    if "verification.enabled" in changes:
        assert tuple(one.fate for one in sent) == fates
    else:
        assert [one.reply.code for one in sent] == [250, 250, 250]
        assert [marks(one.delivered()) for one in sent] == [(), (), ()]
