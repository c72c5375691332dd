"""``dmarcgate settings``: show and change settings by command line."""

import json
import sys
from pathlib import Path
from typing import Any, TextIO

import click

from appliance.cli.failures import CommandFailed
from appliance.cli.options import json_option, node_options, opened_store, print_json, who
from appliance.settings import Settings, from_document, to_document
from appliance.store import settings as store_settings
from appliance.store.engine import Store


@click.group("settings")
def settings_command() -> None:
    """Show and change settings. A setting's name is dotted, such as verification.enabled."""


@settings_command.command("show")
@node_options
@json_option
def show(config: Path | None, store: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Every setting with its value."""
    _, opened = opened_store(config, store)
    settings = _current(opened).settings
    if as_json:
        print_json(settings.model_dump(mode="json"))
        return
    for name, value in _leaves(settings.model_dump(mode="json")):
        click.echo(f"{name} = {json.dumps(value, ensure_ascii=False)}")


@settings_command.command("get")
@node_options
@click.argument("name")
def get(config: Path | None, store: str | None, name: str) -> None:
    """One setting's value; a list has one entry a line."""
    _, opened = opened_store(config, store)
    values = dict(_leaves(_current(opened).settings.model_dump(mode="json")))
    value = values[_known(name, values)]
    click.echo("\n".join(value) if isinstance(value, list) else _plain(value))


@settings_command.command("set")
@node_options
@click.option("--comment", default="", help="Why; kept with the revision.")
@click.argument("assignments", nargs=-1, required=True, metavar="NAME=VALUE…")
def set_(config: Path | None, store: str | None, comment: str, assignments: tuple[str, ...]) -> None:
    """Change settings, all of them or none. A list's VALUE has its entries separated by line ends."""
    _, opened = opened_store(config, store)
    revision = _current(opened)
    document = revision.settings.model_dump(mode="json")
    names = dict(_leaves(document))
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise CommandFailed(f'"{assignment}" is not NAME=VALUE')
        _assign(document, _known(name, names), _read(text, names[name]))
    _save(opened, from_document(document), revision.number, comment)


@settings_command.command("export")
@node_options
def export(config: Path | None, store: str | None) -> None:
    """All settings as one JSON document."""
    _, opened = opened_store(config, store)
    click.echo(to_document(_current(opened).settings), nl=False)


@settings_command.command("import")
@node_options
@click.option("--comment", default="", help="Why; kept with the revision.")
@click.argument("file", type=click.File(encoding="utf-8"), default="-")
def import_(config: Path | None, store: str | None, comment: str, file: TextIO) -> None:
    """Replace all settings by those of a document; what it leaves out gets its default."""
    _, opened = opened_store(config, store)
    revision = _current(opened)
    _save(opened, from_document(file.read()), revision.number, comment)


@settings_command.command("history")
@node_options
@json_option
def history(config: Path | None, store: str | None, as_json: bool) -> None:  # noqa: FBT001
    """The revisions, newest first: number, time, author, comment."""
    _, opened = opened_store(config, store)
    with opened.read() as connection:
        revisions = store_settings.history(connection)
    for revision in revisions:
        if as_json:
            print_json(
                {
                    "revision": revision.number,
                    "saved_at": revision.saved_at.isoformat(),
                    "author": revision.author,
                    "comment": revision.comment,
                }
            )
        else:
            click.echo(
                f"{revision.number:>6}  {revision.saved_at:%Y-%m-%d %H:%M:%S}Z  {revision.author}  {revision.comment}"
            )


def _current(store: Store) -> store_settings.Revision:
    with store.read() as connection:
        return store_settings.current(connection)


def _save(store: Store, settings: Settings, based_on: int, comment: str) -> None:
    with store.begin() as connection:
        saved = store_settings.save(connection, settings, based_on=based_on, author=who(), comment=comment)
    unchanged = " (nothing changed)" if saved.number == based_on else ""
    click.echo(f"revision {saved.number}{unchanged}", file=sys.stderr)


def _leaves(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted names and values, in the document's order."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return found


def _known(name: str, names: dict[str, Any]) -> str:
    if name not in names:
        raise CommandFailed(f'"{name}" is no setting; dmarcgate settings show lists them')
    return name


def _read(text: str, old: object) -> object:
    """*text* as a value of the same kind as *old*; the settings themselves check it further."""
    if isinstance(old, bool):
        return {"true": True, "false": False, "on": True, "off": False}.get(text.lower(), text)
    if isinstance(old, int):
        return int(text) if text.lstrip("-").isdigit() else text
    return text


def _assign(document: dict[str, Any], name: str, value: object) -> None:
    *groups, leaf = name.split(".")
    for group in groups:
        document = document[group]
    document[leaf] = value


def _plain(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)
