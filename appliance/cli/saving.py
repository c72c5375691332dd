"""Saving settings by command line: what would change is shown, what is risky is asked, who did it is kept."""

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from appliance.cli.failures import CommandFailed
from appliance.cli.options import print_json, who
from appliance.settings import Settings
from appliance.settings.changes import Change, ListDifference, diff
from appliance.settings.risks import Phrase, remarks, risks
from appliance.store import outbox, saving
from appliance.store.engine import Store
from appliance.store.settings import Revision, current

LINES_TOLD = 20
"""Of each changed list; ``settings diff`` shows all."""


@dataclass(frozen=True, slots=True)
class How:
    """What all commands that save can be told."""

    comment: str
    yes: bool
    based_on: int | None
    as_json: bool


def saving_options(command: Callable[..., None]) -> Callable[..., None]:
    """``--comment``, ``--yes``, ``--based-on`` and ``--json``, together as *how*."""

    @functools.wraps(command)
    def packed(*args: Any, comment: str, yes: bool, based_on: int | None, as_json: bool, **rest: Any) -> None:
        command(*args, how=How(comment, yes, based_on, as_json), **rest)

    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print what changed as JSON."),
        click.option(
            "--based-on",
            type=click.IntRange(0),
            metavar="REVISION",
            help="Save only if this revision is in force.",
        ),
        click.option("--yes", is_flag=True, help="Confirm what is risky."),
        click.option("--comment", default="", help="Why; kept with the revision."),
    ):
        packed = option(packed)
    return packed


def in_force(store: Store, how: How) -> Revision:
    """The revision to change. Raises ``CommandFailed`` where it is another than ``--based-on`` says."""
    with store.read() as connection:
        revision = current(connection)
    if how.based_on not in {None, revision.number}:
        message = f"nothing was saved: revision {revision.number} is in force, not {how.based_on}"
        raise CommandFailed(f"{message}; dmarcgate settings diff {how.based_on} tells what changed", status=1)
    return revision


def save(store: Store, before: Revision, wanted: Settings, how: How, **told: object) -> None:
    """Make *wanted* the settings in force, and say so; *told* stands beside it in JSON."""
    changes, found = diff(before.settings, wanted), risks(before.settings, wanted)
    if found and not how.yes and not on_a_terminal():
        raise CommandFailed(f"nothing was saved; if this is meant, say --yes:{_listed(found)}")
    if not how.as_json:
        tell(changes, most=LINES_TOLD)
    _confirm(found, how)
    with store.begin() as connection:
        saved = saving.save(connection, wanted, based_on=before.number, author=who(), comment=how.comment)
    if how.as_json:
        print_json(
            {
                "revision": saved.revision.number,
                "changed": saved.is_new,
                "changes": [document(change) for change in changes],
                **told,
            }
        )
        return
    for note in _new_remarks(before.settings, wanted):
        click.echo(f"note: {note}", err=True)
    if before.settings.reports.enabled and not wanted.reports.enabled:
        _tell_unsent(store)
    unchanged = "" if saved.is_new else " (nothing changed)"
    click.echo(f"revision {saved.revision.number}{unchanged}", err=True)


def tell(changes: Sequence[Change], most: int | None = None) -> None:
    """Print *changes*, at most *most* lines of each list."""
    for change in changes:
        head, *records = change.lines()
        for line in [head, *records[:most]]:
            click.echo(line)
        if most is not None and len(records) > most:
            click.echo(f"  … and {len(records) - most} more")


def document(change: Change) -> dict[str, object]:
    """*change* for programs."""
    found: dict[str, object] = {"setting": change.setting, "label": change.label}
    if isinstance(change, ListDifference):
        return {**found, "added": change.added, "removed": change.removed}
    return {**found, "before": change.before, "after": change.after}


def on_a_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _tell_unsent(store: Store) -> None:
    """Reports that wait are kept when reports are switched off: nothing is discarded unasked (S31)."""
    with store.read() as connection:
        waiting = len(outbox.unsent(connection))
    if waiting:
        reports = "1 report is" if waiting == 1 else f"{waiting} reports are"
        kept = "kept until reports are switched on again, or you say: dmarcgate report cancel --unsent"
        click.echo(f"note: {reports} not sent yet, and {kept}", err=True)


def _confirm(found: Sequence[Phrase], how: How) -> None:
    """Raises ``CommandFailed`` where a risk is not wanted."""
    if how.yes:
        for risk in found:
            click.echo(f"warning: {risk}", err=True)
    elif found:
        click.echo(f"Please confirm:{_listed(found)}", err=True)
        if not click.confirm("Save it?", err=True):
            raise CommandFailed("nothing was saved", status=1)


def _listed(found: Sequence[Phrase]) -> str:
    return "".join(f"\n  {risk.key}: {risk}" for risk in found)


def _new_remarks(before: Settings, after: Settings) -> list[Phrase]:
    """Remarks that came in with this change and were no risk that was just told."""
    known = {phrase.key for phrase in (*remarks(before), *risks(before, after))}
    return [remark for remark in remarks(after) if remark.key not in known]
