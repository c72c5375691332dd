"""``dmarcgate user``: accounts of the settings page."""

from pathlib import Path

import click

from appliance.cli.failures import CommandFailed
from appliance.cli.options import json_option, node_options, opened_store, print_json, who
from appliance.store import accounts, audit


@click.group("user")
def user_command() -> None:
    """Accounts of the settings page."""


_ROLES = click.Choice([role.value for role in accounts.Role])


@user_command.command("list")
@node_options
@json_option
def list_(config: Path | None, store: str | None, as_json: bool) -> None:  # noqa: FBT001
    """The accounts, by name."""
    _, opened = opened_store(config, store)
    with opened.read() as connection:
        found = accounts.list_accounts(connection)
    for account in found:
        if as_json:
            print_json(
                {
                    "name": account.name,
                    "role": account.role.value,
                    "disabled": account.disabled,
                    "must_change": account.must_change,
                    "created_at": account.created_at.isoformat(),
                }
            )
        else:
            state = "disabled" if account.disabled else "one-time password" if account.must_change else ""
            click.echo(f"{account.name}  {account.role.value}  {state}".rstrip())


@user_command.command("add")
@node_options
@click.option("--role", type=_ROLES, default="admin", show_default=True)
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


@user_command.command("enable")
@node_options
@click.argument("name")
def enable(config: Path | None, store: str | None, name: str) -> None:
    """Let a disabled account sign in again, with the password it had."""
    _, opened = opened_store(config, store)
    with opened.begin() as connection:
        _require(accounts.get(connection, name), name)
        accounts.disable(connection, name, disabled=False)
        audit.write(connection, who(), "user enable", name, "")


@user_command.command("role")
@node_options
@click.argument("name")
@click.argument("role", type=_ROLES)
def role_(config: Path | None, store: str | None, name: str, role: str) -> None:
    """Give an account another role: admin, operator (quarantine and activity) or viewer."""
    _, opened = opened_store(config, store)
    with opened.begin() as connection:
        _require(accounts.get(connection, name), name)
        accounts.set_role(connection, name, accounts.Role(role))
        audit.write(connection, who(), "user role", name, role)


def _require(account: accounts.Account | None, name: str) -> None:
    if account is None:
        raise CommandFailed(f"{name}: there is no such account; dmarcgate user add makes one", status=1)
