"""Release a message and let its like through from now on: an exception for its client and author domain."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from ipaddress import ip_network

from appliance.quarantine.desk import Desk, NotNow
from appliance.quarantine.releasing import carry_out, releasable
from appliance.settings import Settings, lists
from appliance.settings.exceptions import ExceptionMode, ExceptionRecord
from appliance.settings.records import DomainRecord
from appliance.store import saving, settings
from appliance.store.quarantine import Notify, QuarantineRow
from appliance.store.settings import SettingsConflict

TRIES = 5


@dataclass(frozen=True, slots=True)
class Wish:
    """What an administrator says of the exception: who answers for it, until what day, and why."""

    owner: str
    until: date | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Released:
    """*exception* is the record that lets such mail through, *added* whether it is new."""

    queue_id: str
    exception: str
    added: bool


def release_with_exception(
    desk: Desk,
    event_id: str,
    wish: Wish,
    *,
    actor: str,
    recipients: Sequence[str] | None = None,
    notify: Notify = Notify.NEVER,
    again: bool = False,
    address: str = "",
) -> Released:
    """Add the exception to the settings, then ``release``; where Postfix refuses the message the exception stays.

    Mail of the message's author domain from its client is then verified, but not acted on. Raises what ``release``
    does, ``NotNow`` for a message without client or author domain, ``InvalidSettings`` and ``SettingsConflict``.
    """
    row, to = releasable(desk, event_id, recipients, notify, again=again)
    record = exception_for(row, wish)
    added = _add(desk, record, actor=actor, address=address, comment=f"released message {event_id}")
    queue_id = carry_out(desk, row, to, notify, actor=actor, address=address)
    return Released(queue_id, str(record), added)


def exception_for(row: QuarantineRow, wish: Wish) -> ExceptionRecord:
    """The exception that would have let the message through. Raises ``NotNow`` where there is none."""
    if not row.client_ip:
        raise NotNow(
            f"message {row.event_id} came from this machine: there is no client to make an exception for"
        )
    if not row.author_domain:
        raise NotNow(
            f"message {row.event_id} names no author domain: an exception by its address alone would let through "
            "anything from there, so it is not made here"
        )
    return ExceptionRecord(
        ip_network(row.client_ip),
        ExceptionMode.EVALUATE,
        wish.until,
        wish.owner,
        DomainRecord(row.author_domain),
        comment=wish.comment,
    )


def _add(desk: Desk, record: ExceptionRecord, *, actor: str, address: str, comment: str) -> bool:
    """Whether the record was missing. Somebody else's save in the meantime is no obstacle."""
    for left in reversed(range(TRIES)):
        try:
            with desk.store.begin() as connection:
                revision = settings.current(connection)
                wanted = _with(revision.settings, record)
                saved = saving.save(
                    connection,
                    wanted,
                    based_on=revision.number,
                    author=actor,
                    comment=comment,
                    address=address,
                )
        except SettingsConflict:
            if not left:
                raise
        else:
            return saved.is_new
    raise AssertionError("the last try returns or raises")


def _with(before: Settings, record: ExceptionRecord) -> Settings:
    """*before* with the exception; one that holds already stays, one that has expired is renewed."""
    there = next((old for old in before.verification.exceptions if old.key == record.key), None)
    if there is not None:
        if there.until is None or there.until >= datetime.now(UTC).date():
            return before
        before = lists.remove(before, "exceptions", [record.key]).settings
    return lists.add(before, "exceptions", [str(record)]).settings
