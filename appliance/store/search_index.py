"""The index that events are found by: built afterwards, in blocks, so that recording a message pays nothing for it.

A block is 4096 consecutive event numbers. For each of its terms the index holds which of them have it, so any
combination of terms is an intersection of sets of bits, however many events have each of them.

Terms are spread over 256 buckets. A row of ``event_term`` is one bucket of one block; rows stand in the order of bucket
and block, so what is known of a term is one stretch of the table. A row's *rare* is a run of entries of eight octets, a
fingerprint and the number within the block; its *frequent* of entries of a fingerprint and one bit for each number.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, text

from appliance.store.batch import BatchInsert, insert_for
from appliance.store.documents import recipients_of
from appliance.store.engine import Store
from appliance.store.schema import event, event_block, event_term
from appliance.store.search_terms import fingerprint, terms_of

BLOCK = 4096
"""Event numbers; the format holds no more."""

BUCKETS = 256
_BLOCK_BITS = 32  # of a place; above them stands the bucket

_KEY = 6  # octets of a fingerprint within its bucket
_RARE = _KEY + 2
_BITS = BLOCK // 8
_FREQUENT = _KEY + _BITS
_MANY = _BITS // _RARE  # from here on bits take less room

_SEARCHED = (
    event.c.event_id,
    event.c.queue_id,
    event.c.message_id,
    event.c.mail_from,
    event.c.client_ip,
    event.c.author_domain,
    event.c.result,
    event.c.outcome,
)

_TERMS = BatchInsert(event_term, ("place", "rare", "frequent"))


def extend(store: Store, *, most_blocks: int = 100) -> int:
    """Index the blocks that are complete and not indexed yet, each in a short transaction; returns how many.

    Call it every few seconds: until then the newest events are searched one by one.
    """
    with store.read() as connection:
        number, newest = first_unindexed(connection) // BLOCK, newest_id(connection)
    if newest < (number + 1) * BLOCK - 1:
        return 0
    complete = _complete_until(store) // BLOCK
    done = 0
    for block in range(number, min(complete, number + most_blocks)):
        with store.read() as connection:
            rows = connection.execute(
                select(event.c.id, event.c.received_at, event.c.document, *_SEARCHED).where(
                    event.c.id >= block * BLOCK, event.c.id < (block + 1) * BLOCK
                )
            )
            contents = _Contents(block)
            for row in rows.mappings():
                contents.add(row)
        with store.begin() as connection:
            done += contents.write(connection)
    return done


def first_unindexed(connection: Connection) -> int:
    """The first event number that no block holds."""
    newest_block: int | None = connection.scalar(select(func.max(event_block.c.number)))
    if newest_block is not None:
        return (newest_block + 1) * BLOCK
    oldest: int = connection.scalar(select(func.min(event.c.id))) or 0
    return oldest // BLOCK * BLOCK


def newest_id(connection: Connection) -> int:
    """0 without events."""
    newest: int | None = connection.scalar(select(func.max(event.c.id)))
    return newest or 0


def forget_before(connection: Connection, event_id: int, *, most_blocks: int) -> int:
    """Drop the oldest blocks that hold only numbers below *event_id*; how many."""
    numbers = event_block.c.number
    oldest: int | None = connection.scalar(select(func.min(numbers)))
    if oldest is None or oldest >= event_id // BLOCK:
        return 0
    end = min(event_id // BLOCK, oldest + most_blocks)
    dropped = connection.execute(event_block.delete().where(numbers < end)).rowcount
    connection.execute(
        event_term.delete().where(
            event_term.c.place >= bindparam("first"), event_term.c.place < bindparam("end")
        ),
        [{"first": _place(bucket, oldest), "end": _place(bucket, end)} for bucket in range(BUCKETS)],
    )
    return dropped


def having(connection: Connection, terms: Sequence[str], blocks: Sequence[int]) -> dict[int, int]:
    """The events of *blocks* (ascending or descending) that have all *terms*: a bit for each number within its block.

    Blocks without such an event are left out.
    """
    found = dict.fromkeys(blocks, (1 << BLOCK) - 1)
    for term in terms:
        if not found:
            break
        having_term = _having(connection, fingerprint(term), min(found), max(found))
        found = {block: both for block, bits in found.items() if (both := bits & having_term.get(block, 0))}
    return found


def numbers(block: int, bits: int) -> Iterator[int]:
    """The event numbers that *bits* stand for, the highest first."""
    while bits:
        highest = bits.bit_length() - 1
        yield block * BLOCK + highest
        bits ^= 1 << highest


def _having(connection: Connection, print_: bytes, first: int, last: int) -> dict[int, int]:
    bucket, key = print_[0], print_[1:]
    rows = connection.execute(
        select(event_term.c.place, event_term.c.rare, event_term.c.frequent).where(
            event_term.c.place >= _place(bucket, first), event_term.c.place <= _place(bucket, last)
        )
    )
    start = _place(bucket, 0)
    return {
        place - start: bits
        for place, rare, frequent in rows
        if (bits := _rare_bits(rare, key) | _frequent_bits(frequent, key))
    }


def _rare_bits(entries: bytes, key: bytes) -> int:
    bits = 0
    at = entries.find(key)
    while at >= 0:
        if at % _RARE == 0:
            bits |= 1 << int.from_bytes(entries[at + _KEY : at + _RARE], "big")
        at = entries.find(key, at + 1)
    return bits


def _frequent_bits(entries: bytes, key: bytes) -> int:
    at = entries.find(key)
    while at >= 0 and at % _FREQUENT:
        at = entries.find(key, at + 1)
    return int.from_bytes(entries[at + _KEY : at + _FREQUENT], "little") if at >= 0 else 0


def _place(bucket: int, block: int) -> int:
    return bucket << _BLOCK_BITS | block


def _complete_until(store: Store) -> int:
    """A number below which no event can turn up any more."""
    with store.begin() as connection:
        if connection.dialect.name == "postgresql":
            # Numbers are given in another order than transactions end: wait for those that write, for a moment.
            connection.execute(text("LOCK TABLE event IN SHARE MODE"))
        return newest_id(connection) + 1


class _Contents:
    """What the index will hold of one block."""

    def __init__(self, block: int) -> None:
        self._block = block
        self._first_at = self._last_at = 0
        self._holders: defaultdict[bytes, list[int]] = defaultdict(list)

    def add(self, row: Mapping[Any, Any]) -> None:
        at = row["received_at"]
        self._first_at = min(self._first_at or at, at)
        self._last_at = max(self._last_at, at)
        values = {column.name: row[column.name] for column in _SEARCHED}
        number = row["id"] % BLOCK
        for term in set(terms_of(recipients=recipients_of(row["document"]), **values)):
            self._holders[fingerprint(term)].append(number)

    def write(self, connection: Connection) -> bool:
        """``False`` when another process did it."""
        block = insert_for(connection.dialect, event_block).values(
            number=self._block, first_at=self._first_at, last_at=self._last_at
        )
        options = {"preserve_rowcount": True}
        if connection.execute(block.on_conflict_do_nothing(), execution_options=options).rowcount == 0:
            return False
        rare: defaultdict[int, list[bytes]] = defaultdict(list)
        frequent: defaultdict[int, list[bytes]] = defaultdict(list)
        for print_, holders in self._holders.items():
            bucket, key = print_[0], print_[1:]
            if len(holders) < _MANY:
                rare[bucket] += [key + number.to_bytes(2, "big") for number in holders]
            else:
                bits = sum(1 << number for number in holders)
                frequent[bucket].append(key + bits.to_bytes(_BITS, "little"))
        _TERMS.run(
            connection,
            [
                (_place(bucket, self._block), b"".join(rare[bucket]), b"".join(frequent[bucket]))
                for bucket in sorted(rare.keys() | frequent.keys())
            ],
        )
        return True
