"""``dmarcgate activity``: what happened to which message, and who writes to us."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click

from appliance.cli.options import json_option, node_options, opened_store, print_json
from appliance.dmarc.evaluation import DmarcWord
from appliance.policy import Outcome
from appliance.quarantine.text import safe
from appliance.store.records import Event
from appliance.store.search import EventQuery, search
from appliance.store.statistics import AuthorDomainFigures, top_author_domains

_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])
_UNVERIFIED = "unverified"
_SHOWN = 40


class _Network(click.ParamType[Any]):
    name = "ADDRESS|NETWORK"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return ip_network(value, strict=False)
        except ValueError:
            self.fail(f'"{value}" is not an IP address or network such as 192.0.2.0/24', param, ctx)


@click.group("activity")
def activity_command() -> None:
    """Find messages that were handled, and see who writes to us."""


@activity_command.command("search")
@node_options
@json_option
@click.option("--since", type=_TIME, help="Received then or later, UTC.")
@click.option("--until", type=_TIME, help="Received before, UTC.")
@click.option(
    "--author", "author_domain", metavar="DOMAIN", help="The author domain; *.DOMAIN: those below it."
)
@click.option("--sender", "mail_from", metavar="ADDRESS", help="MAIL FROM; empty for notifications.")
@click.option("--recipient", metavar="ADDRESS")
@click.option("--client", type=_Network(), help="The effective client.")
@click.option("--message-id", metavar="ID")
@click.option("--queue-id", metavar="ID", help="Postfix's.")
@click.option("--id", "event_id", metavar="ID", help="Ours, as in replies and log.")
@click.option("--result", type=click.Choice([*(word.value for word in DmarcWord), _UNVERIFIED]))
@click.option("--action", "outcome", type=click.Choice([outcome.value for outcome in Outcome]))
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--after", type=int, metavar="NUMBER", help="Go on where the page before ended.")
def search_(
    config: Path | None,
    store: str | None,
    as_json: bool,  # noqa: FBT001
    limit: int,
    after: int | None,
    **asked: Any,
) -> None:
    """Messages that fit all that is given, newest first; one line for each author domain."""
    _, opened = opened_store(config, store)
    with opened.read() as connection:
        page = search(connection, _query(asked), limit=limit, before=after)
    for event in page.events:
        if as_json:
            print_json(_document(event))
        else:
            click.echo(_line(event))
    if page.next is not None:
        click.echo(f"more: --after {page.next}", err=True)
    elif not page.events:
        click.echo("nothing found", err=True)


@activity_command.command("domains")
@node_options
@json_option
@click.option("--days", type=click.IntRange(1, 3650), default=7, show_default=True, help="How far back.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
def domains(config: Path | None, store: str | None, as_json: bool, days: int, limit: int) -> None:  # noqa: FBT001
    """The author domains of the most messages, with the failed ones and how many clients sent them."""
    _, opened = opened_store(config, store)
    now = datetime.now(UTC)
    since = now - timedelta(days=days)
    with opened.read() as connection:
        top = top_author_domains(connection, since, now, limit=limit)
    if not as_json and top.domains:
        click.echo(f"{'messages':>9}  {'failed':>9}  {'clients':>9}  author domain")
    for figures in top.domains:
        _show(figures, as_json=as_json)
    if top.since > since:
        click.echo(f"counted from {top.since:%Y-%m-%d %H:%M}Z on: there were more messages before", err=True)


def _query(asked: dict[str, Any]) -> EventQuery:
    for name in ("since", "until"):
        if asked[name] is not None:
            asked[name] = asked[name].replace(tzinfo=UTC)
    if asked["result"] == _UNVERIFIED:
        asked["result"] = ""
    return EventQuery(**asked)


def _line(event: Event) -> str:
    recipients = [recipient.address for recipient in event.envelope.recipients]
    others = f" +{event.recipient_count - 1}" if event.recipient_count > 1 else ""
    return "  ".join(
        (
            f"{event.received_at:%Y-%m-%d %H:%M:%S}Z",
            event.event_id,
            event.queue_id or "-",
            event.client_ip or "-",
            event.author_domain or "-",
            event.result or event.skip or "-",
            event.outcome,
            safe(recipients[0])[:_SHOWN] + others if recipients else "-",
            safe(event.subject)[:_SHOWN],
        )
    ).rstrip()


def _document(event: Event) -> dict[str, Any]:
    names = (
        "event_id node revision queue_id author_domain result policy policy_domain disposition outcome row skip note "
        "client_ip mail_from header_from message_id subject size_octets reason"
    )
    return {
        **{name: getattr(event, name) for name in names.split()},
        "received_at": event.received_at.isoformat(),
        "recipients": [recipient.address for recipient in event.envelope.recipients],
        "recipient_count": event.recipient_count,
        "overrides": [{"type": one.type.value, "comment": one.comment} for one in event.overrides],
    }


def _show(figures: AuthorDomainFigures, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "author_domain": figures.author_domain,
                "messages": figures.messages,
                "failed": figures.failed,
                "clients": figures.clients,
            }
        )
    else:
        click.echo(
            f"{figures.messages:>9}  {figures.failed:>9}  {figures.clients:>9}  {figures.author_domain}"
        )
