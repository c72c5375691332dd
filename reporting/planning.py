"""Plan the aggregate reports of a UTC day: one for each policy domain and policy that the gate lets through."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice

from appliance.settings import Gate
from appliance.store import facts, report_building, report_facts, reports
from appliance.store import settings as stored_settings
from appliance.store.engine import Store
from appliance.store.facts import PolicyGroup
from appliance.store.reports import JobStatus, NewJob
from reporting.gate import HISTORY_DAYS, GateDecision, ReportGate
from reporting.period import DAY_SECONDS, Period

PLANNED_AT_ONCE = 100  # while they are written down, the filter waits (on SQLite)


@dataclass(frozen=True, slots=True)
class Planned:
    """What was found to report on one day."""

    new: int
    """Reports that will be built."""
    refused: int
    """By the gate; each with its reason in the store."""
    uncounted: int
    """Messages of policies that were first seen when the day had no room for them: not even who they are is kept."""


def new_report_id() -> str:
    """28 characters of 0-9 and a-f: fit for the subject, the file name and the XML alike (AGG-40)."""
    return secrets.token_hex(14)


def plan_day(store: Store, period: Period, now: datetime, *, gate: Gate | None = None) -> Planned:
    """Make a job for each policy group of *period*, and of what is left of it where a part is planned already.

    Nothing while reports are off. *gate* stands in for the setting.
    """
    with store.read() as connection:
        settings = stored_settings.current(connection).settings
        groups = facts.policy_groups(connection, period.begin, period.end)
        groups += report_facts.folded_groups(connection, period.begin, period.end)
        uncounted = report_facts.folded_unknown(connection, period.begin, period.end)
    if not settings.reports.enabled:
        return Planned(0, 0, 0)
    doorkeeper = ReportGate(settings, gate=gate)
    new = refused = 0
    remaining = iter(groups)
    while some := list(islice(remaining, PLANNED_AT_ONCE)):
        decided = list(_decided(store, some, period, doorkeeper))
        kept = _kept(store, decided, now)
        new += sum(status is JobStatus.PENDING for status in kept)
        refused += sum(status is JobStatus.REFUSED for status in kept)
    return Planned(new, refused, uncounted)


def decisions(
    store: Store, groups: Sequence[PolicyGroup], period: Period, doorkeeper: ReportGate
) -> Iterator[tuple[PolicyGroup, GateDecision]]:
    """Which of *groups* earn a report on *period*, by what was counted of them."""
    since = period.begin - (HISTORY_DAYS - 1) * DAY_SECONDS
    with store.read() as connection:
        for group in groups:
            domain = group.policy_domain
            yield (
                group,
                doorkeeper.decide(
                    domain,
                    causes_report=partial(
                        facts.causes_report, connection, group, period.begin // DAY_SECONDS
                    ),
                    days_seen=partial(facts.days_seen, connection, domain, since, period.end),
                    accepted=partial(facts.accepted_since, connection, domain, since),
                ),
            )


@dataclass(frozen=True, slots=True)
class _Decided:
    new: NewJob
    status: JobStatus
    reason: str


def _decided(
    store: Store, groups: Sequence[PolicyGroup], period: Period, doorkeeper: ReportGate
) -> Iterator[_Decided]:
    """The gate's decision on each of *groups* for which something is left to plan."""
    left = _left(store, groups, period)
    wanted = [group for group in groups if group.key in left]
    for group, decision in decisions(store, wanted, period, doorkeeper):
        status = JobStatus.PENDING if decision.allowed else JobStatus.REFUSED
        yield _Decided(new_job(group.policy_domain, group.key, left[group.key]), status, decision.reason)


def _left(store: Store, groups: Sequence[PolicyGroup], period: Period) -> dict[str, Period]:
    """What of *period* is not planned yet, by the key of each of *groups* of which there is such a part."""
    found = {}
    with store.read() as connection:
        for group in groups:
            end = report_building.planned_until(connection, period.day, group.policy_domain, group.key)
            left = period if end is None else period.after(end)
            if left and (end is None or report_facts.any_row(connection, group.key, left.begin, left.end)):
                found[group.key] = left
    return found


def _kept(store: Store, decided: Sequence[_Decided], now: datetime) -> list[JobStatus]:
    """Keep what was *decided*; the status of each that nobody else planned in the meantime."""
    kept = []
    with store.begin() as connection:
        for one in decided:
            job = reports.plan(connection, one.new, now)
            if job.report_id == one.new.report_id:
                reports.set_status(connection, job.id, one.status, now, reason=one.reason)
                kept.append(one.status)
    return kept


def new_job(policy_domain: str, policy_key: str, period: Period) -> NewJob:
    return NewJob(
        period.day, policy_domain, policy_key, period.begin, period.end, new_report_id(), period.part
    )
