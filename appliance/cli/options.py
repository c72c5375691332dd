"""Options that several commands share."""

import getpass
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from appliance.node import Node, read_node
from appliance.store.engine import Store, open_store

F = TypeVar("F", bound=Callable[..., Any])


def node_options(command: F) -> F:
    """``--config FILE`` and ``--store URL``, as *config* and *store*."""
    command = click.option(
        "--store", metavar="URL", help="sqlite:///PATH or postgresql+psycopg://…; goes before the node file."
    )(command)
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The node file; default /etc/dmarcgate/dmarcgate.toml.",
    )(command)


def json_option(command: F) -> F:
    """``--json``, as *as_json*."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")(command)


def opened_store(config: Path | None, store: str | None) -> tuple[Node, Store]:
    """The node and its store, of the current schema."""
    node = read_node(config, store=store)
    return node, open_store(node.store, create=True)


def print_json(value: object) -> None:
    """One line; what could steer a terminal is written as an escape, which reads as the same character."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    if not text.isprintable():
        text = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
    click.echo(text)


def login() -> str:
    """The login name of who runs the command; ``""`` where it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without an account
        return ""


def who() -> str:
    """Who runs the command, for the audit log and the settings history."""
    name = login()
    return f"{name} (command line)" if name else "command line"
