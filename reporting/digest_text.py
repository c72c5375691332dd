"""What the weekly summary says: figures from the store and the node, put into words."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from appliance.dmarc.evaluation import DmarcWord
from appliance.node import Node
from appliance.policy import Outcome
from appliance.settings import ExceptionRecord, Settings
from appliance.settings.lists import shown
from appliance.store import exceptions, nodes, report_copies, summary
from appliance.store.engine import Store
from appliance.store.nodes import Count
from appliance.store.reports import JobStatus
from appliance.store.statistics import top_author_domains
from appliance.store.summary import HeldOnNode
from reporting.texts import LANGUAGE, render

MOST_LISTED = 10
MOST_EVENTS = 1_000_000
NEARLY_FULL_PERCENT = 80

_OUTCOMES = (Outcome.DELIVER, Outcome.QUARANTINE, Outcome.REJECT, Outcome.DEFER)
_ENDED = (JobStatus.SENT, JobStatus.FAILED, JobStatus.REFUSED, JobStatus.DISCARDED)
_UNVERIFIED = ""


@dataclass(frozen=True, slots=True)
class Week:
    """``[since, until)``, from midnight to midnight UTC."""

    since: datetime
    until: datetime

    @property
    def first_day(self) -> str:
        return f"{self.since:%Y-%m-%d}"

    @property
    def last_day(self) -> str:
        return f"{self.until - timedelta(days=1):%Y-%m-%d}"


def digest_text(
    node: Node, store: Store, settings: Settings, week: Week, now: datetime, *, language: str = LANGUAGE
) -> str:
    """The summary of *week*; what stands now, such as the quarantine, is told as of *now*."""
    return render(
        "digest.txt",
        language=language,
        begin=week.first_day,
        end=week.last_day,
        **_messages(store, week),
        **_quarantine(node, store, settings, now),
        **_reports(store, settings, week, now),
        **_exceptions(store, settings, now),
        troubles=_troubles(store, week),
    )


def _messages(store: Store, week: Week) -> Mapping[str, object]:
    with store.read() as connection:
        counted = summary.messages_by_result(connection, week.since, week.until)
        top = top_author_domains(
            connection,
            week.since,
            week.until,
            limit=MOST_LISTED,
            most_events=MOST_EVENTS,
            by_failures=True,
        )
    seen = {result for result, _ in counted}
    return {
        "outcomes": [outcome.value for outcome in _OUTCOMES],
        "results": [
            (result, [counted[result, outcome.value] for outcome in _OUTCOMES])
            for result in (*DmarcWord, _UNVERIFIED)
            if result in seen
        ],
        "failing": top.domains,
        "counted_since": f"{top.since:%Y-%m-%d %H:%M}" if top.since > week.since else "",
    }


def _quarantine(node: Node, store: Store, settings: Settings, now: datetime) -> Mapping[str, object]:
    kept = settings.retention
    with store.read() as connection:
        held = summary.quarantined(connection)
        next_week = now + timedelta(days=7) - timedelta(days=kept.quarantine_days)
        expiring = summary.held_before(connection, next_week)
    shares = {one.node: _percent(node, one, kept.quarantine_percent) for one in held}
    return {
        "held": sum(one.messages for one in held),
        "expiring": expiring,
        "nodes": [{"node": one.node, "size": _size(one.octets), "percent": shares[one.node]} for one in held],
        "nearly_full": any(share is not None and share >= NEARLY_FULL_PERCENT for share in shares.values()),
    }


def _size(octets: int) -> str:
    return f"{octets / 1e6:.1f} MB" if octets >= 100_000 else f"{octets / 1e3:.1f} kB"


def _percent(node: Node, held: HeldOnNode, share_of_disk: int) -> int | None:
    """Of what the quarantine may take; ``None`` for another node's, whose disk we don't see."""
    if held.node != node.name:
        return None
    there = next(path for path in (node.quarantine, *node.quarantine.parents) if path.exists())
    limit = shutil.disk_usage(there).total * share_of_disk // 100
    return held.octets * 100 // max(limit, 1)


def _reports(store: Store, settings: Settings, week: Week, now: datetime) -> Mapping[str, object]:
    with store.read() as connection:
        figures = summary.report_figures(connection, week.since, week.until)
        days = report_copies.days_of_sending(connection, week.since)
        suppressed = summary.suppression_figures(connection, now)
    sending = [day for midnight, day in days.items() if midnight < week.until]
    by_number = sorted(suppressed.by_domain.items(), key=lambda item: (-item[1], item[0]))
    return {
        "reports_enabled": settings.reports.enabled,
        "failure_enabled": settings.reports.failure_enabled or bool(figures.failure),
        "reports": [
            (status.value, figures.aggregate.get(status, 0), figures.failure.get(status, 0))
            for status in _ENDED
        ],
        "failed": figures.aggregate.get(JobStatus.FAILED, 0),
        "bounced": figures.bounced,
        "capped": sum(day.refused for day in sending),
        "put_off": sum(day.waiting for day in sending),
        "waiting": figures.waiting,
        "suppressed": suppressed.until_day + suppressed.until_edited,
        "until_edited": suppressed.until_edited,
        "suppressed_domains": by_number[:MOST_LISTED],
        "more_suppressed_domains": len(by_number[MOST_LISTED:]),
    }


def _exceptions(store: Store, settings: Settings, now: datetime) -> Mapping[str, object]:
    with store.read() as connection:
        hits = exceptions.hits(connection)
    known, today = settings.verification.exceptions, now.date()
    expired = [one for one in known if one.until is not None and one.until < today]
    unmet = [one for one in known if one not in expired and one.key not in hits]
    return {
        "expired": _lines(expired),
        "more_expired": len(expired[MOST_LISTED:]),
        "unmet": _lines(unmet),
        "more_unmet": len(unmet[MOST_LISTED:]),
    }


def _lines(records: Sequence[ExceptionRecord]) -> list[str]:
    return [shown(replace(record, comment="")) for record in records[:MOST_LISTED]]


def _troubles(store: Store, week: Week) -> list[tuple[str, int]]:
    """What the workers that were alive in *week* or later have counted."""
    with store.read() as connection:
        alive = [one for one in nodes.list_nodes(connection) if one.seen_at >= week.since]
    counted = ((count.value, sum(one.counters.get(count.value, 0) for one in alive)) for count in Count)
    return [(count, number) for count, number in counted if number]
