"""Events: one row for each message and Author Domain, written with what is counted of them in one transaction.

Who looks for events asks ``search``.
"""

import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select

from appliance.dmarc.evaluation import DmarcWord
from appliance.policy import Judgement, Verdict
from appliance.store import exceptions, facts
from appliance.store.batch import BatchInsert
from appliance.store.documents import (
    authentication_document,
    envelope_document,
    event_from,
    override_documents,
)
from appliance.store.records import Event, MessageRecord
from appliance.store.schema import event
from appliance.store.search import find
from appliance.store.values import MILLION, text, to_json, to_micros

__all__ = ["Event", "MessageRecord", "count", "find", "recent", "record"]

MAX_RECIPIENTS = 100  # kept with an event; a quarantined message's row has them all
HOUR = 3600

_COLUMNS = tuple(column.name for column in event.columns if column.name != "id")
_INSERT = BatchInsert(event, _COLUMNS)


def record(connection: Connection, records: Sequence[MessageRecord]) -> None:
    """Add the events of *records*, and count their facts and exceptions, in this transaction."""
    rows: list[tuple[Any, ...]] = []
    counted: dict[int, list[facts.ReportRow]] = defaultdict(list)
    for one in records:
        received_at = to_micros(one.envelope.received_at)
        rows.extend(_rows(one, received_at))
        if one.for_reports:
            hour = received_at // (HOUR * MILLION) * HOUR
            for judgement in one.verdict.judgements:
                if (row := facts.row_of(one, judgement)) is not None:
                    counted[hour].append(row)
    _INSERT.run(connection, rows)
    facts.add_hours(connection, counted)
    applied = Counter(one.exception for one in records if one.exception)
    if applied:
        newest = max(one.envelope.received_at for one in records if one.exception)
        exceptions.count_hits(connection, applied, newest)


def recent(
    connection: Connection, limit: int = 50, *, before: tuple[datetime, int] | None = None
) -> list[Event]:
    """The newest first; *before* is the ``(received_at, id)`` of the last event of the page before."""
    wanted: list[ColumnElement[bool]] = []
    if before is not None:
        at = to_micros(before[0])
        wanted = [event.c.received_at <= at, or_(event.c.received_at < at, event.c.id < before[1])]
    newest_first = event.c.received_at.desc(), event.c.id.desc()
    found = connection.execute(select(event).where(*wanted).order_by(*newest_first).limit(limit))
    return [event_from(row) for row in found.mappings()]


def count(connection: Connection, *, since: datetime | None = None, until: datetime | None = None) -> int:
    """How many events there are from *since*, up to but not including *until*."""
    wanted: list[ColumnElement[bool]] = []
    if since is not None:
        wanted.append(event.c.received_at >= to_micros(since))
    if until is not None:
        wanted.append(event.c.received_at < to_micros(until))
    return connection.scalar(select(func.count()).select_from(event).where(*wanted)) or 0


def _rows(one: MessageRecord, received_at: int) -> list[tuple[Any, ...]]:
    """In the order of ``_COLUMNS``."""
    before = (
        text(one.event_id, 12),
        text(one.node, 253),
        one.revision,
        received_at,
        text(one.envelope.queue_id, 64),
    )
    after = (
        str(one.client_ip) if one.client_ip is not None else "",
        text(one.envelope.mail_from, 320),
        text(one.header_from, 320),
        text(one.message_id, 500),
        text(one.subject, 200),
        one.size_octets,
    )
    shared = _shared_document(one)
    answers = zlib.compress(one.answers, 1) if one.answers else None
    if not one.verdict.judgements:
        return [(*before, *_unjudged(one.verdict), *after, to_json(shared), answers)]
    rows = []
    for judgement in one.verdict.judgements:
        document = to_json(shared | _judgement_document(judgement))
        rows.append((*before, *_judged(one.verdict, judgement), *after, document, answers))
        answers = None
    return rows


def _judged(verdict: Verdict, judgement: Judgement) -> tuple[str, ...]:
    evaluation = judgement.evaluation
    return (
        text(evaluation.author_domain, 253),
        evaluation.result.value,
        evaluation.policy.value if evaluation.policy else "",
        evaluation.policy_domain or "",
        verdict.disposition(judgement).value,
        verdict.outcome.value,
        judgement.row.value,
        "",
    )


def _unjudged(verdict: Verdict) -> tuple[str, ...]:
    if verdict.skip is not None:
        return "", "", "", "", "", verdict.outcome.value, verdict.row.value, verdict.skip.value
    return "", DmarcWord.PERMERROR.value, "", "", "", verdict.outcome.value, verdict.row.value, ""


def _shared_document(one: MessageRecord) -> dict[str, Any]:
    document: dict[str, Any] = {"envelope": envelope_document(one.envelope, MAX_RECIPIENTS)}
    if len(one.envelope.recipients) > MAX_RECIPIENTS:
        document["recipients"] = len(one.envelope.recipients)
    if one.authentication is not None:
        document["authentication"] = authentication_document(one.authentication)
    if one.verdict.note:
        document["note"] = one.verdict.note[:500]
    if one.verdict.incomplete:
        document["incomplete"] = True
    return document


def _judgement_document(judgement: Judgement) -> dict[str, Any]:
    evaluation = judgement.evaluation
    document: dict[str, Any] = {}
    if evaluation.published is not None:
        document["published"] = evaluation.published.record.text
    if evaluation.spf_aligned:
        document["spf_aligned"] = True
    if evaluation.dkim_aligned:
        document["dkim_aligned"] = True
    if evaluation.organizational_domain:
        document["organizational"] = evaluation.organizational_domain
    if evaluation.reason:
        document["reason"] = evaluation.reason[:500]
    if judgement.overrides:
        document["overrides"] = override_documents(judgement.overrides)
    return document
