"""``dmarcgate report preview | digest``: what would be reported and told, without sending anything."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from appliance.cli.failures import TEMPORARY, CommandFailed
from appliance.cli.options import json_option, node_options, opened_store, print_json
from appliance.cli.report_text import SHOWN, a_label, hours, line_of, write_unpacked
from appliance.node import read_node
from appliance.quarantine.text import safe
from appliance.settings import ReportForm
from appliance.store import settings as stored_settings
from appliance.store.engine import Store, open_store
from appliance.store.facts import PublishedPolicy, ReportRow
from reporting import digest as weekly
from reporting.aggregate_check import InvalidReport
from reporting.digest_text import digest_text
from reporting.period import full_hour, last_day
from reporting.preview import Answer, Preview, PreviewedReport, Target, preview, rows_of, xml_gz_of


@click.command("preview")
@node_options
@json_option
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="The UTC day; default yesterday.")
@click.option("--rows", "most", type=click.IntRange(0, 1_000_000), default=50, show_default=True)
@click.option("--xml", "as_xml", is_flag=True, help="The report itself, as it would be attached.")
@click.option(
    "--form",
    type=click.Choice([form.value for form in ReportForm]),
    help="Of the XML; default that of reports.format.",
)
@click.option(
    "--number", type=click.IntRange(1), metavar="N", help="Which report's XML, where there are several."
)
@click.option("--resolver", metavar="ADDRESS:PORT", help="The name server to ask.")
@click.argument("domain")
def preview_(
    config: Path | None,
    store: str | None,
    as_json: bool,  # noqa: FBT001  click gives flags by name
    domain: str,
    **asked: Any,
) -> None:
    """What would be reported about the policy domain DOMAIN, where it would go, and why or why not.

    Nothing is sent or stored. Exit status 1 when no report would go, 75 when the DNS can't tell now.
    """
    name, now = a_label(domain, "DOMAIN"), datetime.now(UTC)
    day = asked["day"].date() if asked["day"] else last_day(now)
    if day > now.date():
        raise CommandFailed(f"{day} is not here yet")
    node = read_node(config, store=store, resolver=asked["resolver"])
    opened = open_store(node.store, create=True)
    until = full_hour(now) if day == now.date() else None
    found = preview(opened, name, day, nameserver=node.resolver, now=now, until=until)
    if asked["as_xml"]:
        _write_xml(opened, found, asked["number"], asked["form"])
        return
    rows = [rows_of(opened, report, asked["most"]) for report in found.reports]
    if as_json:
        print_json(_document(found, rows))
    else:
        click.echo("\n".join(_lines(found, rows)))
    unknown = any(target.answer is Answer.UNKNOWN for target in found.targets.targets)
    if not found.would_go:
        raise click.exceptions.Exit(TEMPORARY if unknown or found.targets.is_temporary else 1)


@click.command("digest")
@node_options
def digest(config: Path | None, store: str | None) -> None:
    """What the weekly summary says about the last full week. It is mailed to reports.digest_address."""
    node, opened = opened_store(config, store)
    with opened.read() as connection:
        settings = stored_settings.current(connection).settings
    now = datetime.now(UTC)
    click.echo(digest_text(node, opened, settings, weekly.last_week(now), now), nl=False)


def _write_xml(opened: Store, found: Preview, number: int | None, form: str | None) -> None:
    several = len(found.reports)
    if not several:
        raise CommandFailed(_nothing(found), status=1)
    if number is None and several > 1:
        raise CommandFailed(f"there are {several} reports: say which by --number 1 to {several}")
    if number is not None and number > several:
        raise CommandFailed(f"there is no report {number}: --number goes to {several}")
    report = found.reports[(number or 1) - 1]
    wanted = ReportForm(form) if form else found.settings.reports.format
    try:
        octets = xml_gz_of(opened, found.settings, report, wanted)
    except InvalidReport as error:
        raise CommandFailed(f"this report would not be sent: {safe(str(error))}", status=1) from None
    write_unpacked(octets)


# ---- for people -----------------------------------------------------------------


def _lines(found: Preview, rows: Sequence[Sequence[tuple[ReportRow, int]]]) -> Iterator[str]:
    if not found.reports:
        yield _nothing(found)
    for number, (report, some) in enumerate(zip(found.reports, rows, strict=True), 1):
        yield from _report_lines(number, report, some)
        yield ""
    if found.existing:
        yield "There already; not built again:"
        yield from map(line_of, found.existing)
        yield ""
    yield "Where they would go:"
    for target in found.targets.targets:
        yield from _target_lines(target)
    if found.targets.problem:
        yield f"  nowhere: {safe(found.targets.problem)}"
    today, limits = found.sent_today, found.settings.reports
    yield (
        f"  today so far {today.copies} of {limits.destinations_per_day} reports, "
        f"to new addresses {today.new_destinations} of {limits.new_destinations_per_day}"
    )
    yield ""
    yield _conclusion(found)


def _report_lines(
    number: int, report: PreviewedReport, some: Sequence[tuple[ReportRow, int]]
) -> Iterator[str]:
    period = report.period
    yield (
        f"{number}. {report.group.policy_domain} on {period.day} {hours(period.begin, period.end)} UTC: "
        f"{report.rows} records, {report.messages} messages"
    )
    yield f"   published: {_published(report.group.published)}"
    verdict = "gets a report" if report.decision.allowed else "gets no report"
    yield f"   {verdict}: {report.decision.reason}"
    if report.not_listed:
        yield f"   {report.not_listed} more messages are in no record: too many different ones came"
    if some:
        yield f"   {'count':>9}  {'source':<39}  {'disposition':<11}  dkim  spf   header from"
    for row, count in some:
        yield "   " + _row(row, count)
    if report.rows > len(some):
        yield f"   and {report.rows - len(some)} more records: --rows, or --xml for all"


def _row(row: ReportRow, count: int) -> str:
    dkim, spf = ("pass" if aligned else "fail" for aligned in (row.dkim_aligned, row.spf_aligned))
    details = [f"spf={row.spf_domain or '-'} {row.spf_result}"]
    details += [f"dkim={domain} {result}" for domain, _, result, _ in row.dkim]
    details += [word for word, _ in row.reasons]
    told = safe("; ".join(details))[: 2 * SHOWN]
    return (
        f"{count:>9}  {safe(row.source_ip):<39}  {row.disposition:<11}  {dkim:<4}  {spf:<4}  "
        f"{safe(row.header_from)}  ({told})"
    )


def _published(published: PublishedPolicy) -> str:
    testing = "y" if published.testing else "n"
    tags = ("p", "sp", "np", "adkim", "aspf", "fo")
    return safe("; ".join([*(f"{tag}={getattr(published, tag)}" for tag in tags), f"t={testing}"]))


def _target_lines(target: Target) -> Iterator[str]:
    reason = f": {safe(target.reason)}" if target.reason else ""
    yield f"  {safe(target.uri)[:SHOWN]}  {target.answer}{reason}"
    for receiver in target.receivers:
        new = " (never had one before)" if receiver.is_new else ""
        fate = f"gets none: {safe(receiver.obstacle)}" if receiver.obstacle else f"gets it{new}"
        yield f"      {safe(receiver.address)}  {fate}"


def _nothing(found: Preview) -> str:
    nothing = (
        f"On {found.day} no mail was counted whose DMARC record, at {found.policy_domain}, asks for reports."
    )
    if found.reported_under:
        nothing += f" Its mail may be part of the report about {found.reported_under}."
    return nothing


def _conclusion(found: Preview) -> str:
    if found.would_go:
        return f"It would go to {safe(', '.join(found.targets.addresses))}."
    if not any(report.decision.allowed for report in found.reports):
        return "No report would go: there is none to send."
    return "No report would go: nobody may get it now."


# ---- for programs ---------------------------------------------------------------


def _document(found: Preview, rows: Sequence[Sequence[tuple[ReportRow, int]]]) -> dict[str, Any]:
    reports = [
        {
            "begin": report.period.begin,
            "end": report.period.end,
            "published": asdict(report.group.published),
            "allowed": report.decision.allowed,
            "reason": report.decision.reason,
            "records": report.rows,
            "messages": report.messages,
            "not_listed": report.not_listed,
            "rows": [{"count": count, **_row_document(row)} for row, count in some],
        }
        for report, some in zip(found.reports, rows, strict=True)
    ]
    return {
        "policy_domain": found.policy_domain,
        "day": found.day.isoformat(),
        "would_go": found.would_go,
        "reports": reports,
        "existing": [job.id for job in found.existing],
        "reported_under": found.reported_under,
        "targets": [asdict(target) for target in found.targets.targets],
        "problem": found.targets.problem,
        "addresses": list(found.targets.addresses),
        "sent_today": asdict(found.sent_today),
    }


def _row_document(row: ReportRow) -> dict[str, Any]:
    left_out = {"policy_domain", "published", "rua_present", "causes_report"}
    return {name: value for name, value in asdict(row).items() if name not in left_out}
