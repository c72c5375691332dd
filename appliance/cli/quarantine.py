"""``dmarcgate quarantine``: quarantined mail by command line."""

from pathlib import Path

import click

from appliance.cli.failures import CommandFailed
from appliance.cli.options import json_option, node_options, opened_store, print_json, who
from appliance.node import Endpoint
from appliance.quarantine import (
    DamagedMessage,
    MissingMessage,
    Quarantine,
    ReleaseRefused,
    ReleaseUncertain,
    release,
)
from appliance.store import quarantine as rows

_SHOWN = 40


@click.group("quarantine")
def quarantine_command() -> None:
    """List and release quarantined mail."""


@quarantine_command.command("list")
@node_options
@json_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
def list_(config: Path | None, store: str | None, as_json: bool, limit: int) -> None:  # noqa: FBT001
    """The messages held, newest first."""
    _, opened = opened_store(config, store)
    with opened.read() as connection:
        held = rows.list_held(connection, limit)
    for row in held:
        recipients = [recipient.address for recipient in row.envelope.recipients]
        if as_json:
            print_json(
                {
                    "id": row.event_id,
                    "held_at": row.held_at.isoformat(),
                    "author_domain": row.author_domain,
                    "mail_from": row.envelope.mail_from,
                    "recipients": recipients,
                    "subject": row.subject,
                    "reason": row.reason,
                    "size_octets": row.size_octets,
                    "queue_id": row.envelope.queue_id,
                }
            )
        else:
            subject = printable(row.subject)[:_SHOWN]
            click.echo(
                f"{row.event_id}  {row.held_at:%Y-%m-%d %H:%M}Z  {row.author_domain or '-'}  "
                f"{printable(', '.join(recipients))[:_SHOWN]}  {row.reason}  {subject}"
            )


@quarantine_command.command("release")
@node_options
@click.option(
    "--to", "recipients", multiple=True, metavar="ADDRESS", help="Instead of the original recipients."
)
@click.option("--again", is_flag=True, help="Also what a broken release may have delivered already.")
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
def release_(
    config: Path | None,
    store: str | None,
    recipients: tuple[str, ...],
    again: bool,  # noqa: FBT001  click gives flags by name
    ids: tuple[str, ...],
) -> None:
    """Deliver held messages; they are not verified again."""
    node, opened = opened_store(config, store)
    endpoint = Endpoint.parse(node.postfix.release)
    for event_id in ids:
        try:
            queue_id = release(
                opened,
                Quarantine(node.quarantine),
                event_id,
                smtp=(endpoint.host, endpoint.port),
                actor=who(),
                recipients=recipients or None,
                again=again,
            )
        except (MissingMessage, DamagedMessage, ReleaseRefused, ReleaseUncertain) as error:
            raise CommandFailed(f"{event_id}: {error}", status=1) from None
        click.echo(f"{event_id} released as {queue_id}")


def printable(text: str) -> str:
    """*text* for a terminal: what could steer it shows as U+FFFD."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
