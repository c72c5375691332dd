"""Figures for the postmaster: who writes to us."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, case, distinct, func, select, true

from appliance.dmarc.evaluation import DmarcWord
from appliance.store.schema import event
from appliance.store.values import from_micros, to_micros

MOST_EVENTS = 100_000


@dataclass(frozen=True, slots=True)
class AuthorDomainFigures:
    author_domain: str
    messages: int
    failed: int
    """Of *messages*, those whose DMARC result is fail."""
    clients: int
    """Different client addresses: anyone can send much mail in another's name, but seldom from many places (T50)."""


@dataclass(frozen=True, slots=True)
class TopAuthorDomains:
    domains: tuple[AuthorDomainFigures, ...]
    """The largest number first."""
    since: datetime
    """From when on messages were counted: later than asked for where there were too many."""


def top_author_domains(
    connection: Connection,
    since: datetime,
    until: datetime,
    *,
    limit: int = 20,
    most_events: int = MOST_EVENTS,
    by_failures: bool = False,
) -> TopAuthorDomains:
    """The Author Domains of the verified messages received in ``[since, until)``: at most the newest *most_events*.

    *by_failures*: only those of which any failed, in the order of their failures.
    """
    received = event.c.received_at
    newest = (
        select(received, event.c.author_domain, event.c.client_ip, event.c.result)
        .where(received >= to_micros(since), received < to_micros(until))
        .order_by(received.desc(), event.c.id.desc())
        .limit(most_events)
        .subquery()
    )
    seen, oldest = connection.execute(select(func.count(), func.min(newest.c.received_at))).one()
    messages = func.count().label("messages")
    failed = func.sum(case((newest.c.result == DmarcWord.FAIL.value, 1), else_=0))
    found = connection.execute(
        select(newest.c.author_domain, messages, failed, func.count(distinct(newest.c.client_ip)))
        .where(newest.c.author_domain != "")
        .group_by(newest.c.author_domain)
        .having(failed > 0 if by_failures else true())
        .order_by((failed if by_failures else messages).desc(), newest.c.author_domain)
        .limit(limit)
    )
    return TopAuthorDomains(
        tuple(
            AuthorDomainFigures(domain, total, int(fails), clients) for domain, total, fails, clients in found
        ),
        from_micros(oldest) if seen == most_events else since,
    )
