"""Quarantined messages on a terminal and as JSON."""

import textwrap
from datetime import datetime
from typing import Any

import click

from appliance.quarantine import Condition, MessageView, may_be_under_way
from appliance.quarantine.text import safe
from appliance.quarantine.usage import show_size
from appliance.store.quarantine import HoldState, QuarantineRow

_SHOWN = 40


def state_of(row: QuarantineRow, now: datetime) -> str:
    """The state in words."""
    match row.state:
        case HoldState.RELEASING if not may_be_under_way(row, now):
            return "may have been delivered"
        case HoldState.RELEASED:
            return f"released as {row.release_queue_id}"
        case state:
            return state.value


def trouble_of(condition: Condition | None, row: QuarantineRow) -> str:
    """What keeps the message from being released from here, in words."""
    match condition:
        case None:
            return f"the file is on {row.node}"
        case Condition.GONE:
            return "the file is gone"
        case Condition.CUT_SHORT:
            return "the file was cut short"
        case Condition.COMPLETE:
            return ""


def line_of(row: QuarantineRow, now: datetime, condition: Condition | None) -> str:
    """One line of a list."""
    recipients = ", ".join(recipient.address for recipient in row.envelope.recipients)
    remarks = [trouble_of(condition, row)]
    if row.state is not HoldState.HELD:
        remarks.append(state_of(row, now))
    remark = "; ".join(filter(None, remarks))
    return "  ".join(
        [
            row.event_id,
            f"{row.held_at:%Y-%m-%d %H:%M}Z",
            row.author_domain or "-",
            safe(recipients)[:_SHOWN],
            safe(row.reason),
            safe(row.subject)[:_SHOWN],
            *([f"({remark})"] if remark else []),
        ]
    )


def facts_of(row: QuarantineRow, now: datetime, condition: Condition | None) -> dict[str, Any]:
    """All that the store knows of the message."""
    return {
        "id": row.event_id,
        "node": row.node,
        "held_at": row.held_at.isoformat(),
        "state": row.state.value,
        "state_in_words": state_of(row, now),
        "changed_at": row.changed_at.isoformat() if row.changed_at else None,
        "file": condition.value if condition else "on another node",
        "author_domain": row.author_domain,
        "header_from": row.header_from,
        "mail_from": safe(row.envelope.mail_from),
        "recipients": [safe(recipient.address) for recipient in row.envelope.recipients],
        "subject": row.subject,
        "message_id": row.message_id,
        "client_ip": row.client_ip,
        "reason": row.reason,
        "size_octets": row.size_octets,
        "queue_id": row.envelope.queue_id,
        "release_queue_id": row.release_queue_id,
    }


def show_message(
    row: QuarantineRow, shown: MessageView | None, trouble: str, now: datetime, condition: Condition | None
) -> None:
    """The message for people."""
    for name, value in facts_of(row, now, condition).items():
        text = ", ".join(value) if isinstance(value, list) else str(value if value is not None else "")
        click.echo(f"{name.replace('_', ' ') + ':':<18}{safe(text)}")
    click.echo()
    if shown is None:
        click.echo(trouble, err=True)
        return
    for field, value in shown.fields:
        click.echo(f"{field}: {value}")
    for text in shown.texts:
        click.echo("\n" + textwrap.indent(text, "  ", lambda _: True))
    click.echo()
    for part in shown.parts:
        click.echo(f"{'  ' * part.depth}{part.type}  {show_size(part.size_octets)}  {part.name}".rstrip())
    for note in shown.notes:
        click.echo(f"note: {note}")


def message_document(shown: MessageView) -> dict[str, Any]:
    """The message for programs."""
    return {
        "subject": shown.subject,
        "author": shown.author,
        "fields": shown.fields,
        "texts": shown.texts,
        "parts": [
            {"type": part.type, "name": part.name, "size_octets": part.size_octets, "shown": part.shown}
            for part in shown.parts
        ],
        "notes": shown.notes,
    }
