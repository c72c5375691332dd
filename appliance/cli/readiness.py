"""``dmarcgate report readiness``: whether reports would pass at their receivers."""

from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import click

from appliance.cli.failures import CommandFailed
from appliance.cli.options import json_option, node_options, print_json
from appliance.node import read_node
from appliance.store.engine import open_store
from reporting.readiness import Level, Readiness, check_readiness
from reporting.readiness.check import NoIdentity

_MARKS = {Level.OK: "ok     ", Level.WARNING: "WARNING", Level.FAILING: "FAILING"}


@click.command("readiness")
@node_options
@json_option
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="IP",
    help="The address that receivers see us come from, where this machine can't know it; once for each.",
)
@click.option("--resolver", metavar="ADDRESS:PORT", help="The name server to ask.")
def readiness(
    config: Path | None,
    store: str | None,
    as_json: bool,  # noqa: FBT001  click gives flags by name
    addresses: tuple[str, ...],
    resolver: str | None,
) -> None:
    """Measure whether reports would pass at their receivers. Exit status 1 when they would not.

    A passed check lets reports be switched on for 30 days. No mail is sent.
    """
    node = read_node(config, store=store, resolver=resolver)
    told = tuple(map(_address, addresses))
    try:
        result = check_readiness(open_store(node.store, create=True), node, datetime.now(UTC), told=told)
    except NoIdentity as error:
        raise CommandFailed(str(error)) from None
    if as_json:
        print_json(result.as_document())
    else:
        _tell(result)
    if not result.passed:
        raise click.exceptions.Exit(1)


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise CommandFailed(f'--address "{text}" is no IPv4 or IPv6 address') from None


def _tell(result: Readiness) -> None:
    for measure in result.measures:
        click.echo(f"{_MARKS[measure.level]}  {measure.subject}: {measure.measured}")
        if measure.remedy:
            click.echo(f"         → {measure.remedy}")
    verdict = "may be switched on" if result.passed else "may not be switched on yet"
    click.echo(f"Reports from {result.address} {verdict}.")
