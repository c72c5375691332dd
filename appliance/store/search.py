"""Find events: newest first, page by page, in bounded work however many there are.

Events are numbered in the order in which they were answered; a page goes by that order, which is nearly, but not to the
second, that of ``received_at``. Old events are found by the index of ``search_index``; the newest, which it does not hold
yet, are looked through. A call looks at no more than ``MOST_UNINDEXED`` of those, ``MOST_BLOCKS`` blocks of the index and
``MOST_ROWS`` events that fit the index: then it returns what it found so far, and where to go on. That happens where the
index lags far behind, and for networks that are not indexed by their own length (shorter than /16 or /32, or between two
of /16, /24 and /32, /48, /64), when few of the clients in the next larger one are in them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import islice

from sqlalchemy import Column, ColumnElement, Connection, false, func, or_, select

from appliance.store import search_index
from appliance.store.documents import event_from
from appliance.store.records import Event
from appliance.store.schema import event, event_block
from appliance.store.search_index import BLOCK
from appliance.store.search_terms import MAX_ADDRESS, EventQuery
from appliance.store.values import to_json, to_micros

__all__ = ["EventPage", "EventQuery", "find", "search"]

MOST_UNINDEXED = 4 * BLOCK
MOST_BLOCKS = 4096
MOST_ROWS = 4000
_FIRST_BLOCKS, _BLOCKS_AT_ONCE = 16, 1024
_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class EventPage:
    events: tuple[Event, ...]
    next: int | None
    """Give it as *before* to go on; ``None`` when there is nothing older. A page may be short, even empty, and not the last."""


def search(
    connection: Connection, query: EventQuery, *, limit: int = 50, before: int | None = None
) -> EventPage:
    """The newest *limit* events that fit *query*; *before* is what the page before named as its *next*."""
    found: list[Event] = []
    looked_at = 0
    for stretch in _stretches(connection, query, before):
        numbers = iter(stretch.numbers)
        at_once = limit + 1
        while batch := list(islice(numbers, at_once)):
            found += [one for one in _fetch(connection, query, batch) if query.fits(one)]
            looked_at += len(batch)
            if len(found) > limit:
                return EventPage(tuple(found[:limit]), found[limit - 1].id)
            if looked_at >= MOST_ROWS:
                return EventPage(tuple(found), batch[-1])
            at_once = _ROWS_AT_ONCE
        if stretch.is_enough:
            return EventPage(tuple(found), stretch.begin)
    return EventPage(tuple(found), None)


def find(connection: Connection, event_id: str) -> list[Event]:
    """All events of one message."""
    query = EventQuery(event_id=event_id)
    page = search(connection, query)
    found = list(page.events)
    while page.next is not None:
        page = search(connection, query, before=page.next)
        found += page.events
    return found[::-1]


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A stretch of event numbers, and which of them may fit: the highest first."""

    begin: int
    numbers: Iterator[int]
    is_enough: bool = False
    """The work of one call is done."""


def _stretches(connection: Connection, query: EventQuery, before: int | None) -> Iterator[_Stretch]:
    end = search_index.newest_id(connection) + 1
    end = end if before is None else min(end, before)
    indexed = search_index.first_unindexed(connection)
    conditions = [*_times(query), *_conditions(connection, query)]
    lowest = max(indexed, end - MOST_UNINDEXED)
    while end > lowest:
        begin = max(lowest, end - BLOCK)
        yield _Stretch(begin, _looked_through(connection, conditions, begin, end))
        end = begin
    if end > indexed:
        yield _Stretch(end, iter(()), is_enough=True)
        return
    yield from _indexed(connection, query, end)


def _indexed(connection: Connection, query: EventQuery, end: int) -> Iterator[_Stretch]:
    blocks = _blocks(connection, query, end)
    enough = len(blocks) > MOST_BLOCKS
    blocks = blocks[:MOST_BLOCKS]
    at_once = _FIRST_BLOCKS
    while blocks:
        some, blocks = blocks[:at_once], blocks[at_once:]
        having = search_index.having(connection, query.terms, [block.number for block in some])
        numbers = _numbers(connection, query, [block for block in some if block.number in having], having)
        below_end = (number for number in numbers if number < end)
        yield _Stretch(some[-1].number * BLOCK, below_end, is_enough=enough and not blocks)
        at_once = min(4 * at_once, _BLOCKS_AT_ONCE)


@dataclass(frozen=True, slots=True)
class _Block:
    number: int
    is_cut: bool
    """Only a part of it is of the time asked for."""


def _blocks(connection: Connection, query: EventQuery, end: int) -> Sequence[_Block]:
    """The blocks that begin before *end* and hold something of the time asked for, the newest first."""
    first, last = event_block.c.first_at, event_block.c.last_at
    wanted: list[ColumnElement[bool]] = [event_block.c.number <= (end - 1) // BLOCK]
    cut: list[ColumnElement[bool]] = []
    if query.since is not None:
        wanted.append(last >= to_micros(query.since))
        cut.append(first < to_micros(query.since))
    if query.until is not None:
        wanted.append(first < to_micros(query.until))
        cut.append(last >= to_micros(query.until))
    rows = connection.execute(
        select(event_block.c.number, or_(false(), *cut))
        .where(*wanted)
        .order_by(event_block.c.number.desc())
        .limit(MOST_BLOCKS + 1)
    )
    return [_Block(number, bool(is_cut)) for number, is_cut in rows]


def _numbers(
    connection: Connection, query: EventQuery, blocks: Sequence[_Block], having: Mapping[int, int]
) -> Iterator[int]:
    for block in blocks:
        numbers = search_index.numbers(block.number, having[block.number])
        if not block.is_cut:
            yield from numbers
            continue
        begin = block.number * BLOCK
        in_time = set(_looked_through(connection, _times(query), begin, begin + BLOCK))
        yield from (number for number in numbers if number in in_time)


def _fetch(connection: Connection, query: EventQuery, numbers: Sequence[int]) -> list[Event]:
    numbers = _of_network(connection, query, numbers)
    if not numbers:
        return []
    rows = connection.execute(select(event).where(event.c.id.in_(numbers)).order_by(event.c.id.desc()))
    return [event_from(row) for row in rows.mappings()]


def _of_network(connection: Connection, query: EventQuery, numbers: Sequence[int]) -> Sequence[int]:
    """Those of *numbers* whose client is in the network asked for: cheaper to find out than from whole events."""
    network = query.client
    if network is None or network.prefixlen == network.max_prefixlen:
        return numbers
    clients = connection.execute(select(event.c.id, event.c.client_ip).where(event.c.id.in_(numbers)))
    return [number for number, client_ip in clients if client_ip and ip_address(client_ip) in network]


def _looked_through(
    connection: Connection, conditions: Sequence[ColumnElement[bool]], begin: int, end: int
) -> Iterator[int]:
    yield from connection.scalars(
        select(event.c.id)
        .where(event.c.id >= begin, event.c.id < end, *conditions)
        .order_by(event.c.id.desc())
    )


def _times(query: EventQuery) -> list[ColumnElement[bool]]:
    times: list[ColumnElement[bool]] = []
    if query.since is not None:
        times.append(event.c.received_at >= to_micros(query.since))
    if query.until is not None:
        times.append(event.c.received_at < to_micros(query.until))
    return times


def _conditions(connection: Connection, query: EventQuery) -> Iterator[ColumnElement[bool]]:
    """What is true of every event with the terms of *query*, and of few others."""
    same = {
        "id": event.c.event_id,
        "queue": event.c.queue_id,
        "from": _in_lower_case(connection, event.c.mail_from),
        "ip": event.c.client_ip,
        "domain": event.c.author_domain,
        "result": event.c.result,
        "outcome": event.c.outcome,
    }
    for term in query.terms:
        kind, _, value = term.partition(":")
        match kind:
            case "message":
                yield event.c.message_id.in_([value, f"<{value}>", f"<{value}", f"{value}>"])
            case "to" if (
                "\ufffd" not in value and len(value) < MAX_ADDRESS
            ):  # else the document holds another text
                quoted = to_json(value)[1:-1]
                yield _in_lower_case(connection, event.c.document).contains(quoted, autoescape=True)
            case "below":
                yield event.c.author_domain.endswith("." + value, autoescape=True)
            case _ if kind in same:
                yield same[kind] == value


def _in_lower_case(connection: Connection, column: Column[str]) -> ColumnElement[str]:
    """A–Z only, as ``search_terms.in_lower_case`` does it and SQLite can do it."""
    if connection.dialect.name == "postgresql":
        return func.lower(column.collate("C"))
    return func.lower(column)
