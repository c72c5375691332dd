"""Keep this node's quarantine in order: broken-off releases, what has expired, files that nobody knows."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from appliance.log import get_logger
from appliance.quarantine.desk import BROKEN_OFF, UNDO, Desk
from appliance.quarantine.recovery import ACTOR, Recovered, recover
from appliance.quarantine.usage import Fill, measure, show_size
from appliance.settings import Settings
from appliance.store import audit
from appliance.store import quarantine_expiry as expiry
from appliance.store.quarantine import Usage
from appliance.store.quarantine_expiry import Choice

AT_A_TIME = 200  # rows in one transaction: the filter waits for no more
ORPHAN_AGE = timedelta(days=7)
"""A message's row is there a moment after its file, or never; but an older database may have been restored."""


@dataclass(frozen=True, slots=True)
class Tidied:
    """What was done."""

    recovered: Recovered
    purged: Usage
    """Deleted by somebody, and the time to undo that is over."""
    too_old: Usage
    no_room: Usage
    orphans: int
    """Files without a row: what a filter that died on the message left; its sender came again."""
    fill: Fill
    """Afterwards."""


def tidy(desk: Desk, settings: Settings, now: datetime) -> Tidied:
    """Put this node's quarantine in order, note it in the audit log and in ours. Safe when two processes do it at once.

    Raises ``StoreUnavailable``, or ``OSError`` when the folder can't be read; what was done until then is done.
    """
    recovered = recover(desk, now)
    retention = settings.retention
    oldest = now - timedelta(days=retention.quarantine_days)
    limit = measure(desk, settings).limit_octets
    tidied = Tidied(
        recovered,
        _expire(
            desk,
            lambda connection, most: expiry.undo_is_over(connection, desk.node, now - UNDO, most),
            f"deleted more than {UNDO.days} days ago",
            now,
        ),
        _expire(
            desk,
            lambda connection, most: expiry.too_old(
                connection, desk.node, oldest, most, quiet_since=now - BROKEN_OFF
            ),
            f"held for more than {retention.quarantine_days} days",
            now,
        ),
        _expire(
            desk,
            lambda connection, most: expiry.beyond(connection, desk.node, limit, most),
            f"beyond the {show_size(limit)} that quarantined mail may fill",
            now,
        ),
        _sweep(desk, now),
        measure(desk, settings),
    )
    _log(tidied)
    return tidied


def _expire(desk: Desk, choose: Choice, why: str, now: datetime) -> Usage:
    """Remove what is chosen, some at a time: the row first, so that what is left by a crash is an orphan."""
    messages = octets = 0
    while True:
        with desk.store.read() as connection:  # without a writer's lock: mostly there is nothing to do
            if not choose(connection, 1):
                return Usage(messages, octets)
        with desk.store.begin() as connection:
            chosen = choose(connection, AT_A_TIME)
            gone = expiry.remove(connection, chosen) if chosen else []
            size = sum(message.size_octets for message in gone)
            if gone:
                audit.write(
                    connection,
                    ACTOR,
                    "quarantine expire",
                    f"{len(gone)} messages",
                    f"{show_size(size)} {why}",
                    now=now,
                )
        for message in gone:
            desk.files.delete(message.event_id)
        messages, octets = messages + len(gone), octets + size


def _sweep(desk: Desk, now: datetime) -> int:
    """Delete files that no row tells of."""
    swept = 0
    old = desk.files.written_before(now - ORPHAN_AGE)
    while some := tuple(islice(old, AT_A_TIME)):
        with desk.store.read() as connection:
            known = expiry.known(connection, some)
        orphans = [event_id for event_id in some if event_id not in known]
        for event_id in orphans:
            desk.files.delete(event_id)
        swept += len(orphans)
    return swept


def _log(tidied: Tidied) -> None:
    log, recovered = get_logger(), tidied.recovered
    done = {
        "purged": tidied.purged.messages,
        "too_old": tidied.too_old.messages,
        "no_room": tidied.no_room.messages,
        "orphans": tidied.orphans,
        "releases_found": len(recovered.delivered),
        "releases_repeated": len(recovered.repeated),
        "releases_given_up": len(recovered.given_up),
    }
    if any(done.values()):
        log.info("quarantine-tidied", **{name: number or None for name, number in done.items()})
    if recovered.uncertain:
        log.warning("release-uncertain", ids=",".join(recovered.uncertain))
    if tidied.fill.warning:
        log.warning("quarantine-filling", percent=tidied.fill.percent, reason=tidied.fill.warning)
