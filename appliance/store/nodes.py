"""The nodes and their workers: last sign of life, settings revision in force, counters."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, select

from appliance.store.batch import insert_for
from appliance.store.schema import node as node_table
from appliance.store.values import as_json, from_json, from_micros, text, to_micros


class Count(StrEnum):
    """What a worker counts since the filter was started."""

    UNCHECKED = "let_through_unchecked"
    """Messages that the filter failed on and let through, by the setting for failures."""
    DEFERRED = "deferred_by_failure"
    """Messages that the filter failed on and answered 451."""
    BUSY = "deferred_busy"
    """Messages that waited too long for their turn: 451."""
    UNRECORDED = "unrecorded"
    """Messages that were answered and could not be stored."""
    REFUSED_CONNECTIONS = "connections_refused"
    """From others than the MTA."""
    DEATHS = "worker_deaths"
    """How often this worker had to be replaced."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    node: str
    worker: str
    revision: int
    seen_at: datetime
    counters: Mapping[str, int]


def heartbeat(
    connection: Connection, node: str, worker: str, revision: int, counters: Mapping[str, int], now: datetime
) -> None:
    """Say that *worker* of *node* is alive; replaces what it said before."""
    insert = insert_for(connection.dialect, node_table).values(
        node=text(node, 253),
        worker=text(worker, 64),
        revision=revision,
        seen_at=to_micros(now),
        counters=as_json(dict(counters)),
    )
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[node_table.c.node, node_table.c.worker],
            set_={name: insert.excluded[name] for name in ("revision", "seen_at", "counters")},
        )
    )


def list_nodes(connection: Connection) -> list[NodeStatus]:
    """Every worker that was ever heard of, by node."""
    found = connection.execute(select(node_table).order_by(node_table.c.node, node_table.c.worker)).mappings()
    return [
        NodeStatus(
            row["node"],
            row["worker"],
            row["revision"],
            from_micros(row["seen_at"]),
            from_json(row["counters"]),
        )
        for row in found
    ]
