"""A gateway whose reports would pass everywhere: a real Postfix, and a name server with everything published."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from appliance.lab.nameserver import NameServer, Zone
from appliance.lab.postfix import PostfixInstance
from appliance.lab.postfix_config import BOUNCE_ENDPOINT
from appliance.node import Endpoint, Node
from appliance.settings import from_document
from appliance.store import keys
from appliance.store import settings as stored_settings
from appliance.store.engine import Store
from appliance.store.keys import Algorithm, PublicKey
from reporting.bounces import Bounces
from reporting.lmtp import BounceServer
from reporting.readiness import Measure, Readiness, Subject, check_readiness
from tests.postfix import config_below

NAME = "gateway.example"
"""What the lab's Postfix calls itself."""
DOMAIN = "corp.test"
ADDRESS = "192.0.2.25"


@pytest.fixture(scope="module")
def postfix(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> Iterator[PostfixInstance]:
    """Without a filter, which would have no part in this."""
    config = replace(config_below(tmp_path_factory.mktemp("postfix") / "postfix", DOMAIN), filter_endpoint="")
    with PostfixInstance(config) as running:
        yield running


@dataclass
class Reporter:
    """The gateway whose readiness is measured."""

    store: Store
    node: Node
    nameserver: NameServer

    @property
    def zone(self) -> Zone:
        return self.nameserver.zone

    def save(self, **reports: Any) -> None:
        group = {"address": f"dmarc@{DOMAIN}", "organization": "Corp & Söhne"} | reports
        with self.store.begin() as connection:
            stored_settings.save(
                connection,
                from_document({"verification": {"enabled": True}, "reports": group}),
                based_on=stored_settings.current_number(connection),
                author="tests",
            )

    def publish(self, key: PublicKey) -> None:
        self.zone.txt(key.record_name, key.record)

    def check(self, *told: str) -> Readiness:
        addresses = tuple(map(ip_address, told or (ADDRESS,)))
        return check_readiness(self.store, self.node, datetime.now(UTC), told=addresses)

    def measure(self, subject: Subject, *told: str) -> Measure:
        """The worst that is said of *subject*."""
        found = [measure for measure in self.check(*told).measures if measure.subject is subject]
        return max(found, key=lambda measure: ("ok", "warning", "failing").index(measure.level))


@pytest.fixture
def bounces(
    sqlite_store: Store, postfix: PostfixInstance, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BounceServer]:
    """The part of the reports service that Postfix asks about bounce addresses."""
    monkeypatch.chdir(postfix.queue_directory)  # a relative path is short enough for a socket
    server = BounceServer(Endpoint.parse(BOUNCE_ENDPOINT), Bounces(sqlite_store), hostname=NAME)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def reporter(
    sqlite_store: Store,
    nameserver: NameServer,
    postfix: PostfixInstance,
    bounces: BounceServer,
    tmp_path: Path,
) -> Reporter:
    config = postfix.config
    node = Node.model_validate(
        {
            "state": tmp_path,
            "resolver": nameserver.address,
            "postfix": {
                "smtp": f"127.0.0.1:{config.smtp_port}",
                "reports": f"127.0.0.1:{config.report_port}",
                "configuration": postfix.configuration_directory,
            },
        }
    )
    ready = Reporter(sqlite_store, node, nameserver)
    ready.save()
    zone = ready.zone
    zone.a(NAME, ADDRESS)
    zone.ptr(ip_address(ADDRESS).reverse_pointer, NAME)
    zone.mx(DOMAIN, NAME)
    zone.txt(DOMAIN, f"v=spf1 ip4:{ADDRESS} -all")
    zone.txt(f"_dmarc.{DOMAIN}", "v=DMARC1; p=reject")
    ready.publish(keys.generate(sqlite_store, DOMAIN, Algorithm.RSA, actor="ann", now=datetime.now(UTC)))
    return ready


Change = Callable[[Reporter], None]
