"""Group commit for an asyncio worker: records that come together are committed together."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from appliance.store import events, failure_intake, quarantine
from appliance.store.engine import Store, StoreUnavailable
from appliance.store.quarantine import QuarantineRow
from appliance.store.records import MessageRecord

MAX_WAITING = 10_000
"""Records that may wait while the database is slow; each holds its message's answers in memory."""


@dataclass(eq=False, slots=True)
class _Item:
    record: MessageRecord
    quarantined: QuarantineRow | None
    committed: asyncio.Future[bool]
    arrived: float


class Recorder:
    """Writes records in a thread of its own, one transaction at a time.

    What comes while one is committed goes into the next. A record that comes alone is written at once; where several
    come at a time, the first waits up to *gather_seconds* for as many as were under way together before.
    """

    def __init__(
        self,
        store: Store,
        *,
        gather_seconds: float = 0.02,
        timeout_seconds: float = 5.0,
        on_trouble: Callable[[str], None] | None = None,
        on_unrecorded: Callable[[], None] | None = None,
    ) -> None:
        """Both are called in the event loop.

        *on_trouble* with one clear line for each transaction that failed, *on_unrecorded* for each record that was
        answered ``False``.
        """
        self._store = store
        self._gather_seconds = gather_seconds
        self._timeout_seconds = timeout_seconds
        self._on_trouble = on_trouble
        self._on_unrecorded = on_unrecorded
        self._waiting: list[_Item] = []
        self._enough = asyncio.Event()
        self._together = 1
        self._task: asyncio.Task[None] | None = None
        self._work: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.unrecorded = 0
        """How many records were answered ``False`` so far."""

    async def record(self, record: MessageRecord, quarantined: QuarantineRow | None = None) -> bool:
        """``True`` once *record*, and the row of a quarantined message with it, is committed.

        ``False``, counted as unrecorded, when the store can't be written or the commit takes longer than 5 s. A record
        that took too long while the disk was being written may still be committed later.
        """
        if self._closed or len(self._waiting) >= MAX_WAITING:
            self._count_unrecorded()
            return False
        loop = asyncio.get_running_loop()
        item = _Item(record, quarantined, loop.create_future(), loop.time())
        self._waiting.append(item)
        if len(self._waiting) >= self._together:
            self._enough.set()
        if self._task is None:
            self._task = loop.create_task(self._write_all())
        deadline = loop.call_later(self._timeout_seconds, self._give_up, item)
        try:
            committed = await item.committed
        finally:
            deadline.cancel()
        if not committed:
            self._count_unrecorded()
        return committed

    async def close(self) -> None:
        """Write what still waits, as far as that is possible within the time limit; record nothing more."""
        self._closed = True
        if self._task is not None:
            await asyncio.wait([self._task], timeout=self._timeout_seconds)
        self._work.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, self._timeout_seconds)

    def _count_unrecorded(self) -> None:
        self.unrecorded += 1
        if self._on_unrecorded is not None:
            self._on_unrecorded()

    def _give_up(self, item: _Item) -> None:
        if item in self._waiting:
            self._waiting.remove(item)
        _settle(item, committed=False)

    async def _write_all(self) -> None:
        """Write batches until nothing waits."""
        try:
            while self._waiting:
                await self._gather()
                batch, self._waiting = self._waiting, []
                if batch:
                    await self._write(batch)
                    self._together = len(batch) + len(self._waiting)
        finally:
            self._task = None

    async def _gather(self) -> None:
        """Return when as many records wait as were under way together lately, or the first waited long enough."""
        await asyncio.sleep(0)  # those that the event loop is just about to hand over
        if len(self._waiting) >= self._together or self._closed or not self._waiting:
            return
        self._enough.clear()
        loop = asyncio.get_running_loop()
        left = self._waiting[0].arrived + self._gather_seconds - loop.time()
        wake = loop.call_later(max(0.0, left), self._enough.set)
        await self._enough.wait()
        wake.cancel()

    async def _write(self, items: list[_Item]) -> None:
        if self._thread is None:
            # A daemon: a database that never answers must not keep the process from ending.
            self._thread = threading.Thread(target=self._serve, name="recorder", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        batch = _Batch(items, loop, loop.create_future())
        self._work.put(batch)
        troubles = await batch.done
        for item, trouble in zip(items, troubles, strict=True):
            _settle(item, committed=trouble is None)
        if self._on_trouble is not None:
            for trouble in dict.fromkeys(filter(None, troubles)):
                self._on_trouble(trouble)

    def _serve(self) -> None:
        """The writer thread."""
        while (batch := self._work.get()) is not None:
            batch.finish(self._commit(batch.items))

    def _commit(self, items: Sequence[_Item]) -> list[str | None]:
        """For each item ``None`` when it is committed, else why not."""
        try:
            self._in_one_transaction(items)
        except StoreUnavailable as error:
            return [str(error)] * len(items)
        except Exception as error:  # noqa: BLE001  whatever one record does to the database, the others count
            if len(items) > 1:
                return [trouble for item in items for trouble in self._commit([item])]
            return [f"event {items[0].record.event_id} can't be stored: {type(error).__name__}: {error}"]
        return [None] * len(items)

    def _in_one_transaction(self, items: Sequence[_Item]) -> None:
        with self._store.begin() as connection:
            # It may have taken long to get here: the client of a message that was given up comes again with it.
            wanted = [item for item in items if not item.committed.done()]
            events.record(connection, [item.record for item in wanted])
            _record_failures(connection, [item.record for item in wanted])
            for item in wanted:
                if item.quarantined is not None:
                    quarantine.add(connection, item.quarantined)


@dataclass(eq=False, slots=True)
class _Batch:
    items: list[_Item]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[list[str | None]]

    def finish(self, troubles: list[str | None]) -> None:
        """Called in the writer thread."""
        with contextlib.suppress(RuntimeError):  # the loop ended without waiting for us
            self.loop.call_soon_threadsafe(self._set, troubles)

    def _set(self, troubles: list[str | None]) -> None:
        if not self.done.done():
            self.done.set_result(troubles)


def _record_failures(connection: Connection, records: Sequence[MessageRecord]) -> None:
    samples = [sample for record in records for sample in record.failures]
    if samples:
        failure_intake.add(connection, samples, room=max(record.failures_room for record in records))


def _settle(item: _Item, *, committed: bool) -> None:
    if not item.committed.done():
        item.committed.set_result(committed)
