"""What the workers count, in memory that outlives each of them; it goes to the store with their heartbeats."""

import mmap

from appliance.store.nodes import Count

_COUNTS = tuple(Count)


class WorkerCounters:
    """One worker's counts. Each is written by one process only: deaths by the supervisor, the others by the worker."""

    def __init__(self, values: memoryview) -> None:
        self._values = values

    def add(self, count: Count) -> None:
        self._values[_COUNTS.index(count)] += 1

    def __getitem__(self, count: Count) -> int:
        value: int = self._values[_COUNTS.index(count)]
        return value

    def as_dict(self) -> dict[str, int]:
        return {count.value: self[count] for count in _COUNTS}


def shared_counters(workers: int) -> tuple[WorkerCounters, ...]:
    """The counters of each worker: to be made before the workers are forked."""
    size = len(_COUNTS)
    values = memoryview(mmap.mmap(-1, workers * size * 8)).cast("q")
    return tuple(WorkerCounters(values[at * size : (at + 1) * size]) for at in range(workers))


def own_counters() -> WorkerCounters:
    """The counters of a process that shares them with nobody."""
    return shared_counters(1)[0]
