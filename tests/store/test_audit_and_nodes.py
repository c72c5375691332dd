"""The audit trail and the nodes' signs of life."""

from datetime import UTC, datetime, timedelta

from appliance.store import audit, nodes
from appliance.store.audit import AuditEntry
from appliance.store.engine import Store
from appliance.store.nodes import NodeStatus

NOW = datetime(2026, 3, 4, 12, 0, 0, 5, tzinfo=UTC)


def test_an_entry_is_read_back_as_it_was(store: Store) -> None:
    with store.begin() as connection:
        audit.write(connection, "ada", "quarantine release", "0123456789ab", "as 4ZqK1", "192.0.2.1", now=NOW)
        [entry] = audit.recent(connection)

    expected = AuditEntry(entry.id, NOW, "ada", "quarantine release", "0123456789ab", "as 4ZqK1", "192.0.2.1")
    assert entry == expected


def test_entries_are_listed_newest_first_page_by_page(store: Store) -> None:
    with store.begin() as connection:
        for number in range(5):
            audit.write(connection, "ada", str(number))
        newest = audit.recent(connection, 2)
        older = audit.recent(connection, 2, before=newest[-1].id)

    assert [entry.action for entry in newest + older] == ["4", "3", "2", "1"]


def test_hostile_text_in_an_entry_is_stored(store: Store) -> None:
    with store.begin() as connection:
        audit.write(connection, "\udcff" * 100, "\0", "x" * 1000, "\0" * 20_000, "y" * 100)
        [entry] = audit.recent(connection)

    assert entry.actor == "\ufffd" * 64
    assert (len(entry.subject), len(entry.detail), len(entry.address)) == (255, 10_000, 45)


def test_a_worker_is_known_by_its_last_sign_of_life(store: Store) -> None:
    later = NOW + timedelta(seconds=10)
    with store.begin() as connection:
        nodes.heartbeat(connection, "gate1", "filter@2", 3, {"messages": 7}, NOW)
        nodes.heartbeat(connection, "gate1", "filter@1", 3, {"messages": 1}, NOW)
        nodes.heartbeat(connection, "gate1", "filter@1", 4, {"messages": 2, "unrecorded": 1}, later)

        listed = nodes.list_nodes(connection)

    assert listed == [
        NodeStatus("gate1", "filter@1", 4, later, {"messages": 2, "unrecorded": 1}),
        NodeStatus("gate1", "filter@2", 3, NOW, {"messages": 7}),
    ]
