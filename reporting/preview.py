"""What would be reported about a policy domain, where it would go, and why or why not. Sends and stores nothing."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from itertools import islice

from appliance.dmarc.discovery import LookupFailed
from appliance.dmarc.record import DmarcRecord
from appliance.resolver import Resolver
from appliance.settings import ReportForm, Settings
from appliance.store import facts, outbox, report_copies, report_facts, reports, suppression
from appliance.store import settings as stored_settings
from appliance.store.engine import Store
from appliance.store.facts import PolicyGroup, ReportRow
from appliance.store.report_copies import DayOfSending
from appliance.store.reports import ReportJob
from reporting.aggregate_xml import Origin, write_report
from reporting.attachment import Attachment
from reporting.destinations import CHECK_SECONDS, Kind, fetch_record, find_destinations, is_internal
from reporting.gate import GateDecision, ReportGate
from reporting.mailto import MAX_DESTINATIONS, InvalidUri, MailAddress, parse_mailto
from reporting.parts import LIMITS, parts_of
from reporting.period import Period, utc_day
from reporting.planning import decisions

REPORT_ID = "preview"
"""In the XML of a preview: no report ever has this one."""


class Answer(StrEnum):
    """What is known of one URI of ``rua``."""

    OWN = "same organization"
    """Nobody needs to agree."""
    AGREED = "agreed"
    REDIRECTED = "redirected"
    """Its host names other addresses of its own."""
    REFUSED = "refused"
    UNKNOWN = "not known now"
    """The DNS did not answer: that is tried again, and nothing is sent."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """One address that a report might go to."""

    address: str
    is_new: bool
    """It never got a report from us."""
    obstacle: str = ""
    """Why it gets none now; ``""`` when it does."""


@dataclass(frozen=True, slots=True)
class Target:
    """One URI of the record."""

    uri: str
    """As published: printable ASCII."""
    answer: Answer
    reason: str = ""
    receivers: tuple[Receiver, ...] = ()


@dataclass(frozen=True, slots=True)
class Targets:
    """Where reports about a policy domain go by what the DNS says now."""

    targets: tuple[Target, ...] = ()
    problem: str = ""
    """Why there are none."""
    is_temporary: bool = False

    @property
    def addresses(self) -> tuple[str, ...]:
        """Who would get a report, each once."""
        free = (one.address for target in self.targets for one in target.receivers if not one.obstacle)
        return tuple(dict.fromkeys(free))


@dataclass(frozen=True, slots=True)
class PreviewedReport:
    """One report as it would be built now."""

    group: PolicyGroup
    period: Period
    decision: GateDecision
    rows: int
    messages: int
    not_listed: int
    """Messages that were counted without a record: the day had no room for more."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be reported about *policy_domain* on *day*."""

    policy_domain: str
    day: date
    reports: tuple[PreviewedReport, ...]
    existing: tuple[ReportJob, ...]
    """Reports on that day that are there already: they are not built again."""
    reported_under: str
    """The policy domain of whose reports this one's mail would be part; ``""`` where none is known."""
    targets: Targets
    sent_today: DayOfSending
    settings: Settings

    @property
    def would_go(self) -> bool:
        """Whether anybody would get a report."""
        return any(report.decision.allowed for report in self.reports) and bool(self.targets.addresses)


def preview(
    store: Store,
    policy_domain: str,
    day: date,
    *,
    nameserver: str,
    now: datetime,
    until: datetime | None = None,
) -> Preview:
    """Ask store and DNS. *until* ends the period early, for a day that is not over; *nameserver* is ``ADDRESS:PORT``."""
    period = utc_day(day, until)
    with store.read() as connection:
        settings = stored_settings.current(connection).settings
        sent_today = report_copies.day_of_sending(connection, now)
        existing = reports.jobs(connection, 1000, day=day, domain=policy_domain)
        groups = facts.policy_groups(connection, period.begin, period.end, policy_domain=policy_domain)
        groups += report_facts.folded_groups(
            connection, period.begin, period.end, policy_domain=policy_domain
        )
    gate = ReportGate(settings)
    described = [
        report
        for group, decision in decisions(store, groups, period, gate)
        for report in _described(store, group, period, decision)
    ]
    targets = asyncio.run(_targets(policy_domain, nameserver))
    return Preview(
        policy_domain,
        day,
        tuple(described),
        tuple(existing),
        _reported_under(store, policy_domain, period) if not groups else "",
        _with_obstacles(store, targets, gate, settings, sent_today, now),
        sent_today,
        settings,
    )


def rows_of(store: Store, report: PreviewedReport, most: int) -> list[tuple[ReportRow, int]]:
    """The first *most* rows of *report*, with their counts."""
    with store.read() as connection:
        found = facts.aggregate_rows(connection, report.group, report.period.begin, report.period.end)
        with closing(found):
            return list(islice(found, most))


def xml_gz_of(
    store: Store, settings: Settings, report: PreviewedReport, form: ReportForm = ReportForm.RFC9990
) -> bytes:
    """*report* as it would be attached, checked as any; raises ``InvalidReport``."""
    ours = settings.reports
    origin = Origin(ours.organization, ours.address, ours.contact, REPORT_ID)
    attachment = Attachment(form, None)
    with store.read() as connection:
        rows = facts.aggregate_rows(connection, report.group, report.period.begin, report.period.end)
        write_report(attachment, origin, report.group, report.period, rows, not_listed=report.not_listed)
    attachment.close()
    return attachment.xml_gz


def _described(
    store: Store, group: PolicyGroup, period: Period, decision: GateDecision
) -> Iterator[PreviewedReport]:
    for part in parts_of(store, group.key, period, LIMITS.rows):
        with store.read() as connection:
            folded = facts.folded(connection, group, part.begin, part.end)
            counts = [count for _, count in facts.aggregate_rows(connection, group, part.begin, part.end)]
        yield PreviewedReport(group, part, decision, len(counts), sum(counts), folded)


def _reported_under(store: Store, domain: str, period: Period) -> str:
    labels = domain.split(".")
    with store.read() as connection:
        for at in range(1, len(labels)):
            above = ".".join(labels[at:])
            if facts.policy_groups(connection, period.begin, period.end, policy_domain=above):
                return above
    return ""


# ---- where it would go ----------------------------------------------------------


async def _targets(policy_domain: str, nameserver: str) -> Targets:
    resolver = Resolver(nameserver)
    deadline = time.monotonic() + CHECK_SECONDS
    try:
        record = await fetch_record(policy_domain, resolver, deadline)
        if record is None:
            return Targets(problem=f"there is no DMARC record at _dmarc.{policy_domain} now")
        if not record.rua:
            unusable = [problem for problem in record.problems if "rua tag" in problem]
            return Targets(problem=f"its record asks for no reports: {'; '.join(unusable) or 'no rua'}")
        asked = [
            _target(uri, address, policy_domain, record, resolver, deadline) for uri, address in _read(record)
        ]
        return Targets(tuple(await asyncio.gather(*asked)))
    except LookupFailed as failure:
        return Targets(problem=f"_dmarc.{policy_domain}: {failure}", is_temporary=True)
    finally:
        await resolver.close()


def _read(record: DmarcRecord) -> Iterator[tuple[str, MailAddress | str]]:
    """Each URI with its address, or with why it is not looked at; the last one told is one too many."""
    seen: set[MailAddress] = set()
    for uri in record.rua:
        try:
            address = parse_mailto(uri)
        except InvalidUri as error:
            yield uri, str(error)
            continue
        if address in seen:
            yield uri, "the same address again"
        elif len(seen) == MAX_DESTINATIONS:
            yield uri, f"more than {MAX_DESTINATIONS} addresses; this and all others get nothing"
            return
        else:
            seen.add(address)
            yield uri, address


async def _target(
    uri: str,
    address: MailAddress | str,
    policy_domain: str,
    record: DmarcRecord,
    resolver: Resolver,
    deadline: float,
) -> Target:
    if isinstance(address, str):
        return Target(uri, Answer.REFUSED, address)
    alone = replace(record, rua=(uri,))
    found = await find_destinations(policy_domain, alone, Kind.AGGREGATE, resolver, deadline)
    if found.postponed:
        return Target(uri, Answer.UNKNOWN, found.postponed[0])
    if not found.addresses:
        return Target(uri, Answer.REFUSED, found.refused[0])
    receivers = tuple(Receiver(str(one), is_new=False) for one in found.addresses)
    if found.addresses != (address,):
        return Target(uri, Answer.REDIRECTED, f"by {address.domain}", receivers)
    if await is_internal(policy_domain, address.domain, resolver, deadline):
        return Target(uri, Answer.OWN, "", receivers)
    return Target(uri, Answer.AGREED, f"by {policy_domain}._report._dmarc.{address.domain}", receivers)


def _with_obstacles(
    store: Store, found: Targets, gate: ReportGate, settings: Settings, today: DayOfSending, now: datetime
) -> Targets:
    """*found*, and of each address whether it is new, and what keeps reports from it on our side."""

    def looked_at(receiver: Receiver) -> Receiver:
        domain = receiver.address.rpartition("@")[2]
        with store.read() as connection:
            dead = suppression.find(connection, receiver.address, now)
            is_new = not outbox.is_known(connection, receiver.address)
        if gate.is_own(domain):
            obstacle = f"{domain} is our own domain"
        elif dead is not None:
            until = f"until {dead.until:%Y-%m-%d}" if dead.until is not None else "until somebody removes it"
            obstacle = f"on the suppression list {until}: {dead.reason}"
        else:
            obstacle = _beyond(settings, today, is_new=is_new)
        return Receiver(receiver.address, is_new, obstacle)

    targets = (replace(t, receivers=tuple(map(looked_at, t.receivers))) for t in found.targets)
    return replace(found, targets=tuple(targets))


def _beyond(settings: Settings, today: DayOfSending, *, is_new: bool) -> str:
    most, most_new = settings.reports.destinations_per_day, settings.reports.new_destinations_per_day
    if today.copies >= most:
        return (
            f"{today.copies} reports went out today; no more than {most} may (reports.destinations_per_day)"
        )
    if is_new and today.new_destinations >= most_new:
        return (
            f"it is new, and {today.new_destinations} new addresses had a report today; no more than {most_new} may "
            "(reports.new_destinations_per_day)"
        )
    return ""
