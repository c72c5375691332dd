"""Worker processes that share one listening socket: start them, replace those that die, drain them all on stop."""

import os
import signal
import time
from collections.abc import Callable, Iterable
from types import FrameType

from appliance.log import get_logger

_QUICK_DEATH_SECONDS = (
    5.0  # a worker that lives shorter is restarted with a pause, so that a fault can't spin the machine
)
_PAUSE_SECONDS = 1.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Work = Callable[[int, int], int]
"""Runs worker *number* to its end and returns its exit status. It ends on SIGTERM, or when the file descriptor that
it is given reads end-of-file: then the supervisor is gone."""


def supervise(workers: int, work: Work) -> int:
    """Run *work* in *workers* child processes until SIGTERM or SIGINT; returns an exit status."""
    return _Supervisor(workers, work).run()


class _Supervisor:
    def __init__(self, workers: int, work: Work) -> None:
        self._workers = workers
        self._work = work
        self._children: dict[int, tuple[int, float]] = {}
        self._stopping = False
        self._alive_end, self._parent_end = os.pipe()
        self._log = get_logger()

    def run(self) -> int:
        for number in _STOP_SIGNALS:
            signal.signal(number, self._stop)
        for worker in range(self._workers):
            self._start(worker)
        while self._children:
            self._reap()
        return 0

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True
        for pid in self._children:
            os.kill(pid, signal.SIGTERM)

    def _start(self, worker: int) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        if not self._stopping:
            pid = os.fork()
            if pid == 0:
                os.close(self._parent_end)
                _exit_with(lambda: self._child(worker, before))
            self._children[pid] = (worker, time.monotonic())
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _child(self, worker: int, mask: Iterable[int]) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # Ctrl-C reaches the whole group; the supervisor passes it on
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return self._work(worker, self._alive_end)

    def _reap(self) -> None:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            self._children.clear()
            return
        worker, started = self._children.pop(pid)
        if self._stopping:
            return
        self._log.warning("worker-died", worker=worker, pid=pid, status=_describe(status))
        if time.monotonic() - started < _QUICK_DEATH_SECONDS:
            time.sleep(_PAUSE_SECONDS)
        self._start(worker)


def _exit_with(work: Callable[[], int]) -> None:
    """End this forked process with *work*'s status; nothing of the parent's clean-up runs here."""
    status = 70  # EX_SOFTWARE
    try:
        status = work()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001  the last thing before the process ends
        get_logger().exception("worker-failed")
    finally:
        os._exit(status)


def _describe(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit {code}"
