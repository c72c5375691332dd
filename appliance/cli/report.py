"""``dmarcgate report``: build and send reports by hand."""

from datetime import UTC, date, datetime
from pathlib import Path

import click

from appliance import log
from appliance.cli.options import json_option, node_options, opened_store, print_json
from appliance.node import Endpoint
from appliance.settings import Gate
from appliance.store import reports
from appliance.store.reports import ReportJob
from reporting.jobs import build_day, send_pending
from reporting.period import last_day


@click.group("report")
def report_command() -> None:
    """Build and send aggregate reports by hand."""
    log.configure()


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
    """Build the reports of a day that don't exist yet; a day that is not over is reported so far."""
    _, opened = opened_store(config, store)
    now = datetime.now(UTC)
    chosen = day.date() if day else last_day(now)
    for job in build_day(
        opened,
        chosen,
        now=now,
        until=now if chosen >= now.date() else None,
        gate=Gate(gate) if gate else None,
    ):
        _show(job, as_json=as_json)


@report_command.command("send")
@node_options
@json_option
@click.option("--resolver", metavar="ADDRESS:PORT", help="The name server to ask.")
def send(config: Path | None, store: str | None, as_json: bool, resolver: str | None) -> None:  # noqa: FBT001
    """Try every report that waits, once. Exit status 1 when one could not be sent."""
    node, opened = opened_store(config, store)
    endpoint = Endpoint.parse(node.postfix.reports)
    results = send_pending(
        opened,
        nameserver=resolver or node.resolver,
        listener=(endpoint.host, endpoint.port),
    )
    for result in results:
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
        else:
            click.echo(
                f"{result.policy_domain}  {result.status.value}  {', '.join(result.accepted)}  {result.reason}".rstrip()
            )
    if any(result.status is not reports.JobStatus.SENT for result in results):
        raise click.exceptions.Exit(1)


@report_command.command("list")
@node_options
@json_option
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Of one UTC day only.")
def list_(config: Path | None, store: str | None, as_json: bool, day: datetime | None) -> None:  # noqa: FBT001
    """The reports, newest first: what was built, sent, or refused and why."""
    _, opened = opened_store(config, store)
    wanted: date | None = day.date() if day else None
    with opened.read() as connection:
        jobs = reports.jobs(connection, 1000, day=wanted)
    for job in jobs:
        _show(job, as_json=as_json)


def _show(job: ReportJob, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "job": job.id,
                "day": job.day.isoformat(),
                "policy_domain": job.policy_domain,
                "report_id": job.report_id,
                "status": job.status.value,
                "records": job.rows,
                "messages": job.messages,
                "reason": job.reason,
            }
        )
    else:
        click.echo(
            f"{job.day}  {job.policy_domain}  {job.status.value}  {job.rows} records, {job.messages} messages"
            f"  {job.reason}".rstrip()
        )
