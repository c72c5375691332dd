"""Mail of every sort that reports count or leave out, and the records that each message is to have in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice

from appliance.lab.gateway import Gateway
from appliance.lab.nameserver import Behaviour, Zone
from appliance.lab.smtp import Reply, Stage, send_message
from reporting.return_path import return_paths
from tests.checks.mails import SigningKey, new_rsa_key, signed
from tests.system.conftest import INSIDE
from tests.system.mixed_mail import EXEMPT, GOOD, Kind, Mail

REPORT_ADDRESS = f"dmarc@{INSIDE}"
RELAY, COLLEAGUE, SUBMITTER = "172.16.0.9", "10.1.2.3", "203.0.113.77"
EVALUATED = "192.0.2.98"
UNSEEN = (EXEMPT, RELAY, COLLEAGUE, SUBMITTER)
"""Addresses that no report may name (T48): of who is skipped, who is inside, who signed in."""
PERSON = "hidden-person"
"""In every local part and name: nothing of it may be in a report or what is kept for one (T27)."""
STRANGERS = tuple(f"198.51.100.{n}" for n in range(1, 17)) + tuple(f"2001:db8::{n:x}" for n in range(9, 17))

_HELO = "client.example"


@dataclass(frozen=True, slots=True)
class Row:
    """A record of a report, without its count."""

    policy_domain: str
    disposition: str
    header_from: str
    source_ip: str = ""
    """Of a ``Sort``: whichever client sends it."""
    dkim: str = "fail"
    spf: str = "fail"
    reasons: tuple[tuple[str, str], ...] = ()
    envelope_to: str = INSIDE
    envelope_from: str = "stranger.test"
    signatures: tuple[tuple[str, str, str], ...] = ()
    """Domain, selector, result."""
    spf_domain: str = "stranger.test"
    spf_result: str = "fail"


@dataclass(frozen=True, slots=True)
class Sort(Kind):
    """``{number}`` in domains and addresses is the message's."""

    rows: tuple[str, ...] = ()
    code: int = 250
    """Of the last reply that its sender gets."""
    reported: tuple[Row, ...] = ()
    mail_from: str = f"{PERSON}@stranger.test"
    recipients: tuple[str, ...] = (f"{PERSON}-{{number}}@{INSIDE}",)
    clients: tuple[str, ...] = STRANGERS
    relayed: str = ""
    """The host that hands it on to us, and says from whom."""
    login: str = ""
    late: str = ""
    """The domain whose DNS fails until the message has been put off once."""
    key: SigningKey | None = None
    signer: str = ""


def sorts(run: str, gateway: Gateway) -> list[Sort]:
    """All of them, about domains of this *run* alone, which are laid out."""
    names = {
        name: f"{name}-{run}.test"
        for name in ("pass", "signed", "none", "quarantine", "reject", "tested", "late", "quiet", "aside")
    }
    key = new_rsa_key(1024)
    _lay_out(gateway.zone, names, key)
    return [
        _plain("pass", names["pass"], "pass", spf=names["pass"]),
        _signed(names["signed"], key),
        *_failing(names),
        *_several(names),
        _late(names["late"]),
        *_uncounted(names, _bounce_address(gateway)),
    ]


def _plain(name: str, domain: str, disposition: str, *, spf: str = "", code: int = 250) -> Sort:
    """Of one author domain; with *spf* that domain authorizes the client, else nobody does."""
    row = Row(domain, disposition, domain)
    sort = Sort(name, f"{PERSON}@{domain}", code=code, reported=(row,))
    if not spf:
        return sort
    passed = replace(row, spf="pass", spf_result="pass", spf_domain=spf, envelope_from=spf)
    return replace(sort, mail_from=f"{PERSON}@{spf}", clients=(GOOD,), reported=(passed,))


def _signed(domain: str, key: SigningKey) -> Sort:
    sort = _plain("signed", domain, "none")
    row = replace(sort.reported[0], dkim="pass", signatures=((domain, "s", "pass"),))
    return replace(sort, key=key, signer=domain, reported=(row,))


def _failing(names: dict[str, str]) -> Iterable[Sort]:
    none = _plain("none", names["none"], "none")
    yield none
    yield _plain("quarantine", names["quarantine"], "quarantine")
    reject = _plain("reject", names["reject"], "reject", code=550)
    yield reject
    below = f"news.{names['reject']}"
    yield Sort("subdomain", f"{PERSON}@{below}", reported=(Row(names["reject"], "quarantine", below),))
    tested = replace(
        Row(names["tested"], "quarantine", names["tested"]), reasons=(("policy_test_mode", "t=y"),)
    )
    yield Sort("tested", f"{PERSON}@{names['tested']}", reported=(tested,))
    evaluated = replace(reject.reported[0], disposition="none", reasons=(("local_policy", "exception list"),))
    yield replace(reject, name="evaluated", code=250, clients=(EVALUATED,), reported=(evaluated,))
    null = replace(none.reported[0], envelope_from="", spf_domain=_HELO, spf_result="none")
    yield replace(none, name="null sender", mail_from="", reported=(null,))
    yield replace(none, name="relayed", relayed=RELAY)
    yield replace(none, name="also to us", recipients=(REPORT_ADDRESS, *none.recipients))


def _several(names: dict[str, str]) -> Iterable[Sort]:
    """Each author domain's owner hears of the message; what was done with it was the strictest's wish."""
    for strict, code in (("quarantine", 250), ("reject", 550)):
        mild = replace(
            Row(names["none"], strict, names["none"]), reasons=(("local_policy", "several author domains"),)
        )
        author = f"{PERSON}@{names['none']}, {PERSON}@{names[strict]}"
        rows = (mild, Row(names[strict], strict, names[strict]))
        yield Sort(f"none and {strict}", author, code=code, reported=rows)


def _late(domain: str) -> Sort:
    name = f"{{number}}.{domain}"
    sort = _plain("late", domain, "pass", spf=name)
    return replace(sort, late=name)


def _uncounted(names: dict[str, str], bounce_address: str) -> Iterable[Sort]:
    """What nobody hears of; the domain *aside* asks for reports, and is in no other mail."""
    aside = f"{PERSON}@{names['aside']}"
    yield Sort("no record", f"{PERSON}@plain.test")
    yield Sort("no rua", f"{PERSON}@{names['quiet']}", code=550)
    yield Sort("unusable From", PERSON)
    yield Sort("exception", aside, clients=(EXEMPT,))
    yield Sort("signed in", aside, clients=(SUBMITTER,), login=PERSON)
    yield Sort("internal", aside, clients=(COLLEAGUE,))
    yield Sort("relayed internal", aside, clients=(COLLEAGUE,), relayed=RELAY)
    yield Sort("from nobody knows where", aside, clients=(RELAY,))
    yield Sort("to the report address", aside, recipients=(REPORT_ADDRESS,))
    yield Sort("to a bounce address", aside, mail_from="", recipients=(bounce_address,))
    yield Sort("not for us", aside, code=554, recipients=(f"{PERSON}@elsewhere.test",))


def _bounce_address(gateway: Gateway) -> str:
    return return_paths(gateway.store, gateway.settings()).probe(REPORT_ADDRESS, "0")


def _lay_out(zone: Zone, names: dict[str, str], key: SigningKey) -> None:
    policies = {
        "pass": "p=reject",
        "signed": "p=none",
        "none": "p=none",
        "quarantine": "p=quarantine",
        "reject": "p=reject; sp=quarantine",
        "tested": "p=reject; t=y",
        "late": "p=reject",
        "aside": "p=none",
    }
    for name, policy in policies.items():
        zone.txt(f"_dmarc.{names[name]}", f"v=DMARC1; {policy}; rua=mailto:{PERSON}@{names[name]}")
    zone.txt(f"_dmarc.{names['quiet']}", "v=DMARC1; p=reject")
    zone.txt(names["pass"], f"v=spf1 ip4:{GOOD} -all")
    zone.txt(f"s._domainkey.{names['signed']}", key.record)
    zone.txt("stranger.test", "v=spf1 -all")
    zone.a("plain.test", GOOD)


@dataclass(slots=True)
class Posted(Mail):
    """One message of a sort on its way, and all replies to it."""

    kind: Sort
    client_ip: str = field(default="", kw_only=True)
    """Whose the message is, before any relay."""

    @property
    def octets(self) -> bytes:
        received = ""
        if self.kind.relayed:
            received = (
                f"Received: from {_HELO} (unknown [{self.client_ip}])\r\n"
                "\tby relay (Postfix) with ESMTP id 4X\r\n\tfor <u@x>; Mon, 23 Nov 2026 14:00:00 +0000\r\n"
            )
        octets = (
            f"{received}From: {self.kind.author}\r\nTo: {PERSON}@{INSIDE}\r\n"
            f"Subject: {PERSON}\r\nMessage-ID: {self.message_id}\r\n\r\nNumber {self.number}\r\n"
        ).encode()
        if self.kind.key is None:
            return octets
        return signed(
            self.kind.key, octets, domain=self.kind.signer, selector="s", names=("from", "to", "subject")
        )

    @property
    def rows(self) -> tuple[Row, ...]:
        """What the reports are to say of it."""
        return tuple(
            replace(
                row,
                source_ip=self.client_ip,
                envelope_from=self._named(row.envelope_from),
                spf_domain=self._named(row.spf_domain),
            )
            for row in self.kind.reported
        )

    @property
    def deferred(self) -> int:
        """How often we put it off for what the DNS said."""
        return sum(reply.code == 451 and "cannot be checked now" in reply.text for reply in self.replies)

    @property
    def interrupted(self) -> int:
        """How often Postfix lost the filter when it had the whole message: only then it may have been counted."""
        lost = sum(reply.stage is Stage.MESSAGE and 400 <= reply.code < 500 for reply in self.replies)
        return lost - self.deferred

    def prepare(self, zone: Zone) -> None:
        if self.kind.late:
            zone.txt(self._named(self.kind.late), f"v=spf1 ip4:{GOOD} -all")
            zone.misbehave(self._named(self.kind.late), Behaviour.SERVFAIL)

    def send(self, gateway: Gateway) -> Reply:
        """Once; when it was put off for trouble in the DNS, that is over afterwards."""
        reply = send_message(
            gateway.postfix.config.smtp_port,
            mail_from=self._named(self.kind.mail_from),
            rcpt_to=[self._named(recipient) for recipient in self.kind.recipients],
            octets=self.octets,
            helo=_HELO,
            client_ip=self.kind.relayed or self.client_ip,
            login=self.kind.login,
        )
        self.replies.append(reply)
        if self.kind.late and self.deferred:
            gateway.zone.behave(self._named(self.kind.late))
        return reply

    def _named(self, text: str) -> str:
        return text.replace("{number}", str(self.number))


def posts(wanted: Sequence[Sort], number: int) -> list[Posted]:
    """So many messages of all sorts in turn, each sort from all of its clients."""
    return [
        Posted(n, sort, client_ip=sort.clients[n // len(wanted) % len(sort.clients)])
        for n, sort in enumerate(islice(cycle(wanted), number), 1)
    ]
