"""``dmarcgate filter | web | reports``: the three services."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from appliance import log
from appliance.cli.options import node_options
from appliance.node import Node, read_node

if TYPE_CHECKING:
    from reporting.scheduler import Chore


@click.command("filter")
@node_options
@click.option("--listen", metavar="unix:PATH|inet:HOST:PORT", help="Where Postfix connects.")
@click.option("--resolver", metavar="ADDRESS:PORT", help="The name server to ask.")
@click.option("--no-dns-cache", is_flag=True, help="Ask for every message anew.")
@click.option(
    "--authserv-id", metavar="NAME", help="Our name in Authentication-Results, over the stored setting."
)
@click.option(
    "--workers", type=click.IntRange(1, 64), metavar="N", help="Worker processes; default one for each core."
)
def filter_command(
    config: Path | None,
    store: str | None,
    listen: str | None,
    resolver: str | None,
    no_dns_cache: bool,  # noqa: FBT001  click gives flags by name
    authserv_id: str | None,
    workers: int | None,
) -> None:
    """Run the mail filter until SIGTERM.

    Reads the node file; options go before it. With --store the node file may be missing.
    """
    from appliance.filter import server  # noqa: PLC0415  each service loads only what it needs

    over = {key: value for key, value in (("listen", listen), ("workers", workers)) if value is not None}
    node = read_node(config, store=store, resolver=resolver, filter=over or None)
    log.configure()
    sys.exit(server.run(node, authserv_id=authserv_id, dns_cache=not no_dns_cache))


@click.command("web")
@node_options
@click.option("--listen", metavar="unix:PATH|HOST:PORT", help="Where the page is served.")
def web_command(config: Path | None, store: str | None, listen: str | None) -> None:
    """Run the settings page until SIGTERM."""
    from appliance.web import server  # noqa: PLC0415

    node = read_node(config, store=store, web={"listen": listen} if listen else None)
    log.configure()
    keys = node.state / "keys"
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    server.serve(
        node.store,
        node.web.listen,
        secret_key_file=keys / "page.key",
        allowed_hosts=node.web.allowed_hosts,
        secure_cookies=node.web.secure_cookies,
    )


@click.command("reports")
@node_options
@click.option("--resolver", metavar="ADDRESS:PORT", help="The name server to ask.")
def reports_command(config: Path | None, store: str | None, resolver: str | None) -> None:
    """Run the reports job until SIGTERM: build after each UTC day, send, try again; keep the node in order."""
    from appliance.filter.peers import Peers  # noqa: PLC0415
    from reporting import scheduler  # noqa: PLC0415

    node = read_node(config, store=store, resolver=resolver)
    log.configure()
    stranger = Peers.named(node.filter.peers).stranger  # who brings mail to the filter brings bounces to us
    scheduler.run_forever(node, _chores(node), stranger=stranger)


def _chores(node: Node) -> list["Chore"]:
    """What keeps a node in order: the reports know nothing of quarantine and pages."""
    from appliance import housekeeping as keep  # noqa: PLC0415
    from reporting import digest  # noqa: PLC0415
    from reporting.key_records import TEND_EVERY_SECONDS, tend_keys  # noqa: PLC0415
    from reporting.scheduler import Chore  # noqa: PLC0415

    return [
        Chore("weekly summary", digest.EVERY_SECONDS, partial(digest.send_due_digest, node)),
        Chore("tend keys", TEND_EVERY_SECONDS, partial(tend_keys, node.resolver)),
        Chore("index events", keep.INDEX_EVERY_SECONDS, keep.index_events),
        Chore("tidy quarantine", keep.TIDY_EVERY_SECONDS, partial(keep.tidy_quarantine, node)),
        Chore("forget", keep.FORGET_EVERY_SECONDS, partial(keep.forget_old_records, node)),
    ]
