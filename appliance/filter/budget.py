"""A limit on the CPU time that judging one message may cost, so that no message can hold a worker (threats T11, T43)."""

import signal
from types import FrameType

MAX_CPU_SECONDS = 2.0  # far more than the dearest honest message of 10 MB costs
_AGAIN_SECONDS = (
    0.02  # a library below us may catch whatever comes; so the interruption is repeated until it gets out
)


class BudgetExceeded(BaseException):
    """A message has cost more CPU time than it may. No ``Exception``: it is not to be taken for one of a library's."""


class CpuBudget:
    """What is left for one message; a context manager around each stretch of its work that never pauses.

    The timer runs on the process's own CPU time, so waiting costs nothing; and only within a stretch, so that messages
    which are judged in turns are each charged their own. Leaving a stretch raises ``BudgetExceeded`` even if what ran
    in it has caught the interruption: what it came to is worth nothing.
    """

    def __init__(self, seconds: float = MAX_CPU_SECONDS) -> None:
        self._left = seconds

    def __enter__(self) -> None:
        if self._left <= 0:
            raise BudgetExceeded
        _interruptions.clear()
        signal.setitimer(signal.ITIMER_PROF, self._left, _AGAIN_SECONDS)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._left, _again = signal.setitimer(signal.ITIMER_PROF, 0)
        if _interruptions:
            self._left = 0
            if kind is not BudgetExceeded:
                raise BudgetExceeded

    def stop(self) -> None:
        """After ``BudgetExceeded``: it may have come when a stretch had ended, and its timer was not yet stopped."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        self._left = 0


_interruptions: list[int] = []
"""Of the stretch that runs now."""


def watch_cpu() -> None:
    """Make budgets hold in this process: to be called in the main thread, and only there can they be entered."""
    signal.signal(signal.SIGPROF, _interrupt)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _interruptions.append(number)
    raise BudgetExceeded
