"""What the gateway stands on: its socket, Postfix's listeners, the name server, the disk."""

import asyncio
import shutil
import smtplib
import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from appliance.health.finding import Finding, Level
from appliance.node import Endpoint, Node
from appliance.resolver import Answer, Question, RecordType, Resolver, Status

PROBE_SECONDS = 5.0
LOW_PERCENT, VERY_LOW_PERCENT = 10, 3

_ANYWHERE = Question("com", RecordType.TXT)
"""A name that every name server which reaches the DNS has an answer for, be it that there is none."""


def look_at_socket(node: Node) -> Finding:
    """Whether somebody listens where Postfix expects the filter."""
    endpoint = Endpoint.parse(node.filter.listen)
    try:
        with _socket(endpoint) as probe:
            probe.settimeout(PROBE_SECONDS)
            probe.connect(endpoint.path or (endpoint.host, endpoint.port))
    except OSError as error:
        return Finding(
            "filter socket",
            Level.FAILING,
            f"nobody answers at {endpoint} ({error.strerror or error}): mail is deferred",
            "start the filter; or make filter.listen of the node file and smtpd_milters of Postfix agree",
        )
    return Finding("filter socket", Level.OK, f"answers at {endpoint}")


def look_at_listeners(node: Node) -> Iterator[Finding]:
    """Whether Postfix takes released mail and reports."""
    for key, purpose, text in (
        ("postfix.release", "released mail", node.postfix.release),
        ("postfix.reports", "reports", node.postfix.reports),
    ):
        endpoint = Endpoint.parse(text)
        subject = f"Postfix's listener for {purpose}"
        try:
            with smtplib.SMTP(
                endpoint.host, endpoint.port, local_hostname="localhost", timeout=PROBE_SECONDS
            ):
                yield Finding(subject, Level.OK, f"answers at {endpoint}")
        except (OSError, smtplib.SMTPException) as error:
            yield Finding(
                subject,
                Level.FAILING,
                f"no answer at {endpoint}: {error}",
                f"start Postfix, or make {key} of the node file and its master.cf agree",
            )


def look_at_resolver(node: Node) -> Finding:
    """Whether the name server reaches the DNS."""
    began = monotonic()
    answer = asyncio.run(_ask(node.resolver))
    if answer.status is Status.TEMPORARY:
        return Finding(
            "name server",
            Level.FAILING,
            f"{node.resolver} does not answer ({answer.reason}): DMARC ends in temporary errors",
            "start unbound, or name a working server as resolver in the node file",
        )
    return Finding(
        "name server", Level.OK, f"{node.resolver} answered in {(monotonic() - began) * 1000:.0f} ms"
    )


def look_at_disk(folder: Path) -> Finding:
    """How full the disk is that holds *folder*."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        return Finding(
            "data disk",
            Level.FAILING,
            f"{folder}: {error.strerror}",
            "mount it, or name another state folder",
        )
    free = 100 * usage.free // usage.total
    text = f"{folder}: {free} % of {usage.total / 2**30:.1f} GiB free"
    if free >= LOW_PERCENT:
        return Finding("data disk", Level.OK, text)
    level = Level.FAILING if free < VERY_LOW_PERCENT else Level.WARNING
    return Finding(
        "data disk",
        level,
        f"{text}; when it is full, mail to be quarantined is deferred and nothing is recorded",
        "enlarge the disk, or keep less (retention in the settings)",
    )


def _socket(endpoint: Endpoint) -> socket.socket:
    if endpoint.path:
        return socket.socket(socket.AF_UNIX)
    return socket.socket(socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET)


async def _ask(nameserver: str) -> Answer:
    resolver = Resolver(nameserver, attempts=1, query_timeout_seconds=PROBE_SECONDS)
    try:
        return await resolver.resolve(_ANYWHERE, monotonic() + PROBE_SECONDS)
    finally:
        await resolver.close()
