"""The filter's workers: whether they live, by which settings they judge, what went wrong in them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from appliance.health.finding import Finding, Level
from appliance.settings import EngineFailureAction
from appliance.store.nodes import Count, NodeStatus
from appliance.store.settings import Revision

SILENT_AFTER = timedelta(seconds=30)  # a worker says every ten seconds that it lives
FORGOTTEN_AFTER = timedelta(days=1)  # fewer workers than before, or a machine that was taken away
LATE_AFTER = timedelta(seconds=10)  # a revision is in force everywhere within five

_TROUBLES = {
    Count.UNRECORDED: (
        "{} messages were handled by their verdicts but not recorded: they are missing in events and reports",
        "look for “unrecorded” in the log: the store was full, locked or away",
    ),
    Count.UNCHECKED: (
        "{} messages were let through unchecked, because the filter failed on them",
        "look for “engine-failure” in the log; the setting verification.engine_failure=defer stops this",
    ),
    Count.DEFERRED: (
        "{} messages were deferred because the filter failed on them",
        "look for “engine-failure” in the log",
    ),
    Count.BUSY: (
        "{} messages were deferred because too many came at once",
        "give the machine more cores, or Postfix fewer processes (default_process_limit)",
    ),
    Count.REFUSED_CONNECTIONS: (
        "{} connections to the filter came from programs that are not Postfix",
        "look for the refused user in the log; name Postfix's user in filter.peers of the node file",
    ),
    Count.DEATHS: ("{} workers had to be replaced", "look for “worker-died” in the log"),
}


def look_at_workers(
    revision: Revision, workers: Sequence[NodeStatus], node: str, now: datetime
) -> Iterator[Finding]:
    """One finding for each node; *node* is ours, which must have workers."""
    known = {worker.node for worker in workers if now - worker.seen_at < FORGOTTEN_AFTER}
    for name in sorted(known | {node}):
        yield _node(name, revision, [worker for worker in workers if worker.node == name], now)


def look_at_troubles(revision: Revision, workers: Sequence[NodeStatus]) -> Iterator[Finding]:
    """What the workers have counted since they were started."""
    counted: Counter[str] = Counter()
    for worker in workers:
        counted.update(worker.counters)
    for name, (text, remedy) in _TROUBLES.items():
        if number := counted[name]:
            yield Finding("messages", Level.WARNING, text.format(number), remedy)
    if revision.settings.verification.engine_failure is EngineFailureAction.DELIVER:
        yield Finding(
            "messages",
            Level.WARNING,
            "mail on which the filter fails is let through (verification.engine_failure=deliver)",
            "set it to defer unless a delayed message is worse than a forged one",
        )


def _node(name: str, revision: Revision, workers: Sequence[NodeStatus], now: datetime) -> Finding:
    alive = [worker for worker in workers if now - worker.seen_at < SILENT_AFTER]
    subject = f"filter on {name}"
    if not alive:
        return Finding(
            subject,
            Level.FAILING,
            "no worker has given a sign of life in the last 30 seconds: mail is deferred",
            "start it: systemctl start dmarcgate.target; its log says why it ended",
        )
    behind = [worker for worker in alive if worker.revision < revision.number]
    if behind and now - revision.saved_at > LATE_AFTER:
        return Finding(
            subject,
            Level.FAILING,
            f"{len(behind)} of {len(alive)} workers still judge by revision {behind[0].revision}, "
            f"in force is {revision.number}",
            "look for “settings-unreadable” in the log; restarting the filter loses no mail",
        )
    return Finding(subject, Level.OK, f"{len(alive)} workers judge by settings revision {alive[0].revision}")
