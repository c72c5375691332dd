"""``dmarcgate user``: accounts of the settings page."""

from pathlib import Path

import click

from appliance.cli.failures import CommandFailed
from appliance.cli.options import node_options, opened_store, who
from appliance.store import accounts, audit


@click.group("user")
def user_command() -> None:
    """Accounts of the settings page."""


@user_command.command("add")
@node_options
@click.option(
    "--role", type=click.Choice([role.value for role in accounts.Role]), default="admin", show_default=True
)
@click.argument("name")
def add(config: Path | None, store: str | None, role: str, name: str) -> None:
    """Make an account and print its one-time password; another must be set at the first sign-in."""
    _, opened = opened_store(config, store)
    password = accounts.one_time_password()
    try:
        with opened.begin() as connection:
            accounts.create(connection, name, password, accounts.Role(role), must_change=True)
            audit.write(connection, who(), "user add", name, role)
    except (accounts.AccountExists, ValueError) as error:
        raise CommandFailed(f"{name}: {error}", status=1) from None
    click.echo(password)


@user_command.command("passwd")
@node_options
@click.argument("name")
def passwd(config: Path | None, store: str | None, name: str) -> None:
    """Give an account a new one-time password, print it, and end its sessions."""
    _, opened = opened_store(config, store)
    password = accounts.one_time_password()
    with opened.begin() as connection:
        _require(accounts.get(connection, name), name)
        accounts.set_password(connection, name, password, must_change=True)
        accounts.close_sessions(connection, name)
        audit.write(connection, who(), "user passwd", name, "")
    click.echo(password)


@user_command.command("disable")
@node_options
@click.argument("name")
def disable(config: Path | None, store: str | None, name: str) -> None:
    """Let an account sign in no more, and end its sessions."""
    _, opened = opened_store(config, store)
    with opened.begin() as connection:
        _require(accounts.get(connection, name), name)
        accounts.disable(connection, name)
        accounts.close_sessions(connection, name)
        audit.write(connection, who(), "user disable", name, "")


def _require(account: accounts.Account | None, name: str) -> None:
    if account is None:
        raise CommandFailed(f"{name}: there is no such account; dmarcgate user add makes one", status=1)
