"""Count the failures that reports are asked for about, and keep the first of each kind: with the event, as mail comes in."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, func, select, update

from appliance.store.batch import insert_for
from appliance.store.failure_samples import FailureSample, to_document
from appliance.store.failures import redactor
from appliance.store.reports import JobStatus
from appliance.store.schema import failure
from appliance.store.values import MILLION, text, to_micros

NO_ROOM = "not kept: too many different failures on this day"

_DAY = 86_400 * MILLION


def add(connection: Connection, samples: Sequence[FailureSample], *, room: int) -> None:
    """Count *samples*; the first of each kind in an hour is kept, and with it the wish for a report.

    A UTC day has *room* for so many different ones of all domains together; what is beyond is counted. In the order of
    the keys, so that two workers never wait for each other in a circle.
    """
    alike: dict[bytes, list[FailureSample]] = defaultdict(list)
    for sample in samples:
        alike[sample.key].append(sample)
    left_over: Counter[int] = Counter()
    for key in sorted(alike):
        first, newest, count = alike[key][0], max(one.received_at for one in alike[key]), len(alike[key])
        if _count(connection, key, count, newest):
            continue
        day = to_micros(first.received_at) // _DAY
        if _new_on(connection, day) < room:
            _insert(connection, key, first.with_codes(redactor(connection)), count, newest)
        else:
            left_over[day] += count
    for day, count in sorted(left_over.items()):
        _count_left_over(connection, day, count)


def _count(connection: Connection, key: bytes, count: int, at: datetime) -> bool:
    """Whether the row of *key* is there; it counts *count* more then."""
    micros = to_micros(at)
    last_at = case((failure.c.last_at < micros, micros), else_=failure.c.last_at)
    counted = connection.execute(
        update(failure)
        .where(failure.c.key == key)
        .values(incidents=failure.c.incidents + count, last_at=last_at)
    )
    return counted.rowcount == 1


def _new_on(connection: Connection, day: int) -> int:
    new = select(func.count()).where(failure.c.first_at >= day * _DAY, failure.c.first_at < (day + 1) * _DAY)
    return connection.scalar(new) or 0


def _insert(connection: Connection, key: bytes, sample: FailureSample, count: int, newest: datetime) -> None:
    _upsert(
        connection,
        count,
        key=key,
        alike=sample.alike,
        event_id=text(sample.event_id, 12),
        policy_domain=sample.policy_domain,
        author_domain=sample.author_domain,
        first_at=to_micros(sample.received_at),
        last_at=to_micros(newest),
        document=to_document(sample),
        status=JobStatus.PENDING,
        reason="",
    )


def _count_left_over(connection: Connection, day: int, count: int) -> None:
    key = hashlib.sha256(f"left over on {day}".encode()).digest()[:16]
    _upsert(
        connection,
        count,
        key=key,
        alike=key,
        event_id="",
        policy_domain="",
        author_domain="",
        first_at=day * _DAY,
        last_at=(day + 1) * _DAY - 1,
        document="",
        status=JobStatus.REFUSED,
        reason=NO_ROOM,
    )


def _upsert(connection: Connection, count: int, *, status: JobStatus, **values: Any) -> None:
    new = insert_for(connection.dialect, failure).values(
        **values,
        status=status.value,
        updated_at=values["first_at"],
        incidents=count,
        reported=0,
        report_id="",
        destinations="{}",
    )
    connection.execute(
        new.on_conflict_do_update(
            index_elements=[failure.c.key], set_={"incidents": failure.c.incidents + count}
        )
    )
