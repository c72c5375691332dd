"""Facts: how often each row of an aggregate report was seen, by UTC hour and published policy."""

import hashlib
from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping
from dataclasses import astuple, dataclass
from functools import lru_cache

from sqlalchemy import Connection, and_, exists, func, select, true

from appliance.store import fact_flood
from appliance.store.batch import BatchInsert, Insert
from appliance.store.fact_flood import DAY, DayOfFacts
from appliance.store.report_rows import PublishedPolicy, ReportRow, row_of
from appliance.store.schema import fact, fact_cause, fact_row, published_policy
from appliance.store.values import from_json, to_json

__all__ = [
    "PolicyGroup",
    "PublishedPolicy",
    "ReportRow",
    "accepted_since",
    "add",
    "aggregate_rows",
    "causes_report",
    "days_seen",
    "folded",
    "group",
    "policy_groups",
    "row_of",
]

VERSION = 1
"""Of the encoding that keys are made from; a change of ``ReportRow`` needs another."""
ROWS_AT_ONCE = 1000

_ACCEPTED = ("none", "pass")


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """What one report is about (AGG-03, AGG-04)."""

    policy_domain: str
    published: PublishedPolicy

    @property
    def key(self) -> str:
        """Names the group in a report job: hexadecimal."""
        return _policy_key(self.policy_domain, self.published, rua_present=True)[0].hex()


def _sum(insert: Insert) -> Insert:
    return insert.on_conflict_do_update(
        index_elements=[fact.c.policy_key, fact.c.hour, fact.c.row_key],
        set_={"count": fact.c.count + insert.excluded.count},
    )


def _keep(insert: Insert) -> Insert:
    return insert.on_conflict_do_nothing()


_POLICIES = BatchInsert(published_policy, ("key", "policy_domain", "rua_present", "document"), _keep)
_ROWS = BatchInsert(fact_row, ("key", "disposition", "document"), _keep)
_CAUSES = BatchInsert(fact_cause, ("policy_key", "day"), _keep)
_FACTS = BatchInsert(fact, ("policy_key", "hour", "row_key", "count"), _sum)


def add(
    connection: Connection,
    hour: int,
    rows: Iterable[ReportRow],
    *,
    most_new_rows: int = fact_flood.MOST_NEW_ROWS,
) -> None:
    """Count each of *rows* once in *hour*: Unix seconds of an hour's start."""
    add_hours(connection, {hour: rows}, most_new_rows=most_new_rows)


def add_hours(
    connection: Connection,
    hours: Mapping[int, Iterable[ReportRow]],
    *,
    most_new_rows: int = fact_flood.MOST_NEW_ROWS,
) -> None:
    """Like ``add`` for several hours, in the same few statements.

    Rows that a UTC day has no room for, because *most_new_rows* came before, are folded: counted, but not kept.
    Everything is inserted in the order of its keys, so that two workers never wait for each other in a circle.
    """
    days: dict[int, DayOfFacts] = defaultdict(DayOfFacts)
    for hour, seen in hours.items():
        day = days[hour // DAY]
        for row in seen:
            policy_key, document = _policy_key(row.policy_domain, row.published, rua_present=row.rua_present)
            row_key, row_document = _row_key(policy_key, hour // DAY, row)
            day.policies[policy_key] = (policy_key, row.policy_domain, row.rua_present, document)
            day.rows[row_key] = (row_key, row.disposition, row_document)
            day.counts[policy_key, hour, row_key] += 1
            if row.causes_report:
                day.causes.add(policy_key)
    kept = {
        number: fact_flood.limited(connection, number, days[number], most_new_rows) for number in sorted(days)
    }
    policies = {key: policy for day in kept.values() for key, policy in day.policies.items()}
    counts = [(*key, count) for day in kept.values() for key, count in day.counts.items()]
    folded = [(*key, count) for day in kept.values() for key, count in day.folded.items()]
    _POLICIES.run(connection, [policies[key] for key in sorted(policies)])
    for number, day in kept.items():
        fact_flood.use(connection, number, _ROWS.run(connection, [day.rows[key] for key in sorted(day.rows)]))
    _CAUSES.run(connection, sorted((key, number) for number, day in kept.items() for key in day.causes))
    _FACTS.run(connection, sorted(counts))
    fact_flood.add(connection, sorted(folded))


def policy_groups(
    connection: Connection, begin: int, end: int, *, policy_domain: str | None = None
) -> list[PolicyGroup]:
    """The groups with facts in ``[begin, end)`` (Unix seconds) whose record asks for reports (AGG-18).

    All, or those of one *policy_domain*.
    """
    seen = exists().where(
        and_(fact.c.policy_key == published_policy.c.key, fact.c.hour >= begin, fact.c.hour < end)
    )
    of_domain = true() if policy_domain is None else published_policy.c.policy_domain == policy_domain
    found = connection.execute(
        select(published_policy.c.document)
        .where(published_policy.c.rua_present, of_domain, seen)
        .order_by(published_policy.c.policy_domain, published_policy.c.key)
    )
    return [_group_from(document) for (document,) in found]


def group(connection: Connection, key: str) -> PolicyGroup | None:
    """The group of this key, if it was ever seen."""
    found = connection.scalar(
        select(published_policy.c.document).where(
            published_policy.c.key == bytes.fromhex(key), published_policy.c.rua_present
        )
    )
    return _group_from(found) if found is not None else None


def aggregate_rows(
    connection: Connection, group: PolicyGroup, begin: int, end: int
) -> Generator[tuple[ReportRow, int], None, None]:
    """The rows of one report with their counts, always in the same order; read inside the transaction.

    The period lies within one UTC day: what was seen on two days are two rows.
    """
    key = bytes.fromhex(group.key)
    counts = (
        select(fact.c.row_key, func.sum(fact.c.count).label("total"))
        .where(fact.c.policy_key == key, fact.c.hour >= begin, fact.c.hour < end)
        .group_by(fact.c.row_key)
        .subquery()
    )
    wanted = (
        select(fact_row.c.document, counts.c.total)
        .join(counts, counts.c.row_key == fact_row.c.key)
        .order_by(counts.c.row_key)
    )
    with connection.execute(wanted, execution_options={"yield_per": ROWS_AT_ONCE}) as found:
        for document, total in found:
            yield _row_from(group, document), int(total)


def folded(connection: Connection, group: PolicyGroup, begin: int, end: int) -> int:
    """How many messages of *group* in ``[begin, end)`` were counted without a row: more came than a day has room for."""
    return fact_flood.folded(connection, begin, end, policy_key=bytes.fromhex(group.key))


def days_seen(connection: Connection, policy_domain: str, since: int, until: int) -> int:
    """On how many UTC days that begin in ``[since, until)`` (Unix seconds) mail of *policy_domain* may cause a report."""
    seen = (
        select(func.count(fact_cause.c.day.distinct()))
        .join(published_policy, published_policy.c.key == fact_cause.c.policy_key)
        .where(
            published_policy.c.policy_domain == policy_domain,
            fact_cause.c.day >= -(-since // DAY),
            fact_cause.c.day < -(-until // DAY),
        )
    )
    return connection.scalar(seen) or 0


def causes_report(connection: Connection, group: PolicyGroup, day: int) -> bool:
    """Whether mail of *group* on the UTC *day* (days since 1970) may cause a report: not all of it is about mail."""
    return (
        connection.execute(
            select(fact_cause.c.day).where(
                fact_cause.c.policy_key == bytes.fromhex(group.key), fact_cause.c.day == day
            )
        ).first()
        is not None
    )


def accepted_since(connection: Connection, policy_domain: str, since: int) -> bool:
    """Whether a message of *policy_domain* was accepted and not quarantined since then (Unix seconds)."""
    accepted = (
        select(fact.c.row_key)
        .join(published_policy, published_policy.c.key == fact.c.policy_key)
        .join(fact_row, fact_row.c.key == fact.c.row_key)
        .where(
            published_policy.c.policy_domain == policy_domain,
            fact.c.hour >= since,
            fact_row.c.disposition.in_(_ACCEPTED),
        )
        .limit(1)
    )
    return connection.execute(accepted).first() is not None


@lru_cache(maxsize=4096)
def _policy_key(policy_domain: str, published: PublishedPolicy, *, rua_present: bool) -> tuple[bytes, str]:
    """Key and document. A record with ``rua`` and one without are two groups: the latter gets no report."""
    document = to_json((policy_domain, *astuple(published)))
    return _digest(to_json((VERSION, rua_present, document))), document


def _row_key(policy_key: bytes, day: int, row: ReportRow) -> tuple[bytes, str]:
    """Key and document. The key begins with the UTC day."""
    document = to_json(
        (
            row.source_ip,
            row.disposition,
            row.dkim_aligned,
            row.spf_aligned,
            row.reasons,
            row.header_from,
            row.envelope_from,
            row.envelope_to,
            row.dkim,
            row.spf_domain,
            row.spf_scope,
            row.spf_result,
        )
    )
    return day.to_bytes(2, "big") + _digest(policy_key.hex() + document), document


def _digest(text: str) -> bytes:
    """128 bits of SHA-256: nobody can find two rows with one key, and the largest table stays small."""
    return hashlib.sha256(text.encode("ascii")).digest()[:16]


def _group_from(document: str) -> PolicyGroup:
    policy_domain, *published = from_json(document)
    return PolicyGroup(policy_domain, PublishedPolicy(*published))


def _row_from(group: PolicyGroup, document: str) -> ReportRow:
    source_ip, disposition, dkim_aligned, spf_aligned, reasons, *names, dkim, domain, scope, result = (
        from_json(document)
    )
    header_from, envelope_from, envelope_to = names
    return ReportRow(
        policy_domain=group.policy_domain,
        published=group.published,
        rua_present=True,
        source_ip=source_ip,
        disposition=disposition,
        dkim_aligned=dkim_aligned,
        spf_aligned=spf_aligned,
        reasons=tuple((word, comment) for word, comment in reasons),
        header_from=header_from,
        envelope_from=envelope_from,
        envelope_to=envelope_to,
        dkim=tuple((domain, selector, result, human) for domain, selector, result, human in dkim),
        spf_domain=domain,
        spf_scope=scope,
        spf_result=result,
    )
