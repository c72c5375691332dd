"""The failure reports that are due, soon after their messages came: claimed one by one, so that no two nodes send one."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

from appliance.log import get_logger
from appliance.resolver import Resolver
from appliance.store import failures, leases
from appliance.store import settings as stored_settings
from appliance.store.engine import Store, StoreUnavailable
from appliance.store.failures import FailureRow
from reporting.delivery import Courier
from reporting.failure_sending import LEASE_SECONDS, FailureResult, FailureSender, LeaseLost

SEND_EVERY_SECONDS = 60
MAX_AT_ONCE = 200  # in one run


def send_failures(
    store: Store, *, nameserver: str, listener: tuple[str, int], now: datetime | None = None
) -> list[FailureResult]:
    """Make and send what is due, the oldest first. Nothing while reports or failure reports are switched off.

    *nameserver* is ``ADDRESS:PORT``; *listener* is where Postfix takes reports without filtering them.
    """
    moment = now or datetime.now(UTC)
    with store.read() as connection:
        settings = stored_settings.current(connection).settings
    if not (settings.reports.enabled and settings.reports.failure_enabled):
        return []
    with asyncio.Runner() as runner, Courier(*listener) as courier:
        resolver = Resolver(nameserver)
        owner = leases.new_owner()
        sender = FailureSender(store, runner, resolver, courier, settings, owner)
        try:
            attempted = (_sent(sender, row, moment) for row in _claimed(store, owner))
            return [result for result in attempted if result is not None]
        finally:
            runner.run(resolver.close())


def _claimed(store: Store, owner: str) -> Iterator[FailureRow]:
    """Each open row that nobody works on; what is still open afterwards comes up again when its lease has run out."""
    for _ in range(MAX_AT_ONCE):
        with store.begin() as connection:
            row = failures.claim(connection, owner, datetime.now(UTC), lease_seconds=LEASE_SECONDS)
        if row is None:
            return
        yield row


def _sent(sender: FailureSender, row: FailureRow, now: datetime) -> FailureResult | None:
    """``None`` when another took over, or the program failed at it: it is tried again, and given up in the end."""
    try:
        result = sender.send(row, now)
    except StoreUnavailable:
        raise
    except LeaseLost:
        return None
    except Exception:  # noqa: BLE001  one report's fault must not stop the others
        get_logger().exception("failure_report", row=row.id, domain=row.policy_domain)
        return None
    get_logger().info(
        "failure_report",
        row=row.id,
        domain=row.policy_domain,
        author_domain=row.author_domain,
        id=row.event_id,
        status=result.status,
        accepted=len(result.accepted),
        reason=result.reason or None,
    )
    return result
