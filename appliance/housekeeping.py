"""What is done by the clock to keep a node in order: its quarantine, the events and facts that are kept, their index."""

import shutil
from datetime import UTC, datetime, timedelta

from appliance.log import get_logger
from appliance.node import Node
from appliance.quarantine import Desk, tidy
from appliance.store import failures, retention, search_index
from appliance.store import settings as store_settings
from appliance.store.engine import Store

INDEX_EVERY_SECONDS = 15
TIDY_EVERY_SECONDS = 300
FORGET_EVERY_SECONDS = 3600


def index_events(store: Store) -> None:
    """Make the events that came lately quick to find."""
    search_index.extend(store)


def tidy_quarantine(node: Node, store: Store) -> None:
    """Finish broken-off releases, delete what has expired; raises ``OSError`` when the folder can't be read."""
    with store.read() as connection:
        settings = store_settings.current(connection).settings
    tidy(Desk.of(node, store), settings, datetime.now(UTC))


def forget_old_records(node: Node, store: Store) -> None:
    """Delete the events and facts that are no longer to be kept, and the reports that were made of them.

    The share of the disk is that of the node's data disk, also where the database is elsewhere: it has no other
    measure to go by.
    """
    now = datetime.now(UTC)
    with store.read() as connection:
        kept = store_settings.current(connection).settings.retention
    room = shutil.disk_usage(node.state).total * kept.events_percent // 100
    events = retention.delete_old_events(
        store, before=now - timedelta(days=kept.events_days), most_octets=room
    )
    facts = retention.delete_old_facts(store, before=now - timedelta(days=kept.facts_days))
    reports = retention.delete_old_reports(store, before=now - timedelta(days=kept.facts_days))
    with store.begin() as connection:
        failures.delete_before(connection, now - timedelta(days=kept.events_days))
    if events.by_age or events.by_size or facts.facts or reports:
        get_logger().info(
            "forgotten",
            events_by_age=events.by_age,
            events_by_size=events.by_size,
            facts=facts.facts,
            report_rows=facts.rows,
            reports=reports,
        )
