"""How often mail may pass unchecked because the filter failed on it: beyond that it is put off (threats T47)."""

import math
import mmap
import time
from collections.abc import Callable
from typing import Self

from appliance.filter.counters import WorkerCounters, own_counters
from appliance.filter.limits import DEFAULT_LIMITS, Limits
from appliance.log import get_logger
from appliance.store.nodes import Count


class CircuitBreaker:
    """Allows *limit* uses within *period_seconds*, over all workers that share it.

    Each worker writes when it used it into places of its own and counts them all, so there is no lock that a killed
    worker could keep. Where several reach the limit in the same instant, it allows rather fewer than more.
    """

    def __init__(self, limit: int, period_seconds: float, *, workers: int = 1) -> None:
        """To be made before the workers are forked."""
        self._limit = limit
        self._period = period_seconds
        self._times = memoryview(mmap.mmap(-1, max(1, workers * limit) * 8)).cast("d")
        for at in range(len(self._times)):
            self._times[at] = -math.inf

    def use(self, worker: int, now: float) -> bool:
        """Whether *worker* may now, at the monotonic time *now*; then this counts as a use."""
        if self._used(now) >= self._limit:
            return False
        own = range(worker * self._limit, (worker + 1) * self._limit)
        place = min(own, key=self._times.__getitem__)
        before = self._times[place]
        self._times[place] = now
        if self._used(now) > self._limit:  # another was faster
            self._times[place] = before
            return False
        return True

    def _used(self, now: float) -> int:
        return sum(1 for used in self._times if now - used < self._period)


class Failures:
    """What becomes of the messages that one worker fails on."""

    def __init__(
        self,
        breaker: CircuitBreaker,
        worker: int,
        counters: WorkerCounters,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._breaker = breaker
        self._worker = worker
        self._counters = counters
        self._clock = clock
        self._open = False
        self._log = get_logger()

    @classmethod
    def alone(cls, limits: Limits = DEFAULT_LIMITS) -> Self:
        """Of a process without others beside it."""
        breaker = CircuitBreaker(limits.unchecked_messages, limits.unchecked_seconds)
        return cls(breaker, 0, own_counters())

    def lets_through(self, queue_id: str, *, wanted: bool) -> bool:
        """Whether the message with *queue_id* passes unchecked: only if that is *wanted*, and not too often."""
        if wanted and self._breaker.use(self._worker, self._clock()):
            self._open = False
            self._counters.add(Count.UNCHECKED)
            self._log.error("let-through-unchecked", qid=queue_id)
            return True
        self._counters.add(Count.DEFERRED)
        if wanted and not self._open:
            self._open = True
            self._log.error("too-many-unchecked", qid=queue_id, action="defer until they are fewer")
        return False
