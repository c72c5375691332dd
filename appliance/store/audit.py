"""The audit trail: who did what, append-only."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from appliance.store import values
from appliance.store.schema import audit


@dataclass(frozen=True, slots=True)
class AuditEntry:
    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: str
    address: str
    """Where the actor's request came from; ``""`` for the command line."""


def write(
    connection: Connection,
    actor: str,
    action: str,
    subject: str = "",
    detail: str = "",
    address: str = "",
    *,
    now: datetime | None = None,
) -> None:
    """Note in this transaction that *actor* did *action* to *subject*."""
    connection.execute(
        insert(audit).values(
            at=values.to_micros(now or values.now()),
            actor=values.text(actor, 64),
            action=values.text(action, 64),
            subject=values.text(subject, 255),
            detail=values.text(detail, 10_000),
            address=values.text(address, 45),
        )
    )


def recent(connection: Connection, limit: int = 50, *, before: int | None = None) -> list[AuditEntry]:
    """Newest first; *before* is the id of the last entry of the page before."""
    wanted = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(audit.c.id < before)
    found = connection.execute(wanted).mappings()
    return [AuditEntry(**dict(row) | {"at": values.from_micros(row["at"])}) for row in found]
