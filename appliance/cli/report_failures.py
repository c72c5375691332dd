"""``dmarcgate report failures``: the failure reports, and what became of each."""

from pathlib import Path
from typing import Any

import click

from appliance.cli.options import json_option, node_options, opened_store, print_json
from appliance.cli.report_text import SHOWN, moment
from appliance.quarantine.text import safe
from appliance.store import failures as rows
from appliance.store.failures import FailureRow


@click.command("failures")
@node_options
@json_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--before", type=click.IntRange(1), metavar="ID", help="Only older ones: the next page.")
def failures(config: Path | None, store: str | None, as_json: bool, limit: int, before: int | None) -> None:  # noqa: FBT001
    """The failures that reports are asked for about, newest first: incidents, and what became of the report."""
    _, opened = opened_store(config, store)
    with opened.read() as connection:
        found = rows.recent(connection, limit, before=before)
    for row in found:
        if as_json:
            print_json(_document(row))
        else:
            click.echo("\n".join(_lines(row)))
    if len(found) == limit:
        click.echo(f"more: --before {found[-1].id}", err=True)
    elif not found:
        click.echo("no failure reports", err=True)


def _lines(row: FailureRow) -> list[str]:
    about = row.author_domain or "all domains"
    source = f"from {row.sample.source_ip}" if row.sample is not None else ""
    words = (
        f"{row.id:>6}",
        f"{row.first_at:%Y-%m-%d %H:%M}Z",
        about,
        source,
        f"{row.incidents} incidents",
        row.status.value,
        safe(row.reason)[: 2 * SHOWN],
        f"message {row.event_id}" if row.event_id else "",
    )
    lines = ["  ".join(word for word in words if word)]
    for address, copy in row.copies.items():
        queue_id = f", {safe(copy.queue_id)}" if copy.queue_id else ""
        reply = f": {safe(copy.reply)[:SHOWN]}" if copy.reply else ""
        lines.append(f"          {safe(address)}  {copy.outcome or 'not tried yet'}{queue_id}{reply}")
    return lines


def _document(row: FailureRow) -> dict[str, Any]:
    copies = [
        {"address": address, "outcome": copy.outcome, "queue_id": copy.queue_id, "reply": copy.reply}
        for address, copy in row.copies.items()
    ]
    return {
        "id": row.id,
        "event_id": row.event_id,
        "policy_domain": row.policy_domain,
        "author_domain": row.author_domain,
        "kind": row.sample.kind.value if row.sample is not None else None,
        "source_ip": row.sample.source_ip if row.sample is not None else None,
        "first_at": moment(row.first_at),
        "last_at": moment(row.last_at),
        "incidents": row.incidents,
        "reported": row.reported,
        "report_id": row.report_id,
        "status": row.status.value,
        "reason": row.reason,
        "destinations": copies,
    }
