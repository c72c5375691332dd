"""The whole gateway on loopback, below one folder: Postfix, name server, store, filter, page, reports job."""

import json
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from appliance.lab.mailbox import Mailbox
from appliance.lab.nameserver import NameServer, Zone
from appliance.lab.ports import LOOPBACK, free_ports
from appliance.lab.postfix import PostfixInstance
from appliance.lab.postfix_config import BOUNCE_ENDPOINT, PostfixConfig, PrivateConfig
from appliance.lab.services import Command, Service, wait_for
from appliance.settings import Settings, from_document
from appliance.store import accounts, nodes
from appliance.store import settings as store_settings
from appliance.store.engine import Store, open_store

NODE_NAME = "gateway.example"
AUTHSERV_ID = NODE_NAME
ADMINISTRATOR = "admin"


class Gateway:
    """A gateway of its own; as a context manager it runs from entry to exit, and is taken down in any case."""

    def __init__(
        self,
        directory: Path,
        *,
        inside_domains: tuple[str, ...] = (),
        postfix: PrivateConfig | None = None,
        store_url: str | None = None,
        workers: int = 2,
        filter_module: str = "appliance",
        page: bool = True,
        reports: bool = False,
    ) -> None:
        """Nothing is written or started yet. *postfix* is the lab's for the *inside_domains*, when not given.

        Raises ``PostfixMissing`` without a Postfix on this machine.
        """
        self.directory = directory.resolve()
        self.postfix = PostfixInstance(postfix or _lab_postfix(self.directory, inside_domains))
        self.zone = Zone()
        self.nameserver = NameServer(self.zone)
        (self.web_port,) = free_ports(1)
        self.store_url = store_url or f"sqlite:///{self.directory}/dmarcgate.db"
        self.one_time_password = ""
        self._workers = workers
        self._modules = {"filter": filter_module}
        self._wanted = ("filter", *(("web",) if page else ()), *(("reports",) if reports else ()))
        self._services: dict[str, Service] = {}
        self._store: Store | None = None

    @property
    def node_file(self) -> Path:
        return self.directory / "dmarcgate.toml"

    @property
    def page_url(self) -> str:
        return f"http://{LOOPBACK}:{self.web_port}/"

    @property
    def store(self) -> Store:
        assert self._store is not None, "the gateway runs between entry and exit"
        return self._store

    @property
    def inside(self) -> Mailbox:
        """Mail to the inside domains."""
        return Mailbox(self.postfix.inside_maildir)

    @property
    def outside(self) -> Mailbox:
        """Mail to everybody else: reports."""
        return Mailbox(self.postfix.outside_maildir)

    def service(self, name: str) -> Service:
        return self._services[name]

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop what runs; mail stops first, so that nothing is lost on the way."""
        self.postfix.stop()
        for service in reversed(self._services.values()):
            service.stop()
        self._services.clear()
        self.nameserver.stop()
        if self._store is not None:
            self._store.close()
            self._store = None

    def check(self) -> None:
        """Raise ``ServiceFailed`` when a service has ended by itself."""
        for service in self._services.values():
            service.check()

    def save(self, **changes: Any) -> int:
        """Change settings, by dotted names with ``__`` for the dot, and wait until every worker has them."""
        with self.store.begin() as connection:
            current = store_settings.current(connection)
            document = current.settings.model_dump(mode="json")
            for name, value in changes.items():
                *groups, leaf = name.split("__")
                place = document
                for group in groups:
                    place = place[group]
                place[leaf] = value
            saved = store_settings.save(
                connection, from_document(document), based_on=current.number, author="lab", comment=""
            )
        self.await_revision(saved.number)
        return saved.number

    def settings(self) -> Settings:
        with self.store.read() as connection:
            return store_settings.current(connection).settings

    def await_revision(self, number: int) -> None:
        """Wait until every worker of the filter judges by revision *number* or a newer one."""

        def in_force() -> bool:
            with self.store.read() as connection:
                known = [status for status in nodes.list_nodes(connection) if status.node == NODE_NAME]
            return len(known) >= self._workers and all(status.revision >= number for status in known)

        wait_for(f"settings revision {number}", in_force, *self._services.values())

    def _start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.nameserver.start()
        self.postfix.write()
        self._write_node_file()
        self._store = open_store(self.store_url, create=True)
        if "web" in self._wanted:
            self._add_administrator()
        for name in self._wanted:
            # The filter's socket lies below Postfix's queue; a relative path keeps it short enough for a socket.
            arguments = (name, "--config", str(self.node_file))
            module = self._modules.get(name, "appliance")
            command = Command(name, arguments, self.postfix.queue_directory, module)
            self._services[name] = Service(command, self.directory / f"{name}.log")
        wait_for("the filter's socket", self.postfix.filter_socket.exists, self._services["filter"])
        self.await_revision(0)
        if "web" in self._wanted:
            wait_for("the settings page", self._page_answers, self._services["web"])
        self.postfix.start()

    def _write_node_file(self) -> None:
        values: dict[str, dict[str, Any]] = {
            "": {
                "name": NODE_NAME,
                "store": self.store_url,
                "state": str(self.directory),
                "resolver": self.nameserver.address,
            },
            "filter": {
                "listen": "unix:dmarcgate/filter.sock",
                "workers": self._workers,
                "peers": [self.postfix.programs.mail_owner.pw_name],
            },
            "web": {
                "listen": f"{LOOPBACK}:{self.web_port}",
                "secure_cookies": False,
                "allowed_hosts": [LOOPBACK, "localhost"],
            },
            "postfix": {
                "smtp": f"{LOOPBACK}:{self.postfix.config.smtp_port}",
                "release": f"{LOOPBACK}:{self.postfix.config.release_port}",
                "reports": f"{LOOPBACK}:{self.postfix.config.report_port}",
                "bounces": BOUNCE_ENDPOINT,
                "log": str(self.postfix.log_path),
                "configuration": str(self.postfix.configuration_directory),
            },
        }
        lines = []
        for table, keys in values.items():
            lines += [f"\n[{table}]"] if table else []
            lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        self.node_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.node_file.chmod(0o600)

    def _add_administrator(self) -> None:
        with self.store.begin() as connection:
            if accounts.get(connection, ADMINISTRATOR) is None:
                self.one_time_password = accounts.one_time_password()
                accounts.create(
                    connection,
                    ADMINISTRATOR,
                    self.one_time_password,
                    accounts.Role.ADMIN,
                    must_change=True,
                    now=datetime.now(UTC),
                )

    def _page_answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((LOOPBACK, self.web_port)) == 0


def _lab_postfix(directory: Path, inside_domains: tuple[str, ...]) -> PostfixConfig:
    smtp, release, report = free_ports(3)
    return PostfixConfig(
        directory=directory / "postfix",
        smtp_port=smtp,
        release_port=release,
        report_port=report,
        inside_domains=inside_domains,
        hostname=NODE_NAME,
    )
