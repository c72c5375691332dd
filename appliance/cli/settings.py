"""``dmarcgate settings``: show and change settings by command line."""

import json
from pathlib import Path
from typing import Any, BinaryIO

import click

from appliance.cli.completion import complete_assignment, complete_setting
from appliance.cli.failures import CommandFailed
from appliance.cli.options import json_option, node_options, opened_store, print_json
from appliance.cli.saving import How, document, in_force, save, saving_options, tell
from appliance.settings import from_document, to_document
from appliance.settings.changes import diff, typed
from appliance.settings.files import MAX_DOCUMENT_OCTETS
from appliance.settings.lists import shown
from appliance.settings.names import SETTINGS, replaced, value_of
from appliance.settings.records import shorten
from appliance.store import settings as store_settings
from appliance.store.engine import Store
from appliance.store.settings import Heading, Revision

_PAGE = 50


@click.group("settings")
def settings_command() -> None:
    """Show and change settings. A setting's name is dotted, such as verification.enabled."""


@settings_command.command("show")
@node_options
@json_option
def show(config: Path | None, store: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Every setting with its value."""
    _, opened = opened_store(config, store)
    document = _current(opened).settings.model_dump(mode="json")
    if as_json:
        print_json(document)
        return
    for name in SETTINGS:
        click.echo(f"{name} = {json.dumps(_at(document, name), ensure_ascii=False)}")


@settings_command.command("get")
@node_options
@json_option
@click.argument("name", shell_complete=complete_setting)
def get(config: Path | None, store: str | None, as_json: bool, name: str) -> None:  # noqa: FBT001
    """One setting's value; a list has one entry a line."""
    _, opened = opened_store(config, store)
    settings = _current(opened).settings
    value = value_of(settings, _known(name))
    if as_json:
        print_json(_at(settings.model_dump(mode="json"), name))
    elif isinstance(value, tuple):
        click.echo("\n".join(shown(record) for record in value))
    else:
        click.echo(typed(value) if value != "" else "")


@settings_command.command("set")
@node_options
@saving_options
@click.argument(
    "assignments", nargs=-1, required=True, metavar="NAME=VALUE…", shell_complete=complete_assignment
)
def set_(config: Path | None, store: str | None, how: How, assignments: tuple[str, ...]) -> None:
    """Change settings, all of them or none. A list's VALUE has its entries separated by line ends."""
    _, opened = opened_store(config, store)
    revision = in_force(opened, how)
    values: dict[str, object] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise CommandFailed(f'"{shorten(assignment)}" is not NAME=VALUE')
        if _known(name) in values:
            raise CommandFailed(f"{name} is given twice; keep one")
        values[name] = _read(text, value_of(revision.settings, name))
    save(opened, revision, replaced(revision.settings, values), how)


@settings_command.command("export")
@node_options
def export(config: Path | None, store: str | None) -> None:
    """All settings as one JSON document."""
    _, opened = opened_store(config, store)
    click.echo(to_document(_current(opened).settings), nl=False)


@settings_command.command("import")
@node_options
@saving_options
@click.argument("file", type=click.File("rb"), default="-")
def import_(config: Path | None, store: str | None, how: How, file: BinaryIO) -> None:
    """Replace all settings by those of a document; what it leaves out gets its default."""
    wanted = from_document(file.read(MAX_DOCUMENT_OCTETS + 1))
    _, opened = opened_store(config, store)
    save(opened, in_force(opened, how), wanted, how)


@settings_command.command("history")
@node_options
@json_option
@click.option("--limit", type=click.IntRange(1, 1000), default=_PAGE, show_default=True)
@click.option("--before", type=click.IntRange(1), metavar="REVISION", help="Only older ones: the next page.")
def history(config: Path | None, store: str | None, as_json: bool, limit: int, before: int | None) -> None:  # noqa: FBT001
    """The revisions, newest first: number, time, author, comment."""
    _, opened = opened_store(config, store)
    with opened.read() as connection:
        revisions = store_settings.history(connection, limit, before)
    for revision in revisions:
        _show_heading(revision, as_json=as_json)
    if not as_json and len(revisions) == limit and revisions[-1].number > 1:
        click.echo(f"older ones: --before {revisions[-1].number}", err=True)


@settings_command.command("diff")
@node_options
@json_option
@click.argument("first", type=click.IntRange(0), metavar="A")
@click.argument("second", type=click.IntRange(0), metavar="[B]", required=False)
def diff_(config: Path | None, store: str | None, as_json: bool, first: int, second: int | None) -> None:  # noqa: FBT001
    """What revision B, or the one in force, changes of revision A. Revision 0 is the defaults."""
    _, opened = opened_store(config, store)
    before = _revision(opened, first)
    after = _revision(opened, second) if second is not None else _current(opened)
    changes = diff(before.settings, after.settings)
    if as_json:
        for change in changes:
            print_json(document(change))
        return
    tell(changes)
    if not changes:
        click.echo(f"revisions {before.number} and {after.number} hold the same settings", err=True)


@settings_command.command("restore")
@node_options
@saving_options
@click.argument("number", type=click.IntRange(0), metavar="REVISION")
def restore(config: Path | None, store: str | None, how: How, number: int) -> None:
    """Make a new revision with the settings of an old one. Revision 0 is the defaults."""
    _, opened = opened_store(config, store)
    revision = in_force(opened, how)
    comment = how.comment or f"restored revision {number}"
    wanted = _revision(opened, number).settings
    save(opened, revision, wanted, How(comment, how.yes, how.based_on, how.as_json))


def _current(store: Store) -> Revision:
    with store.read() as connection:
        return store_settings.current(connection)


def _revision(store: Store, number: int) -> Revision:
    try:
        with store.read() as connection:
            return store_settings.get(connection, number)
    except KeyError:
        message = f"revision {number} does not exist; dmarcgate settings history lists them"
        raise CommandFailed(message, status=1) from None


def _show_heading(heading: Heading, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "revision": heading.number,
                "saved_at": heading.saved_at.isoformat(),
                "author": heading.author,
                "comment": heading.comment,
            }
        )
    else:
        click.echo(
            f"{heading.number:>6}  {heading.saved_at:%Y-%m-%d %H:%M:%S}Z  {shorten(heading.author)}  "
            f"{shorten(heading.comment, 500)}".rstrip()
        )


def _known(name: str) -> str:
    if name not in SETTINGS:
        raise CommandFailed(f'"{shorten(name)}" is no setting; dmarcgate settings show lists them')
    return name


def _read(text: str, old: object) -> object:
    """*text* as a value of the same kind as *old*; the settings themselves check it further."""
    if isinstance(old, bool):
        return {"true": True, "false": False, "on": True, "off": False}.get(text.lower(), text)
    return text


def _at(document: dict[str, Any], name: str) -> Any:
    value: Any = document
    for part in name.split("."):
        value = value[part]
    return value
