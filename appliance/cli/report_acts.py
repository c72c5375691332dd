"""``dmarcgate report resend | cancel``: what people do about reports that are built."""

from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import click

from appliance.cli.failures import TEMPORARY, CommandFailed
from appliance.cli.options import json_option, node_options, opened_store, print_json, who
from appliance.cli.report_text import find_entry
from appliance.cli.saving import on_a_terminal
from appliance.quarantine.text import safe
from appliance.store import outbox
from appliance.store.engine import Store
from appliance.store.outbox import NotNow, NotPossible


@click.command("resend")
@node_options
@json_option
@click.option("--again", is_flag=True, help="Also to those who have it, or may have it soon.")
@click.argument("job_id", type=click.IntRange(1), metavar="ID")
def resend(config: Path | None, store: str | None, as_json: bool, again: bool, job_id: int) -> None:  # noqa: FBT001
    """Let a report go out once more: the same octets under the same Report-ID, to all who don't have it.

    It leaves with the next run. What the domain's record and the suppression list say then holds.
    """
    _, opened = opened_store(config, store)
    try:
        with opened.begin() as connection:
            done = outbox.send_again(connection, job_id, who(), datetime.now(UTC), again=again)
    except (NotNow, NotPossible) as error:
        _refuse(error)
    if as_json:
        print_json(
            {
                "job": job_id,
                "again": list(done.addresses),
                "left_alone": list(done.left_alone),
                "suppressed": list(done.suppressed),
            }
        )
        return
    to = f" to {safe(', '.join(done.addresses))}" if done.addresses else ""
    click.echo(f"report {job_id} goes out with the next run{to}; dmarcgate report send does it now")
    for address in done.left_alone:
        click.echo(f"{safe(address)} has it, and is left alone", err=True)
    for address in done.suppressed:
        name = safe(address)
        click.echo(f"{name} is on the suppression list: dmarcgate report unsuppress {name}", err=True)


@click.command("cancel")
@node_options
@json_option
@click.option("--unsent", is_flag=True, help="All that are not sent yet.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.argument("job_id", type=click.IntRange(1), metavar="[ID]", required=False)
def cancel(
    config: Path | None,
    store: str | None,
    as_json: bool,  # noqa: FBT001  click gives flags by name
    unsent: bool,  # noqa: FBT001
    yes: bool,  # noqa: FBT001
    job_id: int | None,
) -> None:
    """Never send a report, or all that are not sent yet. What our Postfix has taken already stays with it."""
    if unsent == (job_id is not None):
        raise CommandFailed("say which: a report's ID, or --unsent for all that are not sent yet")
    _, opened = opened_store(config, store)
    if job_id is not None:
        _cancel_one(opened, job_id, yes=yes, as_json=as_json)
    else:
        _cancel_all(opened, yes=yes, as_json=as_json)


def _cancel_one(opened: Store, job_id: int, *, yes: bool, as_json: bool) -> None:
    entry = find_entry(opened, job_id)
    _ask(f"Discard the report on {entry.job.day} about {entry.job.policy_domain}?", yes=yes)
    try:
        with opened.begin() as connection:
            outbox.cancel(connection, job_id, who(), datetime.now(UTC))
    except (NotNow, NotPossible) as error:
        _refuse(error)
    if as_json:
        print_json({"cancelled": 1})
    else:
        click.echo(f"report {job_id} is cancelled")


def _cancel_all(opened: Store, *, yes: bool, as_json: bool) -> None:
    with opened.read() as connection:
        waiting = len(outbox.unsent(connection))
    if waiting:
        _ask(f"Discard {waiting} reports that are not sent yet?", yes=yes)
    cancelled = 0
    while True:
        with opened.begin() as connection:
            some = outbox.cancel_unsent(connection, who(), datetime.now(UTC))
        cancelled += some
        if not some:
            break
    with opened.read() as connection:
        left = len(outbox.unsent(connection))
    if as_json:
        print_json({"cancelled": cancelled, "being_worked_on": left})
    else:
        click.echo(f"{cancelled} reports are cancelled")
    if left:
        raise CommandFailed(
            f"{left} reports are just being worked on; try again in a few minutes", status=TEMPORARY
        )


def _ask(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not on_a_terminal():
        raise CommandFailed("nothing was cancelled; if this is meant, say --yes")
    if not click.confirm(question, err=True):
        raise CommandFailed("nothing was cancelled", status=1)


def _refuse(error: NotNow | NotPossible) -> NoReturn:
    raise CommandFailed(safe(str(error)), status=TEMPORARY if isinstance(error, NotNow) else 1) from None
