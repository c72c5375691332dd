"""Look at everything that a node needs to filter mail."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from appliance.health.finding import Finding, Level
from appliance.health.surroundings import look_at_disk, look_at_listeners, look_at_resolver, look_at_socket
from appliance.health.workers import look_at_troubles, look_at_workers
from appliance.node import Node
from appliance.quarantine import Desk, measure
from appliance.settings import Mode
from appliance.store import nodes, reports
from appliance.store import settings as store_settings
from appliance.store.engine import Store
from appliance.store.settings import Revision

LATELY = timedelta(days=2)
JOBS_LOOKED_AT = 1000
NAMES_SHOWN = 5


def examine(node: Node, store: Store, now: datetime | None = None) -> list[Finding]:
    """All findings; takes some seconds where something does not answer. *now* is aware.

    Raises ``StoreUnavailable``, and ``InvalidSettings`` when the settings in force can't be read.
    """
    moment = now or datetime.now(UTC)
    with store.read() as connection:
        revision = store_settings.current(connection)
        workers = nodes.list_nodes(connection)
        failed = reports.jobs(connection, JOBS_LOOKED_AT, status=reports.JobStatus.FAILED)
    ours = [worker for worker in workers if worker.node == node.name]
    return [
        _settings(revision),
        *_expired(revision, moment.date()),
        *look_at_workers(revision, workers, node.name, moment),
        *look_at_troubles(revision, ours),
        look_at_socket(node),
        *look_at_listeners(node),
        look_at_resolver(node),
        look_at_disk(node.state),
        *_quarantine(node, store, revision),
        *_reports([job for job in failed if moment - job.updated_at < LATELY]),
    ]


def _settings(revision: Revision) -> Finding:
    verification = revision.settings.verification
    mode = (
        "off" if not verification.enabled else "monitor only" if verification.mode is Mode.MONITOR else "on"
    )
    return Finding("settings", Level.OK, f"revision {revision.number}; DMARC is {mode}")


def _quarantine(node: Node, store: Store, revision: Revision) -> Iterator[Finding]:
    """How full it is; a folder that can't be read is the disk's finding."""
    try:
        fill = measure(Desk.of(node, store), revision.settings)
    except OSError:
        return
    if fill.warning:
        problem, _, remedy = fill.warning.partition("; ")
        yield Finding("quarantine", Level.WARNING, problem, remedy)
    else:
        yield Finding(
            "quarantine", Level.OK, f"{fill.messages} messages, {fill.percent} % of the room is taken"
        )


def _expired(revision: Revision, today: date) -> Iterator[Finding]:
    """Exceptions that no longer hold: somebody may wonder why."""
    expired = [
        record.key
        for record in revision.settings.verification.exceptions
        if record.until is not None and record.until < today
    ]
    if expired:
        more = f" and {len(expired) - NAMES_SHOWN} more" if len(expired) > NAMES_SHOWN else ""
        yield Finding(
            "exceptions",
            Level.WARNING,
            f"{len(expired)} have expired: {', '.join(expired[:NAMES_SHOWN])}{more}",
            "remove them, or give them another day: dmarcgate list exceptions show",
        )


def _reports(failed: list[reports.ReportJob]) -> Iterator[Finding]:
    if failed:
        yield Finding(
            "reports",
            Level.WARNING,
            f"{len(failed)} reports failed in the last two days; the newest, to {failed[0].policy_domain}: "
            f"{failed[0].reason}",
            "dmarcgate report list shows them",
        )
