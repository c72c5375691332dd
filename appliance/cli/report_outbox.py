"""``dmarcgate report list | show``: what became of reports."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from appliance.cli.failures import CommandFailed
from appliance.cli.options import json_option, node_options, opened_store, print_json
from appliance.cli.report_text import (
    a_label,
    copy_line,
    day_of,
    document_of,
    find_entry,
    hours,
    lines_of,
    moment,
    write_unpacked,
)
from appliance.quarantine.text import safe
from appliance.store import outbox, report_copies, reports
from appliance.store.engine import Store
from appliance.store.outbox import Entry
from appliance.store.reports import Attempt, JobStatus

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command("list")
@node_options
@json_option
@click.option("--day", type=_DAY, help="On one UTC day only.")
@click.option("--domain", metavar="DOMAIN", help="About one policy domain only.")
@click.option("--status", type=click.Choice([status.value for status in JobStatus]))
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--before", type=click.IntRange(1), metavar="ID", help="Only older ones: the next page.")
def list_(config: Path | None, store: str | None, as_json: bool, **wanted: Any) -> None:  # noqa: FBT001
    """The reports, newest first, and what became of each copy: delivered, put off, bounced, refused and why."""
    domain = a_label(wanted["domain"], "--domain") if wanted["domain"] else None
    _, opened = opened_store(config, store)
    with opened.read() as connection:
        found = outbox.entries(
            connection,
            wanted["limit"],
            datetime.now(UTC),
            day=day_of(wanted["day"]),
            domain=domain,
            status=JobStatus(wanted["status"]) if wanted["status"] else None,
            before=wanted["before"],
        )
    for entry in found:
        if as_json:
            print_json(document_of(entry))
        else:
            click.echo("\n".join(lines_of(entry)))
    if len(found) == wanted["limit"]:
        click.echo(f"more: --before {found[-1].job.id}", err=True)
    elif not found:
        click.echo("no reports", err=True)


@click.command("show")
@node_options
@json_option
@click.option("--xml", "as_xml", is_flag=True, help="The report itself.")
@click.option("--raw", is_flag=True, help="The mail, but for what differs between its receivers.")
@click.argument("job_id", type=click.IntRange(1), metavar="ID")
def show(
    config: Path | None,
    store: str | None,
    as_json: bool,  # noqa: FBT001  click gives flags by name
    as_xml: bool,  # noqa: FBT001
    raw: bool,  # noqa: FBT001
    job_id: int,
) -> None:
    """All about one report: where it goes, and every attempt."""
    _, opened = opened_store(config, store)
    entry = find_entry(opened, job_id)
    if as_xml or raw:
        _write(opened, entry, as_xml=as_xml)
        return
    with opened.read() as connection:
        attempts = reports.attempts(connection, job_id)
        frozen = report_copies.copies(connection, job_id)
    if as_json:
        senders = {address: copy.mail_from for address, copy in frozen.items()}
        made = [_attempt_document(attempt) for attempt in attempts]
        print_json({**document_of(entry), "return_paths": senders, "attempts": made})
    else:
        _tell(entry, attempts)


def _write(opened: Store, entry: Entry, *, as_xml: bool) -> None:
    with opened.read() as connection:
        ask = reports.xml_gz if as_xml else reports.message
        octets = ask(connection, entry.job.id)
    if octets is None:
        raise CommandFailed(f"report {entry.job.id} is {entry.job.status} and was never built", status=1)
    if as_xml:
        write_unpacked(octets)
    else:
        sys.stdout.buffer.write(octets)


def _tell(entry: Entry, attempts: list[Attempt]) -> None:
    job = entry.job
    facts = {
        "report": str(job.id),
        "policy domain": job.policy_domain,
        "period": f"{job.day} {hours(job.begin, job.end)} UTC",
        "Report-ID": job.report_id,
        "status": job.status.value,
        "reason": safe(job.reason),
        "holds": f"{job.rows} records, {job.messages} messages",
        "size": f"{job.size_octets} octets",
        "made": moment(job.created_at),
        "changed": moment(job.updated_at),
        "due": moment(job.due_at),
    }
    for name, value in facts.items():
        if value:
            click.echo(f"{name + ':':<15}{value}")
    for copy in entry.copies:
        click.echo(f"{'to:':<15}{copy_line(copy, most=500)}")
    for attempt in attempts:
        said = (
            f"{moment(attempt.at)}  {safe(attempt.recipient)}  {safe(attempt.outcome)}  {safe(attempt.reply)}"
        )
        click.echo(f"{'attempt:':<15}{said}")
        if attempt.fate:
            click.echo(
                f"{'':<15}{moment(attempt.fate_at)}  {attempt.fate.value}  {safe(attempt.diagnostic)}".rstrip()
            )


def _attempt_document(attempt: Attempt) -> dict[str, Any]:
    return {
        "at": moment(attempt.at),
        "recipient": attempt.recipient,
        "outcome": attempt.outcome,
        "reply": attempt.reply,
        "queue_id": attempt.queue_id,
        "fate": attempt.fate.value,
        "fate_at": moment(attempt.fate_at),
        "diagnostic": attempt.diagnostic,
    }
