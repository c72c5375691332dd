"""``dmarcgate db``: the store's schema."""

from pathlib import Path

import click

from appliance.cli.options import node_options
from appliance.node import read_node
from appliance.store.engine import open_store, upgrade


@click.group("db")
def db_command() -> None:
    """Upgrade and check the store."""


@db_command.command("upgrade")
@node_options
def upgrade_store(config: Path | None, store: str | None) -> None:
    """Bring the store to this version's schema; does nothing when it is there."""
    node = read_node(config, store=store)
    click.echo(f"schema {upgrade(node.store)}")


@db_command.command("check")
@node_options
def check_store(config: Path | None, store: str | None) -> None:
    """Say whether the store can be reached and has this version's schema."""
    node = read_node(config, store=store)
    with open_store(node.store).begin():
        click.echo("the store is reachable and its schema is current")
