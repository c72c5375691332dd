"""``dmarcgate key``: the keys that reports are signed with, and the DNS records that publish them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import click

from appliance import log
from appliance.cli.failures import CommandFailed
from appliance.cli.options import json_option, node_options, opened_store, print_json, who
from appliance.mail.domain import InvalidDomain, domain_of, to_a_label
from appliance.store import keys as stored_keys
from appliance.store import settings as stored_settings
from appliance.store.engine import Store
from appliance.store.keys import Algorithm, KeyRefused, KeyState, PublicKey

_MEANINGS = {
    KeyState.NEXT: "signs once its record is published",
    KeyState.ACTIVE: "signs every report",
    KeyState.RETIRED: "signs no more",
}


@click.group("key")
def key_command() -> None:
    """Make, publish and exchange the keys that reports are signed with. Private keys are never shown."""
    log.configure()


def _key_options(command: Callable[..., None]) -> Callable[..., None]:
    """The store as *store*, ``--domain`` as *domain* and ``--json``; what can't be made is told in one line."""

    @wraps(command)
    def opened(config: Path | None, store: str | None, **rest: Any) -> None:
        try:
            command(store=opened_store(config, store)[1], **rest)
        except KeyRefused as error:
            raise CommandFailed(str(error), status=1) from None

    domain = click.option("--domain", help="Whose mail the key signs; default the report address's domain.")
    return node_options(json_option(domain(opened)))


@key_command.command("generate")
@_key_options
@click.option(
    "--algorithm",
    type=click.Choice([algorithm.value for algorithm in Algorithm]),
    default=Algorithm.RSA.value,
    show_default=True,
    help="An Ed25519 key is a second one, for receivers that know it.",
)
@click.option("--selector", default="", metavar="NAME", help="Default: made of the date.")
def generate(store: Store, domain: str | None, as_json: bool, algorithm: str, selector: str) -> None:  # noqa: FBT001
    """Make a first key, and tell what to publish for it."""
    key = stored_keys.generate(
        store,
        _domain(store, domain),
        Algorithm(algorithm),
        actor=who(),
        now=datetime.now(UTC),
        selector=selector.lower(),
    )
    _show([key], as_json=as_json)


@key_command.command("rotate")
@_key_options
@click.option("--now", "at_once", is_flag=True, help="Sign with the new keys at once, published or not.")
def rotate(store: Store, domain: str | None, as_json: bool, at_once: bool) -> None:  # noqa: FBT001
    """Make the next key of each kind, and tell what to publish for it.

    It takes over by itself once its record is seen. The record of the key before it must stay published for 7 days.
    """
    name, now = _domain(store, domain), datetime.now(UTC)
    following = stored_keys.rotate(store, name, actor=who(), now=now)
    if at_once:
        with store.begin() as connection:
            for key in following:
                stored_keys.activate(connection, key, actor=who(), now=now)
    shown = {key.id for key in following}
    _show([key for key in _keys(store, name) if key.id in shown or key.record_stays_until], as_json=as_json)


@key_command.command("show")
@click.argument("selector", default="")
@_key_options
def show(store: Store, domain: str | None, as_json: bool, selector: str) -> None:  # noqa: FBT001
    """The DNS record of each key, or of the one with this SELECTOR: its name, its text, and as a zone file has it."""
    name = _domain(store, domain)
    found = [key for key in _keys(store, name) if selector.lower() in {"", key.selector}]
    if not found:
        wanted = f'no key with the selector "{selector}"' if selector else "no key"
        raise CommandFailed(f"{name} has {wanted}; dmarcgate key list shows all", status=1)
    _show(found, as_json=as_json)


@key_command.command("list")
@_key_options
def list_(store: Store, domain: str | None, as_json: bool) -> None:  # noqa: FBT001
    """The keys of all domains, or of one, and whether they sign."""
    for key in _keys(store, _label(domain) if domain else None):
        if as_json:
            print_json(_document(key))
        else:
            click.echo(f"{key.state:8}{key.algorithm:9}{key.selector}  {key.domain}  {_since(key)}")


def _keys(store: Store, domain: str | None) -> list[PublicKey]:
    with store.read() as connection:
        return stored_keys.keys(connection, domain)


def _domain(store: Store, domain: str | None) -> str:
    if domain:
        return _label(domain)
    with store.read() as connection:
        address = stored_settings.current(connection).settings.reports.address
    if not address:
        raise CommandFailed("say --domain, or set reports.address first: its domain is what the key is for")
    return domain_of(address)


def _label(domain: str) -> str:
    try:
        return to_a_label(domain)
    except InvalidDomain as error:
        raise CommandFailed(f"--domain is no domain name: {error}") from None


def _show(keys: Sequence[PublicKey], *, as_json: bool) -> None:
    for number, key in enumerate(keys):
        if as_json:
            print_json(_document(key))
        else:
            click.echo("\n" * (number > 0) + "\n".join(_lines(key)))


def _lines(key: PublicKey) -> list[str]:
    strings = '"\n    "'.join(key.record_strings)
    return [
        f"{key.selector} of {key.domain}: {key.state}, {_MEANINGS[key.state]}",
        *([f"  {_stay(key)}"] if key.record_stays_until else []),
        f"  name   {key.record_name}",
        "  type   TXT",
        f"  value  {key.record}",
        "  in a zone file:",
        f'{key.record_name}. IN TXT (\n    "{strings}" )',
    ]


def _stay(key: PublicKey) -> str:
    return f"its record must stay published until {key.record_stays_until:%Y-%m-%d %H:%M} UTC"


def _since(key: PublicKey) -> str:
    since = f"since {key.changed_at:%Y-%m-%d %H:%M} UTC"
    return f"{since}; {_stay(key)}" if key.record_stays_until else since


def _document(key: PublicKey) -> dict[str, object]:
    until = key.record_stays_until
    return {
        "domain": key.domain,
        "selector": key.selector,
        "algorithm": key.algorithm.value,
        "state": key.state.value,
        "since": key.changed_at.isoformat(timespec="seconds"),
        "name": key.record_name,
        "value": key.record,
        "strings": list(key.record_strings),
        "record_stays_until": until.isoformat(timespec="seconds") if until else None,
    }
