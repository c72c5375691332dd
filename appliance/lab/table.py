"""The lab's lines as a table for people."""

import sys

import click

from appliance.lab.demonstration import Line

_TITLES = {
    "off": "DMARC is off: everything is delivered as it came",
    "on": "DMARC is on, action table as delivered",
    "release": "Released from quarantine",
    "report": "Aggregate reports of the day so far",
}
_NAME, _AUTHOR, _OUTCOME = 30, 24, 24


class Table:
    """Prints lines as they come."""

    def __init__(self) -> None:
        self._part = ""

    def add(self, line: Line) -> None:
        if line.part != self._part:
            self._part = line.part
            click.echo(f"\n{_TITLES[line.part]}")
        mark = click.style("ok ", fg="green") if line.ok else click.style("BAD", fg="red")
        outcome = ", ".join(filter(None, (line.outcome, f"dmarc={line.dmarc}" if line.dmarc else "")))
        click.echo(f"  {mark} {line.name:<{_NAME}} {line.author:<{_AUTHOR}} {outcome:<{_OUTCOME}} {line.why}")
        if not line.ok:
            click.echo(f"      expected {line.expected}; reply: {line.reply}")
        elif not line.reply.startswith("250"):
            click.echo(f"      {line.reply}")
        sys.stdout.flush()

    def close(self, *, all_as_expected: bool) -> None:
        click.echo(
            "\nEverything came out as expected."
            if all_as_expected
            else "\nNot everything came out as expected."
        )
