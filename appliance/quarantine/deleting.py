"""Delete messages, and bring them back: the file stays until the time for that is over (``tidy``)."""

from datetime import UTC, datetime

from appliance.quarantine.desk import UNDO, Desk, NotNow
from appliance.quarantine.releasing import may_be_under_way
from appliance.store import audit
from appliance.store import quarantine as rows
from appliance.store.quarantine import HoldState, QuarantineRow


def delete(desk: Desk, event_id: str, *, actor: str, address: str = "", now: datetime | None = None) -> None:
    """Delete a message; ``undelete`` brings it back for seven days. Raises ``MissingMessage`` or ``NotNow``."""
    now = now or datetime.now(UTC)
    row = desk.find(event_id)
    if row.state is HoldState.DELETED:
        raise NotNow(f"message {event_id} is deleted already")
    if may_be_under_way(row, now):
        raise NotNow(f"message {event_id} is just being released")
    with desk.store.begin() as connection:
        if rows.change(connection, row, HoldState.DELETED, now, release=row.release) is None:
            raise NotNow(f"message {event_id} was just changed by somebody else")
        audit.write(connection, actor, "quarantine delete", event_id, row.reason, address, now=now)


def undelete(
    desk: Desk, event_id: str, *, actor: str, address: str = "", now: datetime | None = None
) -> HoldState:
    """Bring a deleted message back to what it was, which is returned. Raises ``MissingMessage`` or ``NotNow``."""
    now = now or datetime.now(UTC)
    row = desk.find(event_id)
    if row.state is not HoldState.DELETED or row.changed_at is None:
        raise NotNow(f"message {event_id} is not deleted, but {row.state}")
    if row.changed_at <= now - UNDO:
        raise NotNow(f"message {event_id} was deleted more than {UNDO.days} days ago")
    state = _state_before(row)
    with desk.store.begin() as connection:
        if rows.change(connection, row, state, now, release=row.release) is None:
            raise NotNow(f"message {event_id} was just changed by somebody else")
        audit.write(connection, actor, "quarantine undelete", event_id, state.value, address, now=now)
    return state


def _state_before(row: QuarantineRow) -> HoldState:
    if row.release is not None:
        return HoldState.RELEASING  # one that broke off
    return HoldState.RELEASED if row.release_queue_id else HoldState.HELD
