"""Start the filter: what must be there is checked and bound first, then the workers are started."""

import asyncio
import contextlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from appliance.filter.breaker import CircuitBreaker, Failures
from appliance.filter.budget import watch_cpu
from appliance.filter.counters import WorkerCounters, shared_counters
from appliance.filter.handler import Handler
from appliance.filter.kept_settings import KeptSettings
from appliance.filter.limits import DEFAULT_LIMITS, Limits
from appliance.filter.memory import limit_memory, return_large_blocks
from appliance.filter.peers import Peers
from appliance.filter.policies import CurrentPolicy
from appliance.filter.supervisor import Lifeline, supervise
from appliance.filter.worker import Worker
from appliance.listening import bind, inherited_socket, unlink
from appliance.log import get_logger
from appliance.node import Endpoint, Node
from appliance.quarantine import Quarantine
from appliance.resolver import Resolver
from appliance.store.engine import open_store, store_at
from appliance.store.nodes import Count
from appliance.store.recorder import Recorder

_KEPT_SETTINGS = "settings-in-force.json"


def run(
    node: Node,
    *,
    authserv_id: str | None = None,
    dns_cache: bool = True,
    limits: Limits = DEFAULT_LIMITS,
) -> int:
    """Serve until SIGTERM; returns an exit status.

    Raises what keeps it from starting: ``CannotListen``, ``StoreUnavailable``, ``SchemaMismatch``, ``OSError`` of the
    quarantine's folder. Nothing is left behind then.
    """
    endpoint = Endpoint.parse(node.filter.listen)
    peers = Peers.named(node.filter.peers)
    if not endpoint.path:
        peers.check_listener(endpoint.host)
    open_store(node.store, create=True).close()
    node.quarantine.mkdir(mode=0o770, parents=True, exist_ok=True)
    inherited = inherited_socket()
    listening = inherited or bind(endpoint)
    workers = node.filter.workers or os.cpu_count() or 1
    shared = _Shared(
        node=node,
        authserv_id=authserv_id,
        dns_cache=dns_cache,
        limits=limits,
        listening=listening,
        peers=peers,
        counters=shared_counters(workers),
        breaker=CircuitBreaker(limits.unchecked_messages, limits.unchecked_seconds, workers=workers),
    )
    get_logger().info("filter-started", listen="systemd" if inherited else str(endpoint), workers=workers)
    try:
        return supervise(
            shared.counters,
            lambda number, lifeline: asyncio.run(_work(shared, number, lifeline)),
            silent_seconds=limits.silent_seconds,
        )
    finally:
        if inherited is None:
            unlink(endpoint, listening)
        listening.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What is there before the workers are."""

    node: Node
    authserv_id: str | None
    dns_cache: bool
    limits: Limits
    listening: socket.socket
    peers: Peers
    counters: tuple[WorkerCounters, ...]
    breaker: CircuitBreaker


async def _work(shared: _Shared, number: int, lifeline: Lifeline) -> int:
    node, counters = shared.node, shared.counters[number]
    watch_cpu()
    return_large_blocks()
    limit_memory(shared.limits.data_octets)
    store = store_at(node.store)
    resolver = Resolver(node.resolver, cache=shared.dns_cache)
    recorder = Recorder(
        store, on_trouble=_report_trouble, on_unrecorded=lambda: counters.add(Count.UNRECORDED)
    )
    policies = CurrentPolicy(
        store,
        node=node.name,
        worker=str(number),
        kept=KeptSettings(node.state / _KEPT_SETTINGS, str(number)),
        counters=counters.as_dict,
    )
    handler = Handler(
        node=node.name,
        authserv_id=shared.authserv_id,
        policies=policies,
        resolver=resolver,
        recorder=recorder,
        quarantine=Quarantine(node.quarantine),
        failures=Failures(shared.breaker, number, counters),
        cpu_seconds=shared.limits.cpu_seconds,
    )
    worker = Worker(shared.listening, handler, peers=shared.peers, limits=shared.limits, counters=counters)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="settings") as executor:
        following = asyncio.create_task(policies.follow(executor))
        await worker.serve(lifeline)
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
    await recorder.close()
    await resolver.close()
    store.close()
    return 0


def _report_trouble(trouble: str) -> None:
    """The store could not be written: messages go on by their verdicts, and are missing in events and reports."""
    get_logger().error("unrecorded", reason=trouble)
