"""What the building of reports asks of the facts: how many rows a report would get, and what has none."""

from sqlalchemy import Connection, and_, exists, func, literal, select, true

from appliance.store import fact_flood
from appliance.store.facts import PolicyGroup, group
from appliance.store.schema import fact, fact_folded, published_policy


def rows_by_hour(connection: Connection, key: str, begin: int, end: int) -> dict[int, int]:
    """How many rows the policy group with *key* has in each hour of ``[begin, end)`` in which it was seen.

    Hours are Unix seconds; one of which there are only folded messages has 0 rows.
    """
    policy_key = bytes.fromhex(key)
    hours = select(fact_folded.c.hour, literal(0)).where(
        fact_folded.c.policy_key == policy_key, fact_folded.c.hour >= begin, fact_folded.c.hour < end
    )
    rows = (
        select(fact.c.hour, func.count())
        .where(fact.c.policy_key == policy_key, fact.c.hour >= begin, fact.c.hour < end)
        .group_by(fact.c.hour)
    )
    return {int(hour): int(count) for asked in (hours, rows) for hour, count in connection.execute(asked)}


def has_more_rows(connection: Connection, key: str, begin: int, end: int, most: int) -> bool:
    """Whether a report of the policy group with *key* on ``[begin, end)`` has more than *most* records."""
    different = (
        select(fact.c.row_key)
        .where(fact.c.policy_key == bytes.fromhex(key), fact.c.hour >= begin, fact.c.hour < end)
        .distinct()
        .limit(most + 1)
        .subquery()
    )
    return (connection.scalar(select(func.count()).select_from(different)) or 0) > most


def any_row(connection: Connection, key: str, begin: int, end: int) -> bool:
    """Whether the policy group with *key* has facts in ``[begin, end)``."""
    wanted = (
        select(fact.c.hour)
        .where(fact.c.policy_key == bytes.fromhex(key), fact.c.hour >= begin, fact.c.hour < end)
        .limit(1)
    )
    return connection.execute(wanted).first() is not None


def folded_groups(
    connection: Connection, begin: int, end: int, *, policy_domain: str | None = None
) -> list[PolicyGroup]:
    """The groups that ask for reports and whose every message in ``[begin, end)`` was folded; or one domain's."""
    is_folded = exists().where(
        and_(
            fact_folded.c.policy_key == published_policy.c.key,
            fact_folded.c.hour >= begin,
            fact_folded.c.hour < end,
        )
    )
    has_rows = exists().where(
        and_(fact.c.policy_key == published_policy.c.key, fact.c.hour >= begin, fact.c.hour < end)
    )
    keys = connection.scalars(
        select(published_policy.c.key)
        .where(
            published_policy.c.rua_present,
            true() if policy_domain is None else published_policy.c.policy_domain == policy_domain,
            is_folded,
            ~has_rows,
        )
        .order_by(published_policy.c.policy_domain, published_policy.c.key)
    ).all()
    found = [group(connection, key.hex()) for key in keys]
    return [known for known in found if known is not None]


def folded_unknown(connection: Connection, begin: int, end: int) -> int:
    """Messages in ``[begin, end)`` whose policy was first seen when the day had no room: it isn't even kept."""
    return fact_flood.folded(connection, begin, end, policy_key=fact_flood.UNKNOWN_POLICY)
