"""``dmarcgate check``: whether the gateway is well, and what to do where it is not."""

from pathlib import Path

import click

from appliance.cli.options import json_option, node_options, print_json
from appliance.health import Finding, Level, examine, worst
from appliance.node import read_node
from appliance.store.engine import open_store

_MARKS = {Level.OK: "ok     ", Level.WARNING: "WARNING", Level.FAILING: "FAILING"}


@click.command("check")
@node_options
@json_option
def check_command(config: Path | None, store: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Look at filter, store, Postfix, name server and disk. Exit status 1 when something is failing."""
    node = read_node(config, store=store)
    findings = examine(node, open_store(node.store))
    for finding in findings:
        _print(finding, as_json=as_json)
    if worst(findings) is Level.FAILING:
        raise click.exceptions.Exit(1)


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "subject": finding.subject,
                "level": finding.level.value,
                "text": finding.text,
                "remedy": finding.remedy,
            }
        )
        return
    click.echo(f"{_MARKS[finding.level]}  {finding.subject}: {finding.text}")
    if finding.remedy:
        click.echo(f"         → {finding.remedy}")
