"""``dmarcgate quarantine release | delete | undelete | expire``."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from appliance.cli.failures import CommandFailed
from appliance.cli.options import json_option, login, node_options, opened_store, print_json, who
from appliance.quarantine import (
    DamagedMessage,
    Desk,
    MissingMessage,
    NotNow,
    ReleaseRefused,
    ReleaseUncertain,
    Wish,
    delete,
    release,
    release_with_exception,
    tidy,
    undelete,
)
from appliance.settings import InvalidSettings, Settings
from appliance.store import settings as store_settings
from appliance.store.quarantine import HoldState, Notify

REFUSALS = (MissingMessage, DamagedMessage, NotNow, ReleaseRefused, ReleaseUncertain)

_EVENT_ID = re.compile(r"[0-9a-f]{12}", re.ASCII)
_IDS = click.argument("ids", nargs=-1, required=True, metavar="ID…")


@dataclass(frozen=True, slots=True)
class Done:
    """What was done to a message, for people and for programs."""

    words: str
    facts: dict[str, Any]


@click.command("release")
@node_options
@json_option
@click.option(
    "--to", "recipients", multiple=True, metavar="ADDRESS", help="Instead of the original recipients."
)
@click.option(
    "--original-notify",
    is_flag=True,
    help="Let the sender, who may be forged, be told of the delivery as it was asked for.",
)
@click.option("--again", is_flag=True, help="Also what was released before, or may have been.")
@click.option(
    "--except",
    "with_exception",
    is_flag=True,
    help="From now on deliver such mail: same author domain, same client.",
)
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="The exception's last day.")
@click.option("--comment", default="", help="The exception's.")
@_IDS
def release_(
    config: Path | None,
    store: str | None,
    ids: tuple[str, ...],
    *,
    as_json: bool,
    with_exception: bool,
    **wanted: Any,
) -> None:
    """Deliver messages as they came; they are not verified again."""
    if (wanted["until"] or wanted["comment"]) and not with_exception:
        raise CommandFailed("--until and --comment belong to an exception: add --except")
    desk = desk_of(config, store)
    how: dict[str, Any] = {
        "actor": who(),
        "recipients": wanted["recipients"] or None,
        "notify": Notify.ORIGINAL if wanted["original_notify"] else Notify.NEVER,
        "again": wanted["again"],
    }
    until = wanted["until"].date() if wanted["until"] else None
    wish = Wish(_word(login()), until, wanted["comment"])

    def act(event_id: str) -> Done:
        if not with_exception:
            queue_id = release(desk, event_id, **how)
            return Done(f"released as {queue_id or 'Postfix told no ID'}", {"queue_id": queue_id})
        released = release_with_exception(desk, event_id, wish, **how)
        there = "added" if released.added else "there already"
        return Done(
            f"released as {released.queue_id}; exception {there}: {released.exception}", asdict(released)
        )

    _each(ids, act, as_json=as_json)


@click.command("delete")
@node_options
@json_option
@_IDS
def delete_(config: Path | None, store: str | None, as_json: bool, ids: tuple[str, ...]) -> None:  # noqa: FBT001
    """Delete messages; undelete brings them back for seven days."""
    desk = desk_of(config, store)

    def act(event_id: str) -> Done:
        delete(desk, event_id, actor=who())
        return Done("deleted", {"state": HoldState.DELETED.value})

    _each(ids, act, as_json=as_json)


@click.command("undelete")
@node_options
@json_option
@_IDS
def undelete_(config: Path | None, store: str | None, as_json: bool, ids: tuple[str, ...]) -> None:  # noqa: FBT001
    """Bring deleted messages back."""
    desk = desk_of(config, store)

    def act(event_id: str) -> Done:
        state = undelete(desk, event_id, actor=who())
        return Done(f"{state} again", {"state": state.value})

    _each(ids, act, as_json=as_json)


@click.command("expire")
@node_options
@json_option
def expire(config: Path | None, store: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Do now what the gateway does by itself: finish broken-off releases, delete what is too old or too much."""
    desk = desk_of(config, store)
    try:
        done = tidy(desk, settings_of(desk), datetime.now(UTC))
    except OSError as error:
        raise CommandFailed(f"{desk.files.directory}: {error.strerror}", status=75) from None
    recovered = done.recovered
    figures = {
        "purged": done.purged.messages,
        "too_old": done.too_old.messages,
        "no_room": done.no_room.messages,
        "orphans": done.orphans,
        "releases_found": len(recovered.delivered),
        "releases_repeated": len(recovered.repeated),
        "releases_given_up": len(recovered.given_up),
        "releases_waiting": len(recovered.waiting),
        "releases_uncertain": list(recovered.uncertain),
        "messages": done.fill.messages,
        "octets": done.fill.octets,
        "limit_octets": done.fill.limit_octets,
    }
    if as_json:
        print_json(figures)
        return
    for name, figure in figures.items():
        click.echo(f"{name.replace('_', ' ')}: {figure if figure != [] else 0}")


def desk_of(config: Path | None, store: str | None) -> Desk:
    return Desk.of(*opened_store(config, store))


def settings_of(desk: Desk) -> Settings:
    with desk.store.read() as connection:
        return store_settings.current(connection).settings


def _each(ids: Sequence[str], act: Callable[[str], Done], *, as_json: bool) -> None:
    """Do it to each of them, whatever becomes of the others. Exit status 1 when it could not be done to one."""
    for event_id in ids:
        known_id(event_id)
    failed = False
    for event_id in dict.fromkeys(ids):
        try:
            done = act(event_id)
        except (*REFUSALS, InvalidSettings) as error:
            failed = True
            trouble = _in_words(error)
            if as_json:
                print_json({"id": event_id, "error": trouble})
            else:
                click.echo(f"{event_id}: {trouble}", err=True)
        else:
            if as_json:
                print_json({"id": event_id, **done.facts})
            else:
                click.echo(f"{event_id} {done.words}")
    if failed:
        raise click.exceptions.Exit(1)


def _in_words(error: Exception) -> str:
    if isinstance(error, InvalidSettings):
        return f"no exception was added: {'; '.join(map(str, error.problems))}"
    return str(error)


def known_id(event_id: str) -> str:
    if not _EVENT_ID.fullmatch(event_id):
        raise CommandFailed(
            f'"{event_id[:40]}" is not an ID: those have 12 digits of 0-9 and a-f; dmarcgate quarantine list shows them'
        )
    return event_id


def _word(name: str) -> str:
    """*name* as one word, fit to own an exception."""
    return re.sub(r"[\s#]+", "-", name)[:64]
