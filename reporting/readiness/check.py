"""Measure all of it, and keep what was found."""

import asyncio
import secrets
from collections.abc import Sequence
from datetime import datetime

from appliance.node import Node
from appliance.resolver import Question, RecordType, Resolver, Status
from appliance.settings import Settings
from appliance.store import keys as stored_keys
from appliance.store import readiness as stored_readiness
from appliance.store import settings as stored_settings
from appliance.store.engine import Store
from appliance.store.keys import PublicKey, SigningKey
from appliance.store.values import as_json
from reporting.gate import ReportGate
from reporting.key_records import activate_published
from reporting.readiness.bounces import look_at_taking, look_at_way_in
from reporting.readiness.clock import look_at_clock
from reporting.readiness.mail import Identity, look_at_keys, look_at_mail
from reporting.readiness.measure import IPAddress, Measure, Readiness, Subject, failing, ok, warning
from reporting.readiness.names import Dns, look_at_helo, look_at_reverse
from reporting.readiness.outgoing import find_outgoing
from reporting.readiness.postfix import greet, look_at_queue, parameters
from reporting.return_path import return_paths

_SIGNED_ZONE = Question("com", RecordType.TXT)
"""Everybody who reaches the DNS has an answer, and who validates says that it is authentic."""


class NoIdentity(ValueError):
    """There is nothing to check before reports have a name and an address."""


def check_readiness(store: Store, node: Node, now: datetime, *, told: Sequence[IPAddress] = ()) -> Readiness:
    """Measure whether reports of the settings in force would pass, and keep the result; takes some seconds.

    *told* are the addresses that receivers see, where this machine can't know. A key that is published by now becomes
    active first. Raises ``NoIdentity``, and ``ValueError`` when the node's resolver is none.
    """
    with store.read() as connection:
        settings = stored_settings.current(connection).settings
    identity = _identity(settings, store)
    activate_published(store, node.resolver, now)
    with store.read() as connection:
        known = stored_keys.keys(connection, identity.domain)
        signers = stored_keys.signing_keys(connection, identity.domain)
    greeting = greet(node.postfix.reports, identity.return_path)
    outgoing = find_outgoing(told, parameters(node.postfix.configuration))
    in_the_dns = asyncio.run(
        _ask(node.resolver, settings, identity, known, signers, outgoing.addresses, greeting.name, now)
    )
    measures = [
        greeting.measure,
        look_at_queue(node.postfix.configuration, now),
        outgoing.measure,
        *in_the_dns,
        look_at_taking(node.postfix.smtp, identity.return_path, greeting.name or "localhost"),
        look_at_clock(),
    ]
    order = tuple(Subject)
    result = Readiness(
        now,
        identity.address,
        identity.bounce_domain,
        identity.organization,
        tuple(map(str, outgoing.addresses)),
        tuple(sorted(measures, key=lambda measure: order.index(measure.subject))),
    )
    _keep(store, settings, result)
    return result


def _identity(settings: Settings, store: Store) -> Identity:
    reports = settings.reports
    if not (reports.organization and reports.address):
        raise NoIdentity("set reports.organization and reports.address first")
    return_path = return_paths(store, settings).probe(reports.address, secrets.token_hex(4))
    return Identity(reports.address, reports.organization, reports.bounce_host, return_path)


async def _ask(
    nameserver: str,
    settings: Settings,
    identity: Identity,
    keys: Sequence[PublicKey],
    signers: Sequence[SigningKey],
    outgoing: Sequence[IPAddress],
    helo: str,
    now: datetime,
) -> list[Measure]:
    """Everything that the DNS is asked about. What needs an address is left out where none is known."""
    resolver = Resolver(nameserver)
    dns = Dns(resolver)
    try:
        measures = [await _look_at_resolver(dns, nameserver), *await look_at_keys(dns, identity, keys)]
        measures.append(await look_at_way_in(dns, identity.bounce_domain, helo, outgoing))
        if helo and outgoing:
            measures.append(await look_at_helo(dns, helo, outgoing))
            measures += [await look_at_reverse(dns, address, helo) for address in outgoing]
        gate = ReportGate(settings)
        measures += await look_at_mail(dns, identity, signers, outgoing, helo or "localhost", gate, now)
        return measures
    finally:
        await resolver.close()


async def _look_at_resolver(dns: Dns, nameserver: str) -> Measure:
    answer = await dns.resolver.resolve(_SIGNED_ZONE, dns.deadline)
    if answer.status is Status.TEMPORARY:
        return failing(
            Subject.NAME_SERVER,
            f"{nameserver} does not answer ({answer.reason})",
            "start unbound, or name a working server as resolver in the node file",
        )
    if not answer.authenticated:
        return warning(
            Subject.NAME_SERVER,
            f"{nameserver} answers, but does not validate DNSSEC: forged answers are not noticed",
            "use a validating name server on this machine, such as unbound with its trust anchor",
        )
    return ok(Subject.NAME_SERVER, f"{nameserver} answers, and validates DNSSEC")


def _keep(store: Store, settings: Settings, result: Readiness) -> None:
    with store.begin() as connection:
        stored_readiness.record(
            connection,
            stored_readiness.identity_of(settings.reports),
            passed=result.passed,
            document=as_json(result.as_document()),
            now=result.at,
        )
