"""How much of unfinished messages a worker holds: above a bound only the oldest is read on (threats F16)."""

from typing import Protocol

SMALL_OCTETS = 64 * 1024
"""Who holds no more is always read on, so that large messages do not hold up the small."""


class Reader(Protocol):
    """A connection that messages are read from."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Buffers:
    """The octets of messages that the readers hold.

    A message counts from its first header field to its reply. Postfix sends that in one go, so the oldest message
    comes to its end, and then the next: every one gets its turn.
    """

    def __init__(self, bound_octets: int) -> None:
        self._bound = bound_octets
        self._held: dict[Reader, int] = {}  # by age
        self._total = 0
        self._paused: set[Reader] = set()

    def holds(self, reader: Reader, octets: int) -> None:
        """*reader* now holds *octets*; 0 when its message is done with, or it is gone."""
        before = self._held.get(reader, 0)
        self._total += octets - before
        if octets:
            self._held[reader] = octets
        else:
            self._held.pop(reader, None)
        if self._paused or self._total > self._bound:
            self._choose()

    def _choose(self) -> None:
        full = self._total > self._bound
        oldest = next(iter(self._held), None)
        wanted = {
            reader
            for reader, octets in self._held.items()
            if full and reader is not oldest and octets > SMALL_OCTETS
        }
        resumed, paused = self._paused - wanted, wanted - self._paused
        self._paused = wanted
        for reader in resumed:
            reader.resume()
        for reader in paused:
            reader.pause()
