"""What the administrator's weekly summary asks of the store: figures of some days, and of what stands now."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from appliance.mail.domain import domain_of
from appliance.store.quarantine import IN_QUARANTINE
from appliance.store.reports import Fate, JobStatus
from appliance.store.schema import event, failure, quarantine, report_attempt, report_job, suppression
from appliance.store.values import to_micros

_AT_ONCE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class HeldOnNode:
    """One node's quarantine."""

    node: str
    messages: int
    octets: int


@dataclass(frozen=True, slots=True)
class ReportFigures:
    """What became of the reports that something was done about in some time."""

    aggregate: Mapping[JobStatus, int]
    failure: Mapping[JobStatus, int]
    bounced: int
    """Copies of aggregate reports that came back."""
    waiting: int
    """Aggregate reports that are built and not sent, now and from any time."""


@dataclass(frozen=True, slots=True)
class SuppressionFigures:
    """Addresses that get no reports now."""

    until_day: int
    until_edited: int
    by_domain: Mapping[str, int]


def messages_by_result(connection: Connection, since: datetime, until: datetime) -> Counter[tuple[str, str]]:
    """How many messages in ``[since, until)`` had each result and outcome; the result of an unverified one is ``""``.

    A message with several Author Domains counts once for each.
    """
    counted: Counter[tuple[str, str]] = Counter()
    while since < until:
        end = min(since + _AT_ONCE, until)
        found = connection.execute(
            select(event.c.result, event.c.outcome, func.count())
            .where(event.c.received_at >= to_micros(since), event.c.received_at < to_micros(end))
            .group_by(event.c.result, event.c.outcome)
        )
        counted.update({(result, outcome): messages for result, outcome, messages in found})
        since = end
    return counted


def quarantined(connection: Connection) -> list[HeldOnNode]:
    """What is in quarantine now, by node; the octets are those of all files, as long as they are kept."""
    is_held = quarantine.c.state.in_([state.value for state in IN_QUARANTINE])
    found = connection.execute(
        select(quarantine.c.node, func.count().filter(is_held), func.sum(quarantine.c.size_octets))
        .group_by(quarantine.c.node)
        .order_by(quarantine.c.node)
    )
    return [HeldOnNode(node, messages, int(octets)) for node, messages, octets in found]


def held_before(connection: Connection, before: datetime) -> int:
    """How many messages that are in quarantine now were held before then."""
    held = select(func.count()).where(
        quarantine.c.state.in_([state.value for state in IN_QUARANTINE]),
        quarantine.c.held_at < to_micros(before),
    )
    return connection.scalar(held) or 0


def report_figures(connection: Connection, since: datetime, until: datetime) -> ReportFigures:
    """Of the reports whose status changed in ``[since, until)``."""
    counted = {}
    for table in (report_job, failure):
        found = connection.execute(
            select(table.c.status, func.count())
            .where(table.c.updated_at >= to_micros(since), table.c.updated_at < to_micros(until))
            .group_by(table.c.status)
        )
        counted[table.name] = {JobStatus(status): reports for status, reports in found}
    bounced = select(func.count()).where(
        report_attempt.c.fate == Fate.BOUNCED.value,
        report_attempt.c.fate_at >= to_micros(since),
        report_attempt.c.fate_at < to_micros(until),
    )
    waiting = select(func.count()).where(
        report_job.c.status.in_([JobStatus.BUILT.value, JobStatus.SENDING.value])
    )
    return ReportFigures(
        counted[report_job.name],
        counted[failure.name],
        connection.scalar(bounced) or 0,
        connection.scalar(waiting) or 0,
    )


def suppression_figures(connection: Connection, now: datetime) -> SuppressionFigures:
    found = connection.execute(select(suppression.c.address, suppression.c.until)).all()
    in_force = [row for row in found if row.until is None or row.until > to_micros(now)]
    until_edited = sum(row.until is None for row in in_force)
    by_domain = Counter(domain_of(row.address) for row in in_force)
    return SuppressionFigures(len(in_force) - until_edited, until_edited, by_domain)
