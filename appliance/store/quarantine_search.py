"""Find quarantined messages: by who, to whom, what and when, a page at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, or_, select

from appliance.mail.domain import InvalidDomain, to_a_label
from appliance.store.quarantine import IN_QUARANTINE, HoldState, Place, QuarantineRow, newest_first, place_of
from appliance.store.schema import quarantine
from appliance.store.values import to_json, to_micros

_AT_A_TIME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """What a message must fit; ``""`` and ``None`` fit all. Case never matters."""

    states: tuple[HoldState, ...] = IN_QUARANTINE
    author_domain: str = ""
    """A-labels or U-labels; the domain itself."""
    sender: str = ""
    """A part of MAIL FROM or of the From field."""
    recipient: str = ""
    """A part of any recipient's address."""
    subject: str = ""
    """A part of it."""
    message_id: str = ""
    """With or without angle brackets."""
    client_ip: str = ""
    since: datetime | None = None
    before: datetime | None = None


def search(
    connection: Connection, criteria: Criteria, limit: int = 50, *, after: Place | None = None
) -> list[QuarantineRow]:
    """The next *limit* messages that fit, newest first."""
    fits = _recipient_filter(criteria.recipient)
    found: list[QuarantineRow] = []
    for row in _rows(connection, criteria, after):
        if fits(row):
            found.append(row)
            if len(found) == limit:
                break
    return found


def _rows(connection: Connection, criteria: Criteria, after: Place | None) -> Iterator[QuarantineRow]:
    """All that fit by their columns, read some at a time."""
    wanted = select(quarantine).where(*_conditions(criteria))
    while True:
        page = newest_first(connection, wanted, _AT_A_TIME, after=after)
        yield from page
        if len(page) < _AT_A_TIME:
            return
        after = place_of(page[-1])


def _conditions(criteria: Criteria) -> Iterator[ColumnElement[bool]]:
    columns = quarantine.c
    yield columns.state.in_(criteria.states)
    if criteria.author_domain:
        yield columns.author_domain == _a_label(criteria.author_domain)
    if criteria.sender:
        yield or_(
            columns.mail_from.icontains(criteria.sender, autoescape=True),
            columns.header_from.icontains(criteria.sender, autoescape=True),
        )
    if criteria.recipient:
        # The whole envelope as it is stored: a first sieve, with more in it than the recipients.
        yield columns.envelope.icontains(to_json(criteria.recipient)[1:-1], autoescape=True)
    if criteria.subject:
        yield columns.subject.icontains(criteria.subject, autoescape=True)
    if criteria.message_id:
        bare = criteria.message_id.strip("<> ")
        yield columns.message_id.in_([bare, f"<{bare}>"])
    if criteria.client_ip:
        yield columns.client_ip == criteria.client_ip
    if criteria.since is not None:
        yield columns.held_at >= to_micros(criteria.since)
    if criteria.before is not None:
        yield columns.held_at < to_micros(criteria.before)


def _recipient_filter(part: str) -> Callable[[QuarantineRow], bool]:
    wanted = part.lower()
    return lambda row: any(wanted in recipient.address.lower() for recipient in row.envelope.recipients)


def _a_label(domain: str) -> str:
    try:
        return to_a_label(domain.strip())
    except InvalidDomain:
        return domain.strip().lower()  # no message is of such a domain
