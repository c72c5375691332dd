"""Releases that broke off: find out whether Postfix took the message, and finish or repeat them."""

from dataclasses import dataclass
from datetime import datetime

from appliance.quarantine import postfix_log
from appliance.quarantine.desk import BROKEN_OFF, Desk, NotNow
from appliance.quarantine.files import DamagedMessage, MissingMessage
from appliance.quarantine.handover import PostfixUnreachable, ReleaseRefused, ReleaseUncertain
from appliance.quarantine.postfix_log import Fate, Finding
from appliance.quarantine.releasing import carry_out, finish_broken_off, give_up
from appliance.store import quarantine_expiry as expiry
from appliance.store.quarantine import QuarantineRow

ACTOR = "dmarcgate"


@dataclass(frozen=True, slots=True)
class Recovered:
    """Event IDs of what a crash had left."""

    delivered: tuple[str, ...] = ()
    """Postfix had taken them."""
    repeated: tuple[str, ...] = ()
    """Postfix had not, and took them now."""
    given_up: tuple[str, ...] = ()
    """Postfix had not, and doesn't; they are as they were before their release."""
    waiting: tuple[str, ...] = ()
    """Postfix had not, and can't be reached now."""
    uncertain: tuple[str, ...] = ()
    """Only people can tell: they may have been delivered."""


def recover(desk: Desk, now: datetime) -> Recovered:
    """Decide about this node's releases that broke off. Safe when two processes do it at once."""
    with desk.store.read() as connection:
        found = expiry.broken_off(connection, desk.node, now - BROKEN_OFF)
    outcomes: dict[str, tuple[str, ...]] = {}
    for row in found:
        try:
            outcome = _decide(desk, row)
        except NotNow:  # another process was faster
            continue
        outcomes[outcome] = (*outcomes.get(outcome, ()), row.event_id)
    return Recovered(**outcomes)


def _decide(desk: Desk, row: QuarantineRow) -> str:
    assert row.release is not None, "who begins a release stores its order"
    log = row.release.log
    finding = postfix_log.find(row.event_id, desk.log, log) if log is not None else Finding(Fate.UNKNOWN)
    match finding.fate:
        case Fate.TAKEN:
            note = ", found in Postfix's log after the release broke off"
            if not finish_broken_off(desk, row, finding.queue_id, actor=row.release.actor, note=note):
                raise NotNow
            return "delivered"
        case Fate.NOT_TAKEN:
            return _repeat(desk, row)
        case Fate.UNKNOWN:
            return "uncertain"


def _repeat(desk: Desk, row: QuarantineRow) -> str:
    order = row.release
    assert order is not None
    note = ", repeated after the release broke off"
    try:
        carry_out(desk, row, order.recipients, order.notify, actor=order.actor, note=note)
    except PostfixUnreachable:
        return "waiting"
    except ReleaseUncertain:
        return "uncertain"
    except (ReleaseRefused, MissingMessage, DamagedMessage) as error:
        give_up(desk, row, actor=ACTOR, reason=str(error))
        return "given_up"
    return "repeated"
