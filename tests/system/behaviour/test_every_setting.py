"""No setting may do nothing: each one is changed alone, and mail, a header, a report or a page must show it (pain 24)."""

import gzip
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from email.utils import parseaddr
from itertools import count
from typing import Any

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.nameserver import Behaviour
from appliance.node import read_node
from appliance.settings import InvalidSettings
from appliance.settings.names import SETTINGS, replaced
from appliance.store import last_run, reports
from appliance.store import settings as store_settings
from appliance.store.reports import JobStatus
from reporting.aggregate_xml import NAMESPACE
from reporting.digest import send_due_digest
from reporting.jobs import build_day, send_pending
from tests.checks.mails import signed
from tests.checks.sealer import Sealer, with_set
from tests.reporting.reader import read_mail
from tests.system.behaviour.failing import failure_mails
from tests.system.behaviour.keeping import KEPT
from tests.system.behaviour.observing import REPORTING, put_in_force, report_rows
from tests.system.behaviour.post import OWN, SELECTOR, Letter, Owner, Post, mail, spoof
from tests.system.conftest import INSIDE

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

EXEMPT, INTERNAL, RELAY, FORWARDER = "203.0.113.9", "10.1.2.3", "203.0.113.1", "203.0.113.77"
FAMILY = "family.test"
"""Every domain that reports are looked at for lies below it."""
SEALER = "sealer.test"

BASE: dict[str, object] = {
    "verification.enabled": True,
    "verification.x_header": True,
    "verification.actions.temporary_error": "defer",
    "identity.authserv_id": "mx.corp.example",
    **REPORTING,
    "reports.gate": "all",
}
_members = count(1)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> Iterator[Gateway]:
    """One worker, so that a save is soon in force; its filter fails on messages that wish it."""
    with Gateway(
        tmp_path_factory.mktemp("gateway"),
        inside_domains=(INSIDE,),
        page=False,
        workers=1,
        filter_module="tests.filter.launcher",
    ) as running:
        yield running


# ---- what can be looked at ------------------------------------------------------


@dataclass
class World:
    """What an outsider and the administrator can see of the gateway."""

    gateway: Gateway
    post: Post
    owner: Owner

    def domain(self, tags: str | None = "p=reject") -> str:
        return self.owner.domain(tags)

    def fate(self, letter: Letter) -> str:
        return self.post.one(letter).fate.value

    def report(self) -> "Report":
        """A report on one message of a domain that nobody has seen before."""
        domain = f"m{next(_members)}.{FAMILY}"
        self.owner.zone.txt(f"_dmarc.{domain}", f"v=DMARC1; p=none; rua=mailto:d@{domain}")
        self.post.one(spoof(domain))
        now, store = datetime.now(UTC), self.gateway.store
        build_day(store, now.date(), now=now, until=now)
        listener = ("127.0.0.1", self.gateway.postfix.config.report_port)
        send_pending(store, nameserver=self.gateway.nameserver.address, listener=listener)
        with store.read() as connection:
            jobs = [job for job in reports.jobs(connection, 1000) if job.policy_domain == domain]
        if not jobs:
            return Report("none")
        if jobs[0].status is not JobStatus.SENT:
            return Report(f"{jobs[0].status}: {jobs[0].reason}")
        [sent] = self.gateway.outside.wait_until(
            lambda m: m.recipient == f"d@{domain}", f"the report to {domain}", seconds=30
        )
        metadata = read_mail(sent.octets)["report_metadata"]
        return Report("sent", metadata, sent.texts("From")[0], form_of(sent.octets), sent.return_path)


@dataclass(frozen=True)
class Report:
    fate: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    author: str = ""
    """Its From field."""
    form: str = ""
    return_path: str = ""

    @property
    def bounces_to(self) -> str:
        """The domain that its bounces go to."""
        return self.return_path.rpartition("@")[2]

    @property
    def organization(self) -> str:
        name: str = self.metadata["org_name"]
        return name

    @property
    def addresses(self) -> str:
        """Whom the report and its mail are from."""
        address = parseaddr(self.author)[1]
        return f"{self.metadata['org_email']}, {address}"

    @property
    def contact(self) -> str:
        return self.metadata["org_extra_contact_info"] or ""


def form_of(octets: bytes) -> str:
    """Which schema the attached report is written for."""
    [attached] = message_from_bytes(octets, policy=default).iter_attachments()
    return "rfc9990" if NAMESPACE.encode() in gzip.decompress(attached.get_content()) else "legacy"


def of_the_day(world: World) -> str:
    return world.report().fate


Look = Callable[[World], str]


def spoof_of(tags: str | None) -> Look:
    """What becomes of a message that claims a domain whose record has these *tags*."""
    return lambda world: world.fate(spoof(world.domain(tags)))


def spoof_from(client: str) -> Look:
    return lambda world: world.fate(Letter(mail(f"a@{world.domain()}"), client_ip=client))


def of_somebody_signed_in(world: World) -> str:
    return world.fate(Letter(mail(f"a@{world.domain()}"), login="anna"))


def of_a_listed_domain(world: World) -> str:
    world.owner.zone.txt("_dmarc.extra.test", "v=DMARC1; p=reject")
    return world.fate(spoof("extra.test"))


def silent(world: World) -> str:
    """A domain whose policy the DNS does not tell now."""
    domain = world.domain()
    world.owner.zone.misbehave(f"_dmarc.{domain}", Behaviour.SERVFAIL)
    return domain


def without_from(world: World) -> str:
    return world.fate(Letter(mail("a@client.example").replace(b"From:", b"X-From:")))


def of_a_list(world: World) -> str:
    return world.fate(spoof(world.domain(), "List-Id: <list.test>"))


def x_headers(world: World) -> str:
    copy = world.post.one(spoof(world.domain("p=none"))).copy
    return ", ".join(name for name in ("X-DMARC-Result", "X-Ours") if copy.texts(name))


def told(world: World, domain: str) -> str:
    """What the client is told, without what differs from message to message."""
    text = world.post.one(spoof(domain)).reply.text.replace(domain, "DOMAIN")
    return re.sub(r"\b[0-9a-f]{12}\b", "ID", text)


def that_the_filter_fails_on(world: World) -> str:
    letter = Letter(mail(f"a@{world.domain()}"), mail_from="error-decided@faults.example")
    return world.fate(letter)


def signed_in_part(world: World) -> str:
    domain = world.domain()
    octets = signed(
        world.owner.key, mail(f"a@{domain}"), domain=domain, selector=SELECTOR, names=("from",), length=True
    )
    return world.fate(Letter(octets + b"More\r\n"))


def signed_under_a_second_subject(world: World) -> str:
    domain = world.domain()
    return world.fate(Letter(b"Subject: y\r\n" + world.owner.signed(mail(f"a@{domain}"), domain)))


def signed_with_2048_bits(world: World) -> str:
    domain = world.domain()
    return world.fate(Letter(world.owner.signed(mail(f"a@{domain}"), domain)))


def sealed(sets: int) -> Look:
    """A message that passed before it went through *sets* hands of one sealer."""

    def look(world: World) -> str:
        domain = world.domain()
        sealer = Sealer(world.owner.key, SEALER, SELECTOR)
        world.owner.authenticate(SEALER)
        octets = mail(f"a@{domain}")
        for _ in range(sets):
            octets = with_set(octets, sealer, results=f"arc=pass; dmarc=pass header.from={domain}")
        return world.fate(Letter(octets))

    return look


def relayed(world: World) -> str:
    domain = world.domain()
    hop = (
        f"Received: from a (unknown [{OWN}])\r\n\tby b (Postfix) with ESMTP id 4X;"
        " Mon, 23 Nov 2026 14:00:00 +0000"
    )
    return world.fate(Letter(mail(f"a@{domain}", hop), mail_from=f"a@{domain}", client_ip=RELAY))


def our_name(world: World) -> str:
    return world.post.one(spoof(world.domain("p=none"))).results.partition(";")[0]


def kept_for_reports(world: World) -> str:
    domain = world.domain("p=none; rua=mailto:r@owner.test")
    world.post.one(spoof(domain))
    return f"{len(report_rows(world.gateway, domain))} rows"


def weekly_summary(world: World) -> str:
    """Whom it arrives at, once Postfix has delivered it."""
    store, now = world.gateway.store, datetime.now(UTC)
    send_due_digest(read_node(world.gateway.node_file), store, now=now)
    with store.read() as connection:
        if last_run.is_due(connection, "digest", now - timedelta(days=7), now):
            return "nobody"
    [sent] = world.gateway.outside.wait_until(
        lambda message: any("summary of" in subject for subject in message.texts("Subject")),
        "the weekly summary",
        seconds=30,
    )
    return sent.recipient


def recipients_domain(world: World) -> str:
    """As the reports on a message would name it."""
    domain = world.domain("p=none; rua=mailto:r@owner.test")
    world.post.one(spoof(domain))
    [(row, _)] = report_rows(world.gateway, domain)
    return row.envelope_to or "not named"


def failure_reports(messages: int) -> Look:
    """How many mails say that these forgeries of one domain failed."""
    return lambda world: f"{len(failure_mails(world.gateway, world.post, messages=messages)[1])} mails"


def subject_of_a_failure_report(world: World) -> str:
    domain, [sent] = failure_mails(world.gateway, world.post)
    return sent.texts("Subject")[0].replace(domain, "DOMAIN")


def switching_reports_on(world: World) -> str:
    """What the page and the command line say to it; nothing stays saved."""
    try:
        with world.gateway.store.begin() as connection:
            attempt = connection.begin_nested()
            before = store_settings.current(connection)
            wanted = replaced(before.settings, {"reports.enabled": True})
            store_settings.save(connection, wanted, based_on=before.number, author="a test")
            attempt.rollback()
    except InvalidSettings as refused:
        return "refused, because of " + ", ".join(problem.field for problem in refused.problems)
    return "saved"


# ---- each setting ---------------------------------------------------------------


@dataclass(frozen=True)
class Leaf:
    """A setting, another *value* for it, and what is seen *before* and *after* it has that."""

    name: str
    value: object
    look: Look
    before: str
    after: str
    base: Mapping[str, object] = field(default_factory=dict)
    """What must be set beside ``BASE`` for the effect to be seen."""


LISTED = {"verification.scope": "listed", "verification.domains": ["other.test"]}
GATE = {"reports.gate": "listed"}
FAILURES = {"reports.failure_enabled": True}
SEALERS = {"network.trusted_sealers": [SEALER]}
NOT_LISTED = "refused: not on the list of domains always reported to"

LEAVES = (
    Leaf("verification.enabled", False, spoof_of("p=reject"), "refused", "delivered"),
    Leaf("verification.mode", "monitor", spoof_of("p=reject"), "refused", "delivered"),
    Leaf("verification.skip_authenticated", False, of_somebody_signed_in, "delivered", "refused"),
    Leaf("verification.exceptions", [EXEMPT], spoof_from(EXEMPT), "refused", "delivered"),
    Leaf("verification.actions.none", "quarantine", spoof_of("p=none"), "delivered", "quarantined"),
    Leaf("verification.actions.quarantine", "reject", spoof_of("p=quarantine"), "quarantined", "refused"),
    Leaf("verification.actions.reject", "deliver", spoof_of("p=reject"), "refused", "delivered"),
    Leaf("verification.actions.no_record", "reject", spoof_of(None), "delivered", "refused"),
    Leaf(
        "verification.actions.temporary_error",
        "deliver",
        lambda world: world.fate(spoof(silent(world))),
        "deferred",
        "delivered",
    ),
    Leaf("verification.actions.unusable_from", "reject", without_from, "quarantined", "refused"),
    Leaf("verification.actions.soften_indirect", False, of_a_list, "quarantined", "refused"),
    Leaf("verification.x_header", False, x_headers, "X-DMARC-Result", ""),
    Leaf("verification.x_header_name", "X-Ours", x_headers, "X-DMARC-Result", "X-Ours"),
    Leaf(
        "verification.reject_text",
        "No: %{id} claims %{domain}",
        lambda world: told(world, world.domain()),
        "5.7.26 Refused by DMARC: DOMAIN does not vouch for this message (id ID)",
        "5.7.26 No: ID claims DOMAIN",
    ),
    Leaf(
        "verification.defer_text",
        "Later: %{id} of %{domain}",
        lambda world: told(world, silent(world)),
        "4.7.0 DMARC of DOMAIN cannot be checked now, try again later (id ID)",
        "4.7.0 Later: ID of DOMAIN",
    ),
    Leaf("verification.engine_failure", "deliver", that_the_filter_fails_on, "deferred", "delivered"),
    Leaf("signatures.partial_body_counts", True, signed_in_part, "quarantined", "delivered"),
    Leaf(
        "signatures.unsigned_duplicates_count", True, signed_under_a_second_subject, "quarantined", "delivered"
    ),
    Leaf("signatures.min_rsa_bits", 4096, signed_with_2048_bits, "delivered", "quarantined"),
    Leaf("network.internal", [INTERNAL], spoof_from(INTERNAL), "refused", "delivered"),
    Leaf("network.known_hosts", [RELAY], relayed, "refused", "delivered"),
    Leaf("network.trusted_forwarders", [FORWARDER], spoof_from(FORWARDER), "refused", "quarantined"),
    Leaf("network.trusted_sealers", [SEALER], sealed(1), "quarantined", "delivered"),
    Leaf("identity.authserv_id", "other.example", our_name, "mx.corp.example", "other.example"),
    Leaf("identity.protected_domains", [f"*.{FAMILY}"], of_the_day, "sent", "refused: our own domain"),
    Leaf("reports.enabled", False, of_the_day, "sent", "none"),
    Leaf("reports.organization", "Other", lambda world: world.report().organization, "Corp", "Other"),
    Leaf(
        "reports.address",
        "d@other.example",
        lambda world: world.report().addresses,
        "dmarc@corp.example, dmarc@corp.example",
        "d@other.example, d@other.example",
    ),
    Leaf("reports.contact", "Ask Ann", lambda world: world.report().contact, "", "Ask Ann"),
    Leaf("reports.gate", "listed", of_the_day, "sent", NOT_LISTED),
    Leaf(
        "reports.destinations_per_day",
        0,
        of_the_day,
        "sent",
        "refused: one of 1 too many: no more than 0 reports may be sent on a day",
    ),
    Leaf(
        "reports.new_destinations_per_day",
        0,
        of_the_day,
        "sent",
        "sending: waits: 0 addresses that never had a report from us got one today, and no more may; the others follow "
        "tomorrow",
    ),
    Leaf(
        "reports.denied_domains",
        [f"*.{FAMILY}"],
        of_the_day,
        "sent",
        "refused: on the list of domains never reported to",
    ),
    Leaf("reports.allowed_domains", [f"*.{FAMILY}"], of_the_day, NOT_LISTED, "sent", GATE),
    Leaf("reports.format", "legacy", lambda world: world.report().form, "rfc9990", "legacy"),
    Leaf(
        "reports.legacy_domains", [f"*.{FAMILY}"], lambda world: world.report().form, "rfc9990", "legacy"
    ),
    Leaf(
        "reports.bounce_domain",
        "b.corp.example",
        lambda world: world.report().bounces_to,
        "corp.example",
        "b.corp.example",
    ),
    Leaf("reports.recipient_domain", False, recipients_domain, INSIDE, "not named"),
    Leaf("reports.digest_address", "boss@owner.test", weekly_summary, "nobody", "boss@owner.test"),
    Leaf("reports.failure_enabled", True, failure_reports(1), "0 mails", "1 mails"),
    Leaf(
        "reports.failure_redaction",
        False,
        subject_of_a_failure_report,
        "DMARC failure report about mail of DOMAIN",
        "FW: x",
        FAILURES,
    ),
    Leaf("reports.failure_per_destination", 2, failure_reports(3), "1 mails", "2 mails", FAILURES),
    Leaf("reports.failure_per_day", 0, failure_reports(1), "1 mails", "0 mails", FAILURES),
    Leaf("reports.collect_only", True, kept_for_reports, "0 rows", "1 rows", {"reports.enabled": False}),
    Leaf(
        "reports.readiness_override",
        "",
        switching_reports_on,
        "saved",
        "refused, because of reports.readiness_override",
        {"reports.enabled": False},
    ),
    Leaf("verification.scope", "listed", spoof_of("p=reject"), "refused", "delivered", {**LISTED, "verification.scope": "all"}),
    Leaf("verification.domains", ["extra.test"], of_a_listed_domain, "delivered", "refused", LISTED),
    Leaf("signatures.max_arc_sets", 1, sealed(2), "delivered", "quarantined", SEALERS),
)  # fmt: skip


@pytest.fixture(scope="module")
def world(gateway: Gateway, post: Post, owner: Owner) -> World:
    return World(gateway, post, owner)


@pytest.fixture(scope="module")
def seen_before(world: World) -> Callable[[Leaf], str]:
    """What is seen while the setting has its value of the base; all that share a base are looked at together."""
    seen: dict[str, str | Exception] = {}

    def of(leaf: Leaf) -> str:
        if leaf.name not in seen:
            put_in_force(world.gateway, {**BASE, **leaf.base})
            for other in LEAVES:
                if other.base == leaf.base:
                    seen[other.name] = attempted(other, world)
        found = seen[leaf.name]
        if isinstance(found, Exception):
            raise found
        return found

    return of


def attempted(leaf: Leaf, world: World) -> str | Exception:
    try:
        return leaf.look(world)
    except Exception as error:  # noqa: BLE001  raised where this setting's test asks
        return error


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.name)
def test_pain_24_changing_the_setting_alone_is_seen(
    world: World, seen_before: Callable[[Leaf], str], leaf: Leaf
) -> None:
    before = seen_before(leaf)

    put_in_force(world.gateway, {**BASE, **leaf.base, leaf.name: leaf.value})
    after = leaf.look(world)

    assert (before, after) == (leaf.before, leaf.after)
    assert before != after


def test_pain_24_no_setting_is_left_out() -> None:
    observed = {*(leaf.name for leaf in LEAVES), *KEPT}

    assert SETTINGS.keys() - observed == set()
    assert observed - SETTINGS.keys() == set()
