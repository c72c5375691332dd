"""Release held messages: to their recipients or to others, once, whatever breaks in the middle.

A row goes from *held* to *releasing*, with all that finishing the release takes, before Postfix hears of the message,
and to *released* after Postfix took it. What is found in *releasing* later is decided by Postfix's log (``recovery``).
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime

from appliance.mail.message import Envelope, Recipient
from appliance.quarantine import handover, postfix_log
from appliance.quarantine.desk import BROKEN_OFF, HAND_OVER_SECONDS, Desk, NotNow
from appliance.quarantine.handover import Outlet, ReleaseRefused
from appliance.store import audit
from appliance.store import quarantine as rows
from appliance.store.quarantine import HoldState, Notify, QuarantineRow, ReleaseOrder

TRACE_FIELD = "X-DMARC-Gate-Released"

_ADDRESS = re.compile(r"[^\s<>\x00-\x1f\x7f]+@[^\s<>@\x00-\x1f\x7f]+")


def release(
    desk: Desk,
    event_id: str,
    *,
    actor: str,
    recipients: Sequence[str] | None = None,
    notify: Notify = Notify.NEVER,
    again: bool = False,
    address: str = "",
) -> str:
    """Hand a held message to Postfix, to *recipients* instead of its own when given; returns the new queue ID.

    The message goes as it came, with one trace field on top. Nobody is notified of its delivery, since its sender may
    be forged, unless *notify* says so. *again*: also one that was released, or may have been. *address* is where the
    actor's request came from.
    Raises ``MissingMessage``, ``DamagedMessage``, ``NotNow``, ``ReleaseRefused`` or ``ReleaseUncertain``.
    """
    row, to = releasable(desk, event_id, recipients, notify, again=again)
    return carry_out(desk, row, to, notify, actor=actor, address=address)


def releasable(
    desk: Desk, event_id: str, recipients: Sequence[str] | None, notify: Notify, *, again: bool
) -> tuple[QuarantineRow, tuple[Recipient, ...]]:
    """The row of a message that may be released now, and to whom. Raises what ``release`` does before it begins."""
    row = desk.find(event_id)
    _may_be_released(row, datetime.now(UTC), again=again)
    return row, _recipients(row.envelope, recipients, notify)


def carry_out(
    desk: Desk,
    row: QuarantineRow,
    recipients: tuple[Recipient, ...],
    notify: Notify,
    *,
    actor: str,
    note: str = "",
    address: str = "",
) -> str:
    """Release the message of *row*, as ``release`` has it; *note* goes into the audit log.

    Raises ``NotNow`` when somebody else changed the row meanwhile.
    """
    octets = desk.octets(row)
    with handover.connected(desk.smtp, HAND_OVER_SECONDS) as outlet:
        outlet.check(row.envelope, notify)
        log = postfix_log.position(desk.log) if outlet.name(row.event_id) else None
        before = row.release.before if row.release is not None else row.state
        order = ReleaseOrder(recipients, notify, actor, before, log)
        begun = _begin(desk, row, order)
        queue_id = _deliver(desk, begun, order, outlet, octets)
    _finish(desk, begun, queue_id, order, note=note, address=address)
    return queue_id


def finish_broken_off(desk: Desk, row: QuarantineRow, queue_id: str, *, actor: str, note: str) -> bool:
    """Note that Postfix took the message of *row* as *queue_id*; ``False`` when somebody else did so meanwhile."""
    assert row.release is not None
    return _finish(desk, row, queue_id, row.release, note=note, actor=actor)


def give_up(desk: Desk, row: QuarantineRow, *, actor: str, reason: str) -> None:
    """The release of *row* surely didn't happen, and won't: the message is as it was before."""
    assert row.release is not None
    with desk.store.begin() as connection:
        rows.change(connection, row, row.release.before, datetime.now(UTC))  # if that isn't done yet
        audit.write(connection, actor, "quarantine recovery", row.event_id, f"not released: {reason}")


def may_be_under_way(row: QuarantineRow, now: datetime) -> bool:
    """Whether somebody is just releasing the message; else its state *releasing* is what a crash left."""
    return (
        row.state is HoldState.RELEASING and row.changed_at is not None and row.changed_at > now - BROKEN_OFF
    )


def _may_be_released(row: QuarantineRow, now: datetime, *, again: bool) -> None:
    event_id = row.event_id
    match row.state:
        case HoldState.HELD:
            return
        case HoldState.DELETED:
            raise NotNow(f"message {event_id} was deleted: bring it back with undelete first")
        case HoldState.RELEASING if may_be_under_way(row, now):
            raise NotNow(f"message {event_id} is just being released: look again in ten minutes")
        case _ if again:
            return
        case HoldState.RELEASING:
            raise NotNow(
                f"message {event_id} may have been delivered, a release broke off: look in Postfix's log for its "
                "Message-ID, then delete it or release it again"
            )
        case HoldState.RELEASED:
            raise NotNow(
                f"message {event_id} was released already, as {row.release_queue_id or 'Postfix told no ID'}"
            )


def _recipients(envelope: Envelope, instead: Sequence[str] | None, notify: Notify) -> tuple[Recipient, ...]:
    """Whom the message goes to. Original parameters are an original recipient's only."""
    recipients = envelope.recipients
    if instead is not None:
        for address in instead:
            if not _ADDRESS.fullmatch(address):
                raise ReleaseRefused(f"{address!r} is not a mail address")
        known = {recipient.address: recipient for recipient in envelope.recipients}
        chosen = [known.get(address) or Recipient(address, ("NOTIFY=NEVER",)) for address in instead]
        recipients = tuple(dict.fromkeys(chosen))
    if not recipients:
        raise ReleaseRefused("the message has no recipient: name one")
    if notify is Notify.ORIGINAL:
        return recipients
    return tuple(handover.without_notice(recipient) for recipient in recipients)


def _begin(desk: Desk, row: QuarantineRow, order: ReleaseOrder) -> QuarantineRow:
    with desk.store.begin() as connection:
        begun = rows.change(connection, row, HoldState.RELEASING, datetime.now(UTC), release=order)
    if begun is None:
        raise NotNow(f"message {row.event_id} is just being released or deleted by somebody else")
    return begun


def _deliver(desk: Desk, begun: QuarantineRow, order: ReleaseOrder, outlet: Outlet, octets: bytes) -> str:
    trace = f"{TRACE_FIELD}: {begun.event_id}; {format_datetime(datetime.now(UTC))}\r\n".encode("ascii")
    try:
        return outlet.deliver(begun.envelope, order.recipients, order.notify, trace + octets)
    except ReleaseRefused:
        with desk.store.begin() as connection:
            rows.change(connection, begun, order.before, datetime.now(UTC))
        raise


def _finish(
    desk: Desk,
    row: QuarantineRow,
    queue_id: str,
    order: ReleaseOrder,
    *,
    note: str = "",
    actor: str = "",
    address: str = "",
) -> bool:
    addresses = ", ".join(recipient.address for recipient in order.recipients)
    told = ", with the original notification parameters" if order.notify is Notify.ORIGINAL else ""
    with desk.store.begin() as connection:
        changed = rows.change(
            connection, row, HoldState.RELEASED, datetime.now(UTC), release_queue_id=queue_id
        )
        if changed is None:
            return False
        audit.write(
            connection,
            actor or order.actor,
            "quarantine release",
            row.event_id,
            f"as {queue_id} to {addresses}{told}{note}",
            address,
        )
    return True
