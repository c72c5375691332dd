"""Start the filter: what must be there is checked and bound first, then the workers are started."""

import asyncio
import contextlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor

from appliance.filter.budget import watch_cpu
from appliance.filter.handler import Handler
from appliance.filter.memory import return_large_blocks
from appliance.filter.policies import CurrentPolicy
from appliance.filter.supervisor import supervise
from appliance.filter.worker import Worker
from appliance.listening import bind, inherited_socket, unlink
from appliance.log import get_logger
from appliance.node import Endpoint, Node
from appliance.quarantine import Quarantine
from appliance.resolver import Resolver
from appliance.store.engine import open_store
from appliance.store.recorder import Recorder


def run(node: Node, *, authserv_id: str | None = None, dns_cache: bool = True) -> int:
    """Serve until SIGTERM; returns an exit status.

    Raises what keeps it from starting: ``CannotListen``, ``StoreUnavailable``, ``SchemaMismatch``, ``OSError`` of the
    quarantine's folder. Nothing is left behind then.
    """
    open_store(node.store, create=True).close()
    node.quarantine.mkdir(mode=0o770, parents=True, exist_ok=True)
    endpoint = Endpoint.parse(node.filter.listen)
    inherited = inherited_socket()
    listening = inherited or bind(endpoint)
    workers = node.filter.workers or os.cpu_count() or 1
    get_logger().info("filter-started", listen="systemd" if inherited else str(endpoint), workers=workers)
    try:
        return supervise(
            workers,
            lambda number, alive_fd: asyncio.run(
                _work(node, number, listening, alive_fd, authserv_id=authserv_id, dns_cache=dns_cache)
            ),
        )
    finally:
        if inherited is None:
            unlink(endpoint, listening)
        listening.close()


async def _work(
    node: Node,
    number: int,
    listening: socket.socket,
    alive_fd: int,
    *,
    authserv_id: str | None,
    dns_cache: bool,
) -> int:
    watch_cpu()
    return_large_blocks()
    store = open_store(node.store)
    resolver = Resolver(node.resolver, cache=dns_cache)
    recorder = Recorder(store, on_trouble=_report_trouble)
    policies = CurrentPolicy(store, node=node.name, worker=str(number))
    handler = Handler(
        node=node.name,
        authserv_id=authserv_id,
        policies=policies,
        resolver=resolver,
        recorder=recorder,
        quarantine=Quarantine(node.quarantine),
    )
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="settings") as executor:
        following = asyncio.create_task(policies.follow(executor))
        await Worker(listening, handler).serve(alive_fd=alive_fd)
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
