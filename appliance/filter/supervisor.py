"""Worker processes that share one listening socket: started, watched, replaced when they die or hang, drained on stop."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import FrameType

from systemd_watchdog.systemd_watchdog import WatchDog

from appliance.filter.counters import WorkerCounters
from appliance.log import get_logger
from appliance.store.nodes import Count

BEAT_SECONDS = 1.0
_START_SECONDS = 60.0  # until the first beat: a database may be slow to answer
_QUICK_DEATH_SECONDS = (
    5.0  # a worker that lives shorter is restarted with a pause, so that a fault can't spin the machine
)
_PAUSE_SECONDS = 1.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Lifeline:
    """What ties a worker to its supervisor: *alive_fd* reads end-of-file when the supervisor is gone."""

    alive_fd: int
    beat_fd: int

    def beat(self) -> None:
        """Say that the worker does its work; the first time, that it has begun to."""
        with contextlib.suppress(OSError):  # no room: the supervisor stands still, or is gone
            os.write(self.beat_fd, b".")


Work = Callable[[int, Lifeline], int]
"""Runs worker *number* to its end and returns its exit status. It beats every ``BEAT_SECONDS``, and ends on SIGTERM or
when the supervisor is gone."""


def supervise(counters: Sequence[WorkerCounters], work: Work, *, silent_seconds: float = 10.0) -> int:
    """Run *work* in child processes, one for each of *counters*, until SIGTERM or SIGINT; returns an exit status.

    A worker that does not beat for *silent_seconds* is killed. Under systemd, it is told when all workers have begun,
    and again and again that the supervisor itself works (``Type=notify``, ``WatchdogSec``).
    """
    return _Supervisor(counters, work, silent_seconds).run()


@dataclass(slots=True)
class _Child:
    worker: int
    started: float
    beats: int
    """The file descriptor that its beats are read from."""
    silent: float = 0.0
    """For so many seconds."""
    has_begun: bool = False


class _Supervisor:
    def __init__(self, counters: Sequence[WorkerCounters], work: Work, silent_seconds: float) -> None:
        self._counters = counters
        self._work = work
        self._silent_seconds = silent_seconds
        self._children: dict[int, _Child] = {}
        self._due = dict.fromkeys(range(len(counters)), 0.0)
        self._stopping = False
        self._ready = False
        self._alive_end, self._parent_end = os.pipe()
        self._wakes, self._wake_end = os.pipe()
        self._systemd = WatchDog()
        self._log = get_logger()

    def run(self) -> int:
        os.set_blocking(self._wakes, False)
        os.set_blocking(self._wake_end, False)
        signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        for number in _STOP_SIGNALS:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)  # wakes us
        looked = time.monotonic()
        while self._children or not self._stopping:
            self._start_due()
            self._tell_systemd()
            self._listen()
            now = time.monotonic()
            self._reap()
            # Had we been held up ourselves, the workers' beats may wait in their pipes or their processors be taken.
            self._kill_silent(min(now - looked, 2 * BEAT_SECONDS))
            looked = now
        return 0

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _start_due(self) -> None:
        now = time.monotonic()
        for worker in [worker for worker, due in self._due.items() if due <= now]:
            del self._due[worker]
            self._start(worker)

    def _start(self, worker: int) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        if not self._stopping:
            beats, beat_end = os.pipe()
            os.set_blocking(beats, False)
            os.set_blocking(beat_end, False)
            pid = os.fork()
            if pid == 0:
                _exit_with(lambda: self._child(worker, Lifeline(self._alive_end, beat_end), before))
            os.close(beat_end)
            self._children[pid] = _Child(worker, time.monotonic(), beats)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _child(self, worker: int, lifeline: Lifeline, mask: Iterable[int]) -> int:
        signal.set_wakeup_fd(-1)
        for number in (self._parent_end, self._wakes, self._wake_end):
            os.close(number)
        for sibling in self._children.values():
            os.close(sibling.beats)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # Ctrl-C reaches the whole group; the supervisor passes it on
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return self._work(worker, lifeline)

    def _listen(self) -> None:
        """Wait for beats, a signal, or the time of one beat, whatever comes first."""
        poll = select.poll()
        poll.register(self._wakes, select.POLLIN)
        for child in self._children.values():
            poll.register(child.beats, select.POLLIN)
        heard = {number for number, event in poll.poll(BEAT_SECONDS * 1000) if event & select.POLLIN}
        for number in heard:
            os.read(number, 4096)
        for child in self._children.values():
            if child.beats in heard:
                child.silent = 0.0
                child.has_begun = True

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            child = self._children.pop(pid)
            os.close(child.beats)
            if self._stopping:
                continue
            self._counters[child.worker].add(Count.DEATHS)
            self._log.warning("worker-died", worker=child.worker, pid=pid, status=_describe(status))
            lived = time.monotonic() - child.started
            pause = _PAUSE_SECONDS if lived < _QUICK_DEATH_SECONDS else 0.0
            self._due[child.worker] = time.monotonic() + pause

    def _kill_silent(self, seconds: float) -> None:
        for pid, child in self._children.items():
            child.silent += seconds
            if child.silent > (self._silent_seconds if child.has_begun else _START_SECONDS):
                self._log.error(
                    "worker-hangs", worker=child.worker, pid=pid, silent_seconds=round(child.silent)
                )
                os.kill(pid, signal.SIGKILL)
                child.silent = 0.0

    def _tell_systemd(self) -> None:
        """Where ``NOTIFY_SOCKET`` is set. The supervisor starts no work of its own, so that it runs says enough."""
        with contextlib.suppress(OSError):
            if (
                not self._ready
                and not self._due
                and all(child.has_begun for child in self._children.values())
            ):
                self._systemd.ready()
                self._ready = True
            self._systemd.notify()


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
