"""``dmarcgate explain``: a verdict told so that a postmaster understands it."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click

from appliance.checks.answers import Missing, from_json, to_json
from appliance.checks.options import options_of
from appliance.cli.failures import CommandFailed
from appliance.cli.options import json_option, node_options, opened_store, print_json
from appliance.explain.build import explain
from appliance.explain.case import Case
from appliance.explain.guess import guess_envelope
from appliance.explain.now import Judging
from appliance.explain.plain import as_plain
from appliance.explain.stored import case_of
from appliance.explain.text import as_text
from appliance.mail.address import parse_ip
from appliance.mail.message import Envelope, IPAddress, Message, split_message
from appliance.node import read_node
from appliance.policy import LocalPolicy
from appliance.quarantine import DamagedMessage, MissingMessage, Quarantine
from appliance.resolver import Answer, Question, Resolver
from appliance.settings import Settings, Verification
from appliance.store import events
from appliance.store import quarantine as held
from appliance.store import settings as store_settings
from appliance.store.engine import Store

QUERY_SECONDS = 5.0


@click.command("explain")
@click.argument("file", required=False, type=click.File("rb"))
@click.option("--ip", metavar="ADDRESS", help="The client that handed the message in.")
@click.option("--helo", metavar="NAME", help="What it called itself.")
@click.option("--mail-from", metavar="ADDRESS", help="The envelope sender; '' or <> for a bounce.")
@click.option("--event", "event_id", metavar="ID", help="Instead of FILE: a message the filter has recorded.")
@click.option("--dns", metavar="ADDRESS:PORT", help="The name server to ask; default the node's resolver.")
@click.option(
    "--answers", type=click.File("rb"), metavar="FILE", help="Use these recorded answers, ask nobody."
)
@click.option(
    "--save-answers", type=click.Path(path_type=Path), metavar="FILE", help="Write the answers for later."
)
@click.option("--now", type=float, metavar="SECONDS", help="Judge as at this Unix time, not now.")
@node_options
@json_option
def explain_command(
    file: BinaryIO | None,
    ip: str | None,
    helo: str | None,
    mail_from: str | None,
    event_id: str | None,
    dns: str | None,
    answers: BinaryIO | None,
    save_answers: Path | None,
    now: float | None,
    config: Path | None,
    store: str | None,
    as_json: bool,  # noqa: FBT001  click gives flags by name
) -> None:
    """Tell why the message in FILE (- is standard input) passes or fails, and what the sender should fix.

    Without --ip, --helo or --mail-from they are guessed from the topmost Received and Return-Path fields. Local
    settings are those of the store when --config or --store is given, else the defaults with DMARC on. Nothing is
    recorded, and no mail is sent.

    Exit status: 0 explained, whatever the verdict; 1 the recorded answers don't suffice, or there is no such event;
    2 wrong usage.
    """
    if (file is None) == (event_id is None):
        raise CommandFailed("give either FILE or --event ID; dmarcgate explain --help tells more")
    if event_id is not None:
        case = _recorded(event_id, config, store)
    else:
        assert file is not None
        message, guessed = _message(file.read(), ip, helo, mail_from, now)
        case = _judged(message, guessed, config, store, dns, answers)
    if save_answers is not None:
        _save(save_answers, case.answers)
    explanation = explain(case)
    if as_json:
        print_json(as_plain(explanation))
    else:
        click.echo(as_text(explanation), nl=False)


def _message(
    octets: bytes, ip: str | None, helo: str | None, mail_from: str | None, now: float | None
) -> tuple[Message, tuple[str, ...]]:
    """The message with its envelope, and what of that was guessed."""
    fields, body = split_message(octets)
    client_ip = _address(ip)
    guess = guess_envelope(fields)
    guessed = []
    if ip is None and guess.client_ip is not None:
        client_ip = guess.client_ip
        guessed.append("client")
    if helo is None and ip is None and guess.helo is not None:
        helo = guess.helo
        guessed.append("HELO")
    if mail_from is None and guess.mail_from is not None:
        mail_from = guess.mail_from
        guessed.append("MAIL FROM")
    envelope = Envelope(
        client_ip=client_ip,
        client_name="",
        helo=helo or "",
        mail_from=_path(mail_from),
        recipients=(),
        queue_id="",
        received_at=_moment(now),
    )
    return Message(envelope, fields, body), tuple(guessed)


def _address(text: str | None) -> IPAddress | None:
    if not text:
        return None
    ip = parse_ip(text)
    if ip is None:
        raise CommandFailed("--ip is no IPv4 or IPv6 address")
    return ip


def _path(mail_from: str | None) -> str:
    path = mail_from or ""
    if path.startswith("<") and path.endswith(">"):
        path = path[1:-1]
    if any(char in path for char in "\r\n\0"):
        raise CommandFailed("--mail-from holds a line end")
    return path


def _moment(now: float | None) -> datetime:
    if now is None:
        return datetime.now(UTC)
    try:
        return datetime.fromtimestamp(now, UTC)
    except (ValueError, OverflowError, OSError):
        raise CommandFailed("--now is no time in Unix seconds") from None


def _judged(
    message: Message,
    guessed: tuple[str, ...],
    config: Path | None,
    store: str | None,
    dns: str | None,
    answers: BinaryIO | None,
) -> Case:
    policy, settings = _policy(config, store)
    judging = Judging(message, policy, settings, guessed)
    if answers is not None:
        return _replayed(judging, answers)
    return asyncio.run(_asked(judging, dns or read_node(config, store=store).resolver))


def _replayed(judging: Judging, answers: BinaryIO) -> Case:
    try:
        return judging.replay(from_json(answers.read()))
    except ValueError:
        raise CommandFailed(f"{answers.name}: no recorded answers; --save-answers writes them") from None
    except Missing as missing:
        raise CommandFailed(f"{answers.name}: no recorded answer to: {missing}", status=1) from None


async def _asked(judging: Judging, nameserver: str) -> Case:
    try:
        resolver = Resolver(nameserver, query_timeout_seconds=QUERY_SECONDS)
    except ValueError as error:
        raise CommandFailed(f"--dns: {error}") from None
    try:
        return await judging.ask(resolver)
    finally:
        await resolver.close()


def _policy(config: Path | None, store: str | None) -> tuple[LocalPolicy, str]:
    """The settings to judge by, and in words which they are."""
    if config is None and store is None:
        return LocalPolicy(
            Settings(verification=Verification(enabled=True)), 0
        ), "a new installation, with DMARC on"
    _, opened = opened_store(config, store)
    with opened.read() as connection:
        revision = store_settings.current(connection)
    return LocalPolicy(revision.settings, revision.number), f"revision {revision.number}, in force now"


def _recorded(event_id: str, config: Path | None, store: str | None) -> Case:
    node, opened = opened_store(config, store)
    with opened.read() as connection:
        found = events.find(connection, event_id)
        revision = store_settings.current(connection)
    if not found:
        raise CommandFailed("there is no such event; the log line of a message has its id", status=1)
    kept = _kept(opened, Quarantine(node.quarantine), event_id, found[0].envelope)
    return case_of(found, kept, options_of(revision.settings))


def _kept(store: Store, quarantine: Quarantine, event_id: str, envelope: Envelope) -> Message | None:
    """The message as it was quarantined, if it still is."""
    with store.read() as connection:
        row = held.get(connection, event_id)
    if row is None:
        return None
    try:
        fields, body = split_message(quarantine.read(row))
    except (MissingMessage, DamagedMessage):
        return None
    return Message(envelope, fields, body)


def _save(path: Path, answers: Mapping[Question, Answer]) -> None:
    try:
        path.write_bytes(to_json(answers) + b"\n")
    except OSError as error:
        raise CommandFailed(f"{path}: cannot be written ({error.strerror})") from None
