"""``dmarcgate lab``: the whole gateway on embedded defaults, with sample mail."""

import logging
import signal
import sys
import threading
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from appliance import log
from appliance.cli.failures import CommandFailed
from appliance.cli.options import print_json
from appliance.lab.demonstration import Demonstration, Line
from appliance.lab.gateway import ADMINISTRATOR, Gateway
from appliance.lab.ports import PortBusy
from appliance.lab.postfix_programs import PostfixError, PostfixMissing, find_postfix, install_postfix
from appliance.lab.reports import demonstrate_reports
from appliance.lab.samples import INSIDE_DOMAIN
from appliance.lab.services import ServiceFailed
from appliance.lab.table import Table

_TEMPORARY = 75


@click.command("lab")
@click.option(
    "--once", is_flag=True, help="End after the table; exit status 0 only if all came out as expected."
)
@click.option("--json", "as_json", is_flag=True, help="The table as JSON lines.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="PATH",
    help="Where everything is kept; default a fresh folder below the current one.",
)
def lab_command(once: bool, as_json: bool, directory: Path | None) -> None:  # noqa: FBT001
    """Run the gateway with sample domains and sample mail, until Ctrl-C.

    Needs root, because Postfix does, and Postfix itself, which is installed when it is missing. Nothing outside the
    lab's folder is touched, and no mail leaves this machine.
    """
    log.configure(level=logging.WARNING)
    folder = _fresh_folder(directory)
    stop = _stop_event()
    try:
        _provide_postfix()
        _say(f"starting the gateway below {folder}")
        with Gateway(folder, inside_domains=(INSIDE_DOMAIN,), reports=True) as gateway:
            expected = _demonstrate(gateway, as_json=as_json, stop=stop)
            if not once and not stop.is_set():
                _introduce(gateway, as_json=as_json)
                _run_until(stop, gateway)
    except (PostfixError, PortBusy, ServiceFailed) as error:
        raise CommandFailed(str(error), status=_TEMPORARY) from None
    if once and not expected:
        sys.exit(1)


def _demonstrate(gateway: Gateway, *, as_json: bool, stop: threading.Event) -> bool:
    """Print what becomes of every sample; whether all of it was as expected."""
    table = None if as_json else Table()
    expected = True
    for part in (Demonstration(gateway).run, lambda: demonstrate_reports(gateway)):
        for line in part():
            expected = expected and line.ok
            _print(line, table)
            if stop.is_set():
                return False
    if table is not None:
        table.close(all_as_expected=expected)
    return expected


def _print(line: Line, table: Table | None) -> None:
    if table is None:
        print_json(asdict(line))
        sys.stdout.flush()
    else:
        table.add(line)


def _introduce(gateway: Gateway, *, as_json: bool) -> None:
    facts = {
        "page": gateway.page_url,
        "user": ADMINISTRATOR,
        "one_time_password": gateway.one_time_password,
        "smtp": f"127.0.0.1:{gateway.postfix.config.smtp_port}",
        "mailbox": str(gateway.directory / "postfix" / "mailbox"),
        "node_file": str(gateway.node_file),
    }
    if as_json:
        print_json(facts)
    else:
        click.echo(
            f"\nSettings page   {facts['page']}   user {facts['user']}, one-time password {facts['one_time_password']}\n"
            f"Send mail to    {facts['smtp']} for user@{INSIDE_DOMAIN}\n"
            f"Delivered mail  {facts['mailbox']}\n"
            f"Command line    dmarcgate quarantine list --config {facts['node_file']}\n"
            f"Ctrl-C stops everything."
        )
    sys.stdout.flush()


def _run_until(stop: threading.Event, gateway: Gateway) -> None:
    while not stop.wait(1.0):
        gateway.check()


def _provide_postfix() -> None:
    try:
        find_postfix()
    except PostfixMissing:
        _say("installing Postfix")
        install_postfix()


def _fresh_folder(directory: Path | None) -> Path:
    if directory is not None:
        if directory.exists() and any(directory.iterdir()):
            raise CommandFailed(f"{directory} is not empty; name a folder that is empty or not there yet")
        return directory.absolute()
    return Path(f"dmarcgate-lab-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}").absolute()


def _stop_event() -> threading.Event:
    """Set by Ctrl-C and SIGTERM; a second Ctrl-C interrupts at once."""
    stop = threading.Event()

    def ask(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        _say("stopping")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    return stop


def _say(text: str) -> None:
    click.echo(text, err=True)
