"""``dmarcgate version``."""

from importlib.metadata import version

import click


@click.command("version")
def version_command() -> None:
    """Print the version."""
    click.echo(version("dmarcgate"))
