"""Service 3: run the jobs by the clock until told to stop."""

import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import FrameType

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from appliance.log import get_logger
from appliance.node import Endpoint, Node
from appliance.store.engine import Store, StoreUnavailable, open_store
from reporting import failure_jobs
from reporting.bounces import Bounces
from reporting.following import Follower
from reporting.jobs import build_due, send_pending
from reporting.lmtp import BounceServer, Stranger, everybody

BUILD_HOUR, BUILD_MINUTE = 0, 30
BUILD_SPREAD_SECONDS = 300  # nodes that build at the same time get in each other's way
SEND_EVERY_SECONDS = 60  # every report has its own time (AGG-19)
FOLLOW_EVERY_SECONDS = 300
_CHORES = "chores"
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Chore:
    """Something else that is to be done by the clock; it runs beside the reports, one chore at a time."""

    name: str
    every_seconds: int
    run: Callable[[Store], None]


def run_forever(node: Node, chores: Sequence[Chore] = (), *, stranger: Stranger = everybody) -> None:
    """Build and send on schedule, and take bounces, until SIGTERM or SIGINT; what is under way is finished first.

    What was missed while the service was down is done at the start. Call it in the main thread. *stranger* says who
    may not hand us bounces. Raises what ``open_store`` raises.
    """
    stop = threading.Event()
    before = {number: signal.signal(number, _setter(stop)) for number in _STOP_SIGNALS}
    store = open_store(node.store)
    bounces = BounceServer(
        Endpoint.parse(node.postfix.bounces), Bounces(store), hostname=node.name, stranger=stranger
    )
    try:
        scheduler = make_scheduler(store, node, (_following(node), _failing(node), *chores))
        bounces.start()
        scheduler.start()
        get_logger().info("reports_service", state="started", node=node.name)
        stop.wait()
        scheduler.shutdown(wait=True)
        get_logger().info("reports_service", state="stopped", node=node.name)
    finally:
        bounces.stop()
        store.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def make_scheduler(store: Store, node: Node, chores: Sequence[Chore] = ()) -> BackgroundScheduler:
    """The scheduler with its jobs, not yet started. One thread for reports: building and sending never overlap."""
    listener = Endpoint.parse(node.postfix.reports)

    def send() -> None:
        send_pending(
            store,
            nameserver=node.resolver,
            listener=(listener.host, listener.port),
            due_only=True,
            node=node.name,
            log=node.postfix.log,
        )

    def build_and_send() -> None:
        build_due(store)
        send()

    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(1), _CHORES: ThreadPoolExecutor(1)},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    daily, often = _patient(build_and_send), _patient(send)
    scheduler.add_job(daily, "date", run_date=datetime.now(UTC), id="catch up")
    scheduler.add_job(
        daily, "cron", hour=BUILD_HOUR, minute=BUILD_MINUTE, jitter=BUILD_SPREAD_SECONDS, id="report"
    )
    scheduler.add_job(often, "interval", seconds=SEND_EVERY_SECONDS, jitter=10, id="send")
    for chore in chores:
        scheduler.add_job(
            _patient(partial(chore.run, store)),
            "interval",
            seconds=chore.every_seconds,
            next_run_time=datetime.now(UTC),
            id=chore.name,
            executor=_CHORES,
        )
    return scheduler


def _following(node: Node) -> Chore:
    follower = Follower(node.postfix.log)

    def follow(store: Store) -> None:
        follower.follow(store, datetime.now(UTC))

    return Chore("follow reports", FOLLOW_EVERY_SECONDS, follow)


def _failing(node: Node) -> Chore:
    listener = Endpoint.parse(node.postfix.reports)

    def send(store: Store) -> None:
        failure_jobs.send_failures(store, nameserver=node.resolver, listener=(listener.host, listener.port))

    return Chore("send failure reports", failure_jobs.SEND_EVERY_SECONDS, send)


def _patient(job: Callable[[], None]) -> Callable[[], None]:
    """*job*, that leaves a store which can't be used now for the next time."""

    def run() -> None:
        try:
            job()
        except StoreUnavailable as error:
            get_logger().warning("reports_service", state="store unavailable", reason=str(error))

    return run


def _setter(event: threading.Event) -> Callable[[int, FrameType | None], None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        event.set()

    return stop
