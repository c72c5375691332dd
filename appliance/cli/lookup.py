"""``dmarcgate lookup``: what a domain publishes about its mail, and what is wrong with it."""

import asyncio
import time
from pathlib import Path

import click

from appliance.cli.failures import TEMPORARY, CommandFailed
from appliance.cli.options import json_option, print_json
from appliance.dmarc.evaluation import Evaluation
from appliance.explain.ask import answered
from appliance.explain.domain import MAX_SELECTORS, LookedUp, ReportTag, look_up, with_reports
from appliance.explain.domain_text import as_text
from appliance.explain.findings import FindingKind
from appliance.explain.plain import as_plain
from appliance.explain.visible import visible
from appliance.mail.domain import InvalidDomain, to_a_label
from appliance.node import read_node
from appliance.resolver import Resolver
from reporting.destinations import Kind, find_destinations

QUERY_SECONDS = 5.0
ALL_SECONDS = 60.0


@click.command("lookup")
@click.argument("domain")
@click.option("--selector", "selectors", multiple=True, metavar="NAME", help="Look at this DKIM key as well.")
@click.option("--dns", metavar="ADDRESS:PORT", help="The name server to ask; default the node's resolver.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="The node file.")
@json_option
def lookup_command(
    domain: str,
    selectors: tuple[str, ...],
    dns: str | None,
    config: Path | None,
    as_json: bool,  # noqa: FBT001  click gives flags by name
) -> None:
    """Tell what DOMAIN publishes: its DMARC, SPF and selector records, where reports go, and what is wrong.

    Exit status: 0 no mistakes; 1 mistakes; 2 wrong usage; 75 no mistakes seen, but the DNS could not tell everything.
    """
    name = _label(domain, "DOMAIN")
    if len(selectors) > MAX_SELECTORS:
        raise CommandFailed(f"at most {MAX_SELECTORS} selectors at once")
    asked = tuple(_label(selector, "--selector") for selector in selectors)
    looked_up = asyncio.run(_ask(name, asked, dns or read_node(config).resolver))
    if as_json:
        print_json(as_plain(looked_up))
    else:
        click.echo(as_text(looked_up), nl=False)
    kinds = {finding.kind for finding in looked_up.findings}
    if FindingKind.MISTAKE in kinds:
        raise click.exceptions.Exit(1)
    if FindingKind.TEMPORARY in kinds:
        raise click.exceptions.Exit(TEMPORARY)


def _label(text: str, what: str) -> str:
    try:
        return to_a_label(text)
    except InvalidDomain as error:
        raise CommandFailed(f'{what} "{visible(text, 80)}" is no domain name: {error}') from None


async def _ask(domain: str, selectors: tuple[str, ...], nameserver: str) -> LookedUp:
    try:
        resolver = Resolver(nameserver, query_timeout_seconds=QUERY_SECONDS)
    except ValueError as error:
        raise CommandFailed(f"--dns: {error}") from None
    deadline = time.monotonic() + ALL_SECONDS
    try:
        looked_up, evaluation = await answered(
            lambda known: look_up(domain, selectors, known), resolver, deadline
        )
        return with_reports(looked_up, await _reports(evaluation, resolver, deadline))
    finally:
        await resolver.close()


async def _reports(evaluation: Evaluation, resolver: Resolver, deadline: float) -> tuple[ReportTag, ...]:
    found = evaluation.published
    if found is None:
        return ()
    tags = []
    for kind in Kind:
        published = found.record.rua if kind is Kind.AGGREGATE else found.record.ruf
        to = await find_destinations(found.domain, found.record, kind, resolver, deadline)
        tags.append(
            ReportTag(
                kind.value,
                tuple(map(visible, published)),
                tuple(visible(str(address)) for address in to.addresses),
                tuple(map(visible, to.refused)),
                tuple(map(visible, to.postponed)),
            )
        )
    return tuple(tags)
