"""What acting on quarantined mail takes: the rows, this node's files, and the way to its Postfix."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from appliance.node import Endpoint, Node
from appliance.quarantine.files import MissingMessage, Quarantine
from appliance.store import quarantine as rows
from appliance.store.engine import Store
from appliance.store.quarantine import QuarantineRow

HAND_OVER_SECONDS = 300.0
"""How long a release may take in all; whoever carries it out has given up or died after that."""
BROKEN_OFF = timedelta(seconds=2 * HAND_OVER_SECONDS)
"""A release under way for longer is nobody's any more."""
UNDO = timedelta(days=7)
"""How long a deleted message can be brought back."""


class NotNow(Exception):
    """The message is not in a state that allows what was asked; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One node's quarantine. Rows of all nodes are in the store, files on their own node only."""

    store: Store
    files: Quarantine
    node: str
    smtp: tuple[str, int]
    """A listener of the local Postfix that doesn't ask the filter."""
    log: Path
    """Where the local Postfix writes its log."""

    @classmethod
    def of(cls, node: Node, store: Store) -> Self:
        endpoint = Endpoint.parse(node.postfix.release)
        smtp = endpoint.host, endpoint.port
        return cls(store, Quarantine(node.quarantine), node.name, smtp, node.postfix.log)

    def find(self, event_id: str) -> QuarantineRow:
        """Raises ``MissingMessage``."""
        with self.store.read() as connection:
            row = rows.get(connection, event_id)
        if row is None:
            raise MissingMessage(f"there is no quarantined message {event_id}: it may have expired")
        return row

    def octets(self, row: QuarantineRow) -> bytes:
        """The message as it was received, with our marks; raises ``MissingMessage`` or ``DamagedMessage``."""
        if row.node != self.node:
            raise MissingMessage(f"the file of message {row.event_id} is on node {row.node}: go on there")
        return self.files.read(row)
