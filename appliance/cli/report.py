"""``dmarcgate report``: build and send reports by hand, and see what became of them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from appliance import log
from appliance.cli.failures import TEMPORARY, CommandFailed
from appliance.cli.options import json_option, node_options, opened_store, print_json
from appliance.cli.readiness import readiness
from appliance.cli.report_acts import cancel, resend
from appliance.cli.report_failures import failures
from appliance.cli.report_outbox import list_, show
from appliance.cli.report_preview import digest, preview_
from appliance.cli.report_suppression import suppress, suppressions, unsuppress
from appliance.cli.report_text import job_document, line_of
from appliance.node import Endpoint, read_node
from appliance.quarantine.text import safe
from appliance.settings import Gate
from appliance.store import settings as stored_settings
from appliance.store.engine import Store, open_store
from appliance.store.reports import JobStatus
from reporting.jobs import build_day, send_pending
from reporting.period import full_hour, last_day
from reporting.progress import Progress
from reporting.sending import SendResult


@click.group("report")
def report_command() -> None:
    """Build and send reports by hand, and see what became of them."""
    log.configure()


for _command in (
    cancel,
    digest,
    failures,
    list_,
    preview_,
    readiness,
    resend,
    show,
    suppress,
    suppressions,
    unsuppress,
):
    report_command.add_command(_command)


@report_command.command("build")
@node_options
@json_option
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="The UTC day; default yesterday.")
@click.option("--gate", type=click.Choice([gate.value for gate in Gate]), help="Over the stored setting.")
def build(
    config: Path | None,
    store: str | None,
    as_json: bool,  # noqa: FBT001
    day: datetime | None,
    gate: str | None,
) -> None:
    """Build the reports of a day that don't exist yet; of a day that is not over, up to the last full hour.

    Exit status 1 when one could not be built.
    """
    now = datetime.now(UTC)
    chosen = day.date() if day else last_day(now)
    if chosen > now.date():
        raise CommandFailed(f"{chosen} is not here yet")
    _, opened = opened_store(config, store)
    _check_enabled(opened, "built")
    until = full_hour(now) if chosen == now.date() else None
    with _bar(shown=not as_json and sys.stderr.isatty()) as tell:
        jobs = build_day(
            opened, chosen, now=now, until=until, gate=Gate(gate) if gate else None, progress=tell
        )
    for job in jobs:
        if as_json:
            print_json(job_document(job))
        else:
            click.echo(line_of(job))
    if not jobs:
        click.echo(
            f"nothing was left to build; dmarcgate report list --day {chosen} shows what is there", err=True
        )
    if any(job.status is JobStatus.FAILED for job in jobs):
        raise click.exceptions.Exit(1)


@report_command.command("send")
@node_options
@json_option
@click.option("--resolver", metavar="ADDRESS:PORT", help="The name server to ask.")
def send(config: Path | None, store: str | None, as_json: bool, resolver: str | None) -> None:  # noqa: FBT001
    """Try every report that waits, once, also before its time.

    Exit status 1 when one will never be sent, 75 when some must only be tried again.
    """
    node = read_node(config, store=store, resolver=resolver)
    opened = open_store(node.store, create=True)
    _check_enabled(opened, "sent")
    endpoint = Endpoint.parse(node.postfix.reports)
    results = send_pending(
        opened,
        nameserver=node.resolver,
        listener=(endpoint.host, endpoint.port),
        node=node.name,
        log=node.postfix.log,
        progress=lambda result: _show(result, as_json=as_json),
    )
    if not results:
        click.echo("nothing waits to be sent", err=True)
    statuses = {result.status for result in results} - {JobStatus.SENT}
    if statuses:
        raise click.exceptions.Exit(TEMPORARY if statuses == {JobStatus.SENDING} else 1)


@contextmanager
def _bar(*, shown: bool) -> Iterator[Callable[[Progress], None]]:
    """A progress bar over reports, whose number may grow while they are built."""
    if not shown:
        yield lambda _: None
        return
    with click.progressbar(
        length=1, label="building", file=sys.stderr, item_show_func=_said, update_min_steps=0
    ) as bar:

        def tell(progress: Progress) -> None:
            bar.length = max(progress.of_reports, 1)
            bar.update(progress.reports - bar.pos, progress)

        yield tell


def _said(progress: Progress | None) -> str:
    if progress is None:
        return ""
    return f"{progress.reports} of {progress.of_reports} reports, {progress.rows} records  {progress.policy_domain}".rstrip()


def _check_enabled(opened: Store, what: str) -> None:
    with opened.read() as connection:
        settings = stored_settings.current(connection).settings
    if not settings.reports.enabled:
        message = (
            f"nothing is {what} while reports are switched off; dmarcgate settings set reports.enabled=true"
        )
        raise CommandFailed(message, status=1)


def _show(result: SendResult, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "job": result.job_id,
                "policy_domain": result.policy_domain,
                "status": result.status.value,
                "accepted": list(result.accepted),
                "reason": result.reason,
            }
        )
        return
    to = f"to {', '.join(result.accepted)}" if result.accepted else ""
    words = (
        f"{result.job_id:>6}",
        result.policy_domain,
        result.status.value,
        safe(to),
        safe(result.reason),
    )
    click.echo("  ".join(word for word in words if word))
