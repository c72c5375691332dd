"""Copies of reports: each frozen before it is first handed over, and counted against what may be sent on a UTC day.

One report to one address is one copy. The counters of a day are a row that every transaction which takes room changes,
so that several nodes together never take more than there is.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from appliance.store.batch import insert_for
from appliance.store.reports import JobStatus
from appliance.store.schema import report_copy, report_day, report_destination, report_job
from appliance.store.values import MILLION, from_json, from_micros, text, to_json, to_micros

_DAY = 86_400
_COUNTERS = ("copies", "new_destinations", "waiting", "refused")


class Room(StrEnum):
    """Whether a copy may go out now."""

    TAKEN = "taken"
    """It may, and is counted."""
    NO_NEW = "no new"
    """Not today: its address never got a report, and enough such addresses got one today."""
    FULL = "full"
    """No more copies at all on this day."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be sent on one UTC day."""

    copies: int
    new_destinations: int


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A hand-over that was begun, and of which nobody has written down how it ended."""

    at: datetime
    node: str
    """Whose Postfix it is with: only that one's log can tell."""
    ident: str
    """What it calls itself in Postfix's log; ``""`` when there is no log to read."""
    log_inode: int = 0
    log_octets: int = 0
    """Where that log ended before."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A report as it goes to one address: the same octets at every attempt (AGG-32)."""

    recipient: str
    form: str
    """Which of the job's two messages it is."""
    mail_from: str
    head: bytes
    """Stands above that message: its signatures, and To."""
    under_way: UnderWay | None = None


@dataclass(frozen=True, slots=True)
class DayOfSending:
    """What was sent on one UTC day, and what the limits kept back."""

    copies: int = 0
    new_destinations: int = 0
    waiting: int = 0
    """Copies put off to the next day, because their addresses were new."""
    refused: int = 0
    """Reports and copies that never go out, because they were too many."""


def copies(connection: Connection, job_id: int) -> dict[str, Copy]:
    """The copies of a report that were frozen so far, by recipient."""
    found = connection.execute(select(report_copy).where(report_copy.c.job_id == job_id))
    return {row.recipient: _copy(row) for row in found}


def freeze(connection: Connection, job_id: int, copy: Copy, limits: Limits, now: datetime) -> Room:
    """Keep *copy*, if the day of *now* has room for it, and count it; one that is kept already costs nothing.

    What has to wait or is refused is for the caller to count.
    """
    known = select(report_copy.c.job_id).where(*_is(job_id, copy.recipient))
    if connection.execute(known).first() is not None:
        return Room.TAKEN
    address = text(copy.recipient, 512)
    is_new = (
        connection.execute(
            select(report_destination.c.address).where(report_destination.c.address == address)
        ).first()
        is None
    )
    room = _take(connection, now, limits, is_new=is_new)
    if room is Room.TAKEN:
        connection.execute(
            insert(report_copy).values(
                job_id=job_id,
                recipient=address,
                form=copy.form,
                mail_from=text(copy.mail_from, 320),
                head=copy.head,
                hand_over=_document(copy.under_way),
            )
        )
        _remember(connection, address, now)
    return room


def set_under_way(connection: Connection, job_id: int, recipient: str, under_way: UnderWay | None) -> None:
    """Note that a copy is just being handed over; ``None``: how that ended is known now."""
    connection.execute(
        update(report_copy).where(*_is(job_id, recipient)).values(hand_over=_document(under_way))
    )


def forget(connection: Connection, job_id: int) -> None:
    """Drop the frozen copies of a report, so that it may be made ready once more; what was counted stays counted."""
    connection.execute(delete(report_copy).where(report_copy.c.job_id == job_id))


def day_of_sending(connection: Connection, now: datetime) -> DayOfSending:
    """What was sent and kept back on the UTC day of *now*."""
    found = connection.execute(select(report_day).where(report_day.c.day == _day(now))).first()
    return (
        DayOfSending(*(getattr(found, name) for name in _COUNTERS)) if found is not None else DayOfSending()
    )


def days_of_sending(connection: Connection, since: datetime) -> dict[datetime, DayOfSending]:
    """The same for every day from that of *since* on which there was anything, by its midnight, oldest first."""
    found = connection.execute(
        select(report_day).where(report_day.c.day >= _day(since)).order_by(report_day.c.day)
    )
    return {
        datetime.fromtimestamp(row.day * _DAY, UTC): DayOfSending(*(getattr(row, n) for n in _COUNTERS))
        for row in found
    }


def count_kept_back(connection: Connection, now: datetime, *, waiting: int = 0, refused: int = 0) -> None:
    """Add what the limits kept back on the day of *now*."""
    counted = {"waiting": waiting, "refused": refused}
    new = insert_for(connection.dialect, report_day).values(
        day=_day(now), **dict.fromkeys(_COUNTERS, 0) | counted
    )
    more = {name: report_day.c[name] + number for name, number in counted.items()}
    connection.execute(new.on_conflict_do_update(index_elements=[report_day.c.day], set_=more))


def beyond(connection: Connection, day: str, most: int) -> list[int]:
    """The ids of those reports about *day* (ISO) that are planned but more than *most*: to be refused, never built.

    Domains that got a report before come first, then it is by chance, but the same for all nodes: who makes up names
    gains nothing by the choice of names (T23).
    """
    is_live = report_job.c.status.not_in([JobStatus.REFUSED.value, JobStatus.DISCARDED.value])
    found = connection.execute(
        select(
            report_job.c.id, report_job.c.policy_domain, report_job.c.report_id, report_job.c.status
        ).where(report_job.c.day == day, is_live)
    ).all()
    if len(found) <= most:
        return []
    served = set(
        connection.scalars(
            select(report_job.c.policy_domain).where(report_job.c.status == JobStatus.SENT.value).distinct()
        )
    )
    pending = [row for row in found if row.status == JobStatus.PENDING.value]
    room = max(0, most - (len(found) - len(pending)))
    pending.sort(key=lambda row: (row.policy_domain not in served, row.report_id))
    return [row.id for row in pending[room:]]


def refuse(connection: Connection, job_ids: Sequence[int], reason: str, now: datetime) -> int:
    """Refuse those of the planned reports that nobody has begun to build, and count them; how many they were."""
    refused = connection.execute(
        update(report_job)
        .where(
            report_job.c.id.in_(job_ids),
            report_job.c.status == JobStatus.PENDING.value,
            report_job.c.lease_owner.is_(None),
        )
        .values(status=JobStatus.REFUSED.value, reason=text(reason, 500), updated_at=to_micros(now))
    ).rowcount
    count_kept_back(connection, now, refused=refused)
    return refused


def _take(connection: Connection, now: datetime, limits: Limits, *, is_new: bool) -> Room:
    if limits.copies < 1:
        return Room.FULL
    if is_new and limits.new_destinations < 1:
        return Room.NO_NEW
    new = int(is_new)
    first = dict.fromkeys(_COUNTERS, 0) | {"copies": 1, "new_destinations": new}
    has_room = report_day.c.copies < limits.copies
    if is_new:
        has_room &= report_day.c.new_destinations < limits.new_destinations
    taken = connection.execute(
        insert_for(connection.dialect, report_day)
        .values(day=_day(now), **first)
        .on_conflict_do_update(
            index_elements=[report_day.c.day],
            set_={
                "copies": report_day.c.copies + 1,
                "new_destinations": report_day.c.new_destinations + new,
            },
            where=has_room,
        ),
        execution_options={"preserve_rowcount": True},
    )
    if taken.rowcount > 0:
        return Room.TAKEN
    return Room.FULL if day_of_sending(connection, now).copies >= limits.copies else Room.NO_NEW


def _remember(connection: Connection, address: str, now: datetime) -> None:
    at = to_micros(now)
    connection.execute(
        insert_for(connection.dialect, report_destination)
        .values(address=address, first_at=at, last_at=at)
        .on_conflict_do_update(index_elements=[report_destination.c.address], set_={"last_at": at})
    )


def _day(now: datetime) -> int:
    return to_micros(now) // MILLION // _DAY


def _is(job_id: int, recipient: str) -> tuple[Any, ...]:
    return report_copy.c.job_id == job_id, report_copy.c.recipient == text(recipient, 512)


def _document(under_way: UnderWay | None) -> str:
    if under_way is None:
        return ""
    return to_json(asdict(under_way) | {"at": to_micros(under_way.at)})


def _copy(row: Row[*tuple[Any, ...]]) -> Copy:
    under_way = None
    if row.hand_over:
        values = from_json(row.hand_over)
        under_way = UnderWay(**values | {"at": from_micros(values["at"])})
    return Copy(row.recipient, row.form, row.mail_from, row.head, under_way)
