"""``dmarcgate quarantine``: quarantined mail by command line."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from appliance import log
from appliance.cli.failures import CommandFailed
from appliance.cli.options import json_option, node_options, print_json
from appliance.cli.quarantine_acts import (
    REFUSALS,
    delete_,
    desk_of,
    expire,
    known_id,
    release_,
    settings_of,
    undelete_,
)
from appliance.cli.quarantine_text import facts_of, line_of, message_document, show_message
from appliance.mail.address import parse_ip
from appliance.quarantine import Condition, DamagedMessage, Desk, MissingMessage, measure, view
from appliance.store import quarantine as rows
from appliance.store.quarantine import HoldState
from appliance.store.quarantine_search import Criteria, search

_LIMIT = click.IntRange(1, 10_000)
_DAY_OR_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])


@click.group("quarantine")
def quarantine_command() -> None:
    """List, look at, release and delete quarantined mail."""
    log.configure()


for _command in (release_, delete_, undelete_, expire):
    quarantine_command.add_command(_command)


@quarantine_command.command("list")
@node_options
@json_option
@click.option("--limit", type=_LIMIT, default=100, show_default=True)
def list_(config: Path | None, store: str | None, as_json: bool, limit: int) -> None:  # noqa: FBT001
    """The messages held, newest first."""
    desk = desk_of(config, store)
    _print(desk, Criteria(), limit, as_json=as_json)
    if not as_json and sys.stdout.isatty():
        fill = measure(desk, settings_of(desk))
        click.echo(fill.warning or f"{fill.percent} % of the room is taken", err=True)


@quarantine_command.command("search")
@node_options
@json_option
@click.option("--author", default="", metavar="DOMAIN", help="The author domain.")
@click.option("--sender", default="", metavar="TEXT", help="A part of MAIL FROM or From.")
@click.option("--recipient", default="", metavar="TEXT", help="A part of a recipient's address.")
@click.option("--subject", default="", metavar="TEXT", help="A part of it.")
@click.option("--message-id", default="", metavar="ID")
@click.option("--client-ip", default="", metavar="ADDRESS")
@click.option("--since", type=_DAY_OR_TIME, help="UTC.")
@click.option("--before", type=_DAY_OR_TIME, help="UTC.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in HoldState]),
    help="May be given more than once; default all.",
)
@click.option("--limit", type=_LIMIT, default=100, show_default=True)
@click.option(
    "--after", default="", metavar="ID", help="Go on behind this message, the last of the page before."
)
def search_(config: Path | None, store: str | None, as_json: bool, **wanted: Any) -> None:  # noqa: FBT001
    """Messages that fit all that is given, newest first; released and deleted ones too."""
    desk = desk_of(config, store)
    criteria = Criteria(
        states=tuple(HoldState(state) for state in wanted["states"]) or tuple(HoldState),
        author_domain=wanted["author"],
        sender=wanted["sender"],
        recipient=wanted["recipient"],
        subject=wanted["subject"],
        message_id=wanted["message_id"],
        client_ip=_address(wanted["client_ip"]),
        since=_utc(wanted["since"]),
        before=_utc(wanted["before"]),
    )
    _print(desk, criteria, wanted["limit"], after=wanted["after"], as_json=as_json)


@quarantine_command.command("show")
@node_options
@json_option
@click.option("--raw", is_flag=True, help="The message itself, octet by octet.")
@click.argument("event_id", metavar="ID")
def show(
    config: Path | None,
    store: str | None,
    as_json: bool,  # noqa: FBT001  click gives flags by name
    raw: bool,  # noqa: FBT001
    event_id: str,
) -> None:
    """A message's facts, header and plain text; its other parts by name, type and size."""
    desk = desk_of(config, store)
    try:
        row = desk.find(known_id(event_id))
        octets = desk.octets(row) if raw else None
    except REFUSALS as error:
        raise CommandFailed(str(error), status=1) from None
    if octets is not None:
        sys.stdout.buffer.write(octets)
        return
    try:
        shown, trouble = view(desk.octets(row)), ""
    except (MissingMessage, DamagedMessage) as error:
        shown, trouble = None, str(error)
    now, condition = datetime.now(UTC), _condition(desk, row)
    if as_json:
        facts = facts_of(row, now, condition)
        print_json({**facts, "trouble": trouble, "message": message_document(shown) if shown else None})
    else:
        show_message(row, shown, trouble, now, condition)
    if trouble:
        raise click.exceptions.Exit(1)


def _print(desk: Desk, criteria: Criteria, limit: int, *, as_json: bool, after: str = "") -> None:
    place = rows.place_of(_found(desk, after)) if after else None
    with desk.store.read() as connection:
        found = search(connection, criteria, limit, after=place)
    now = datetime.now(UTC)
    for row in found:
        condition = _condition(desk, row)
        if as_json:
            print_json(facts_of(row, now, condition))
        else:
            click.echo(line_of(row, now, condition))


def _condition(desk: Desk, row: rows.QuarantineRow) -> Condition | None:
    """``None`` for a file of another node."""
    return desk.files.condition(row) if row.node == desk.node else None


def _found(desk: Desk, event_id: str) -> rows.QuarantineRow:
    try:
        return desk.find(known_id(event_id))
    except MissingMessage as error:
        raise CommandFailed(str(error), status=1) from None


def _address(text: str) -> str:
    if not text:
        return ""
    address = parse_ip(text)
    if address is None:
        raise CommandFailed(f'"{text[:60]}" is not an IP address')
    return str(address)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None else None
