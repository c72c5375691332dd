"""``dmarcgate report suppress | unsuppress | suppressions``: addresses that get no reports."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import click

from appliance.cli.failures import CommandFailed
from appliance.cli.options import json_option, node_options, opened_store, print_json, who
from appliance.cli.report_text import address_of, moment
from appliance.quarantine.text import safe
from appliance.store import audit, suppression
from appliance.store.suppression import Suppression


@click.command("suppress")
@node_options
@click.option(
    "--until", type=click.DateTime(["%Y-%m-%d"]), help="The last UTC day; default until you change it."
)
@click.option("--reason", default="", help="Why; kept with the address.")
@click.argument("address")
def suppress(
    config: Path | None, store: str | None, until: datetime | None, reason: str, address: str
) -> None:
    """Send no reports to ADDRESS from now on."""
    wanted = address_of(address)
    now = datetime.now(UTC)
    ends = _end_of(until.date()) if until is not None else None
    if ends is not None and ends <= now:
        raise CommandFailed(f"--until {until:%Y-%m-%d} is over already; give today or a later day")
    _, opened = opened_store(config, store)
    why = reason or f"wanted by {who()}"
    with opened.begin() as connection:
        suppression.suppress(connection, wanted, ends, why)
        audit.write(connection, who(), "report address suppressed", wanted, why, now=now)
    click.echo(f"{wanted} gets no reports {_until(ends)}")


@click.command("unsuppress")
@node_options
@click.argument("address")
def unsuppress(config: Path | None, store: str | None, address: str) -> None:
    """Send reports to ADDRESS again."""
    wanted = address_of(address)
    _, opened = opened_store(config, store)
    with opened.begin() as connection:
        if wanted not in {known.address for known in suppression.known(connection)}:
            message = f"{wanted} is not suppressed; dmarcgate report suppressions shows who is"
            raise CommandFailed(message, status=1)
        suppression.unsuppress(connection, wanted)
        audit.write(connection, who(), "report address unsuppressed", wanted)
    click.echo(f"{wanted} may get reports again")


@click.command("suppressions")
@node_options
@json_option
def suppressions(config: Path | None, store: str | None, as_json: bool) -> None:  # noqa: FBT001
    """The addresses that get no reports, until when and why; those whose time is over too."""
    _, opened = opened_store(config, store)
    with opened.read() as connection:
        found = suppression.known(connection)
    now = datetime.now(UTC)
    for one in found:
        if as_json:
            print_json(_document(one, now))
        else:
            over = "" if _in_force(one, now) else " (over)"
            click.echo(f"{safe(one.address)}  {_until(one.until)}{over}  {safe(one.reason)}".rstrip())
    if not found:
        click.echo("no address is suppressed", err=True)


def _document(one: Suppression, now: datetime) -> dict[str, object]:
    return {
        "address": one.address,
        "until": moment(one.until),
        "in_force": _in_force(one, now),
        "bounces": one.strikes,
        "reason": one.reason,
    }


def _in_force(one: Suppression, now: datetime) -> bool:
    return one.until is None or one.until > now


def _end_of(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(tzinfo=UTC))


def _until(moment: datetime | None) -> str:
    return f"until {moment:%Y-%m-%d %H:%M} UTC" if moment is not None else "until you change it"
