"""``dmarcgate list``: the lists, entry by entry or as whole files."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click

from appliance.cli.failures import CommandFailed
from appliance.cli.options import json_option, login, node_options, opened_store, print_json
from appliance.cli.saving import LINES_TOLD, How, in_force, on_a_terminal, save, saving_options
from appliance.settings import DomainRecord, ExceptionRecord, NetworkRecord
from appliance.settings.files import MAX_LIST_OCTETS
from appliance.settings.lists import (
    LISTS,
    Duplicate,
    ImportMode,
    ListChange,
    ListKind,
    Record,
    add,
    export_text,
    import_text,
    preview,
    records,
    remove,
    shown,
)
from appliance.store import exceptions
from appliance.store import settings as store_settings

Hits = Mapping[str, tuple[int, datetime]]
"""Messages that an exception applied to, and when the last one came, by the entry's key."""

_SLOW = 2_000
"""Lines from which on an import shows how far it is."""


@click.group("list")
def list_command() -> None:
    """Show and change the lists: domains, exceptions, known hosts and others."""


@click.command("show")
@node_options
@json_option
@click.pass_obj
def show(kind: ListKind, config: Path | None, store: str | None, as_json: bool) -> None:  # noqa: FBT001
    """The entries, and how many more there may be."""
    _, opened = opened_store(config, store)
    with opened.read() as connection:
        found = records(store_settings.current(connection).settings, kind.name)
        hits = exceptions.hits(connection) if kind.record is ExceptionRecord else {}
    for record in found:
        if as_json:
            print_json(_document(record, hits))
        else:
            click.echo(_line(record, hits))
    if not as_json:
        click.echo(f"{len(found)} of at most {kind.most} entries", err=True)


@click.command("add")
@node_options
@saving_options
@click.argument("words", nargs=-1, required=True, metavar="ENTRY…")
@click.pass_obj
def add_(kind: ListKind, config: Path | None, store: str | None, how: How, words: tuple[str, ...]) -> None:
    """Add entries, all of them or none. NAME=VALUE behind an entry is its attribute; quote "ENTRY # comment"."""
    _, opened = opened_store(config, store)
    revision = in_force(opened, how)
    change = add(revision.settings, kind.name, _entries(words), owner=login())
    if not how.as_json:
        _tell_duplicates(change.duplicates, numbered=False)
        _tell_matches(kind, change)
    save(opened, revision, change.settings, how, **_told(change))


@click.command("remove")
@node_options
@saving_options
@click.argument("words", nargs=-1, required=True, metavar="ENTRY…")
@click.pass_obj
def remove_(kind: ListKind, config: Path | None, store: str | None, how: How, words: tuple[str, ...]) -> None:
    """Remove entries, all of them or none."""
    _, opened = opened_store(config, store)
    revision = in_force(opened, how)
    change = remove(revision.settings, kind.name, _entries(words))
    save(opened, revision, change.settings, how, **_told(change))


@click.command("import")
@node_options
@saving_options
@click.option(
    "--merge", "mode", flag_value=ImportMode.MERGE.value, help="Keep what is there; add what is new."
)
@click.option("--overwrite", "mode", flag_value=ImportMode.OVERWRITE.value, help="Replace the whole list.")
@click.argument("file", type=click.File("rb"))
@click.pass_obj
def import_(
    kind: ListKind, config: Path | None, store: str | None, how: How, mode: str | None, file: BinaryIO
) -> None:
    """Import FILE, or standard input for -: UTF-8, one entry a line. With one bad line nothing is imported."""
    chosen = ImportMode(mode or _asked_mode())
    octets = file.read(MAX_LIST_OCTETS + 1)
    _, opened = opened_store(config, store)
    revision = in_force(opened, how)
    with _progress(octets) as progress:
        change = import_text(revision.settings, kind.name, octets, chosen, progress)
    if not how.as_json:
        _tell_duplicates(change.duplicates, numbered=True)
        click.echo(
            f"{len(change.added)} added, {len(change.removed)} removed, {change.unchanged} unchanged",
            err=True,
        )
    save(opened, revision, change.settings, how, **_told(change))


@click.command("export")
@node_options
@click.pass_obj
def export(kind: ListKind, config: Path | None, store: str | None) -> None:
    """Print the list as a file that import takes."""
    _, opened = opened_store(config, store)
    with opened.read() as connection:
        settings = store_settings.current(connection).settings
    click.echo(export_text(settings, kind.name), nl=False)


def _group(kind: ListKind) -> click.Group:
    """The verbs of one list."""

    @click.pass_context
    def choose(context: click.Context) -> None:
        context.obj = kind

    return click.Group(
        kind.name,
        commands=[show, add_, remove_, import_, export],
        callback=choose,
        help=f"{kind.label}. An entry: {kind.example}",
        short_help=kind.label,
    )


for _kind in LISTS.values():
    list_command.add_command(_group(_kind))


def _entries(words: tuple[str, ...]) -> list[str]:
    """One line an entry: a shell splits an entry from its attributes."""
    lines: list[str] = []
    for word in words:
        if lines and "=" in word.partition("#")[0] and not any(char.isspace() for char in word):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _asked_mode() -> str:
    if not on_a_terminal():
        raise CommandFailed("say --merge to keep what is in the list, or --overwrite to replace it")
    answer: str = click.prompt(
        "Merge with what is in the list, or overwrite it?",
        type=click.Choice([mode.value for mode in ImportMode]),
        err=True,
    )
    return answer


@contextmanager
def _progress(octets: bytes) -> Iterator[Callable[[int], None] | None]:
    """A bar on the terminal, as something to call with how many lines more were read; ``None`` where none is due."""
    lines = octets.count(b"\n")
    if lines < _SLOW or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=lines, label="Reading", file=sys.stderr) as bar:
        yield bar.update


def _line(record: Record, hits: Hits) -> str:
    marks = []
    if isinstance(record, ExceptionRecord):
        marks += ["expired"] if _expired(record) else []
        count, last = hits.get(record.key, (0, None))
        marks.append(f"{count} messages, the last {last:%Y-%m-%d %H:%M}Z" if last else "no message yet")
    if isinstance(record, DomainRecord) and record.key not in shown(record):
        marks.append(record.key)
    return shown(record) + (f"  ({', '.join(marks)})" if marks else "")


def _document(record: Record, hits: Hits) -> dict[str, object]:
    """*record* for programs: *entry* is what ``remove`` takes, *line* what ``import`` takes."""
    found: dict[str, object] = {"entry": record.key, "line": shown(record), "comment": record.comment}
    match record:
        case DomainRecord():
            return found | {"domain": record.domain, "below": record.below}
        case NetworkRecord():
            return found | {"network": str(record.network)}
        case ExceptionRecord():
            count, last = hits.get(record.key, (0, None))
            return found | {
                "network": record.shown_network,
                "mode": record.mode.value,
                "until": record.until.isoformat() if record.until is not None else None,
                "expired": _expired(record),
                "owner": record.owner,
                "from": record.author.key if record.author is not None else None,
                "dkim": record.signer or None,
                "hits": count,
                "last_hit_at": last.isoformat() if last is not None else None,
            }


def _expired(record: ExceptionRecord) -> bool:
    return record.until is not None and datetime.now(UTC).date() > record.until


def _told(change: ListChange) -> dict[str, object]:
    return {
        "added": change.added,
        "removed": change.removed,
        "unchanged": change.unchanged,
        "duplicates": [asdict(duplicate) for duplicate in change.duplicates],
    }


def _tell_duplicates(duplicates: tuple[Duplicate, ...], *, numbered: bool) -> None:
    """Say which lines change nothing; those that give other attributes first, because they may be missed."""
    ordered = sorted(duplicates, key=lambda duplicate: duplicate.given == duplicate.kept)
    for duplicate in ordered[:LINES_TOLD]:
        place = f"line {duplicate.line}: " if numbered else ""
        if duplicate.given == duplicate.kept:
            click.echo(f"{place}{duplicate.given} is in the list already", err=True)
        else:
            click.echo(
                f'{place}"{duplicate.given}" changes nothing: the list has "{duplicate.kept}"', err=True
            )
    if len(ordered) > LINES_TOLD:
        click.echo(f"… and {len(ordered) - LINES_TOLD} more that are in the list already", err=True)


def _tell_matches(kind: ListKind, change: ListChange) -> None:
    """What new domain entries match, by example (S13)."""
    if kind.record is not DomainRecord:
        return
    for line in change.added[:LINES_TOLD]:
        record = replace(DomainRecord.parse(line), comment="")
        names = preview(record)
        matched = [name for name, matches in names if matches]
        others = [name for name, matches in names if not matches]
        click.echo(f"{shown(record)} matches {' and '.join(matched)}, not {' or '.join(others)}", err=True)
