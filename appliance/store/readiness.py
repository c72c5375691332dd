"""What the readiness checks found; reports can be switched on by what they say (AGG-34)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from appliance.settings import InvalidSettings, Problem, Settings
from appliance.settings.model import Reports
from appliance.store.schema import readiness
from appliance.store.values import from_micros, text, to_micros

HOLDS = timedelta(days=30)
"""How long a passed check lets reports be switched on."""
KEPT = timedelta(days=365)

_MAX_IDENTITY = 600


@dataclass(frozen=True, slots=True)
class Checked:
    """One check; *document* is its JSON."""

    at: datetime
    passed: bool
    document: str


def identity_of(reports: Reports) -> str:
    """What a check is about: reports that go out under another identity need another one."""
    return text(f"{reports.address} {reports.bounce_host} {reports.organization}", _MAX_IDENTITY)


def record(connection: Connection, identity: str, *, passed: bool, document: str, now: datetime) -> None:
    """Keep what a check of *identity* found; what is long out of date goes."""
    connection.execute(delete(readiness).where(readiness.c.at < to_micros(now - KEPT)))
    connection.execute(
        insert(readiness).values(at=to_micros(now), identity=identity, passed=passed, document=document)
    )


def latest(connection: Connection, identity: str) -> Checked | None:
    """The last check of *identity*."""
    found = connection.execute(
        select(readiness).where(readiness.c.identity == identity).order_by(readiness.c.id.desc()).limit(1)
    ).first()
    return Checked(from_micros(found.at), found.passed, found.document) if found is not None else None


def passed(connection: Connection, identity: str, now: datetime) -> bool:
    """Whether the last check of *identity* passed, and still holds."""
    last = latest(connection, identity)
    return last is not None and last.passed and now - last.at <= HOLDS


def check_selection(connection: Connection, before: Settings, after: Settings, now: datetime) -> None:
    """Reports are switched on after a passed check, or for a reason that is told. Raises ``InvalidSettings``.

    Reports that are on stay on however long ago that was, unless they are to go out under another identity.
    """
    wanted, held = after.reports, before.reports
    if not wanted.enabled or wanted.readiness_override:
        return
    allowed_before = held.enabled and not held.readiness_override
    identity = identity_of(wanted)
    if (allowed_before and identity_of(held) == identity) or passed(connection, identity, now):
        return
    message = (
        "reports of this identity have no passed readiness check of the last 30 days; run dmarcgate report readiness, "
        "or say here why reports may leave without one"
    )
    raise InvalidSettings((Problem("reports.readiness_override", message),))
