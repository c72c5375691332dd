"""What a private Postfix instance is: where it lies, its ports, and the texts of its configuration."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path

from appliance.lab.ports import LOOPBACK
from appliance.lab.postfix_programs import PostfixPrograms
from appliance.mta.configuration import Configuration, bounces, main_cf, master_cf
from appliance.mta.templating import render

_INSTALLED = (
    "daemon_directory",
    "command_directory",
    "shlib_directory",
    "meta_directory",
    "mail_owner",
    "setgid_group",
)

FILTER_ENDPOINT = "unix:dmarcgate/filter.sock"
"""As Postfix names it: relative to the queue."""


BOUNCE_ENDPOINT = "unix:dmarcgate/bounces.sock"
"""Where the reports service takes bounces, likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateConfig(ABC):
    """One instance. Everything it writes lies below *directory*, which may be below a folder only root can enter."""

    directory: Path
    smtp_port: int
    release_port: int
    report_port: int

    @property
    def ports(self) -> dict[str, int]:
        return {
            "mail from outside": self.smtp_port,
            "released mail": self.release_port,
            "reports": self.report_port,
        }

    @property
    @abstractmethod
    def form(self) -> Configuration:
        """The gateway's settings; where it listens and logs is the instance's affair."""

    def main_cf(self, programs: PostfixPrograms) -> str:
        """The text of ``main.cf``: the gateway's, and what makes a private instance of it."""
        installed: dict[str, object] = {name: programs.parameters[name] for name in _INSTALLED}
        return main_cf(self._placed(), programs.parameters) + render(
            "appliance.lab", "private.cf.j2", installed | {"directory": self.directory.resolve()}
        )

    def master_cf(self) -> str:
        return master_cf(self._placed())

    def bounces(self) -> str:
        """The text of the table of bounce addresses."""
        return bounces(self._placed())

    def _placed(self) -> Configuration:
        return replace(
            self.form,
            smtp_listen=f"{LOOPBACK}:{self.smtp_port}",
            release_listen=f"{LOOPBACK}:{self.release_port}",
            report_listen=f"{LOOPBACK}:{self.report_port}",
            bounce_endpoint=BOUNCE_ENDPOINT,
            log_file=str(self.directory.resolve() / "maillog"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliancePostfix(PrivateConfig):
    """The appliance's own form, with nothing of the lab's."""

    configuration: Configuration

    @property
    def form(self) -> Configuration:
        return self.configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class PostfixConfig(PrivateConfig):
    """The lab's form: mailboxes instead of other servers, and clients that may claim another address."""

    inside_domains: tuple[str, ...]
    hostname: str = "gateway.example"
    filter_endpoint: str = FILTER_ENDPOINT
    """The filter's socket as Postfix names it. ``""``: no filter."""
    bounce_domain: str = ""
    """Where bounces of our reports go. ``""``: the first inside domain."""
    internal_networks: tuple[str, ...] = ()
    """Clients that may relay. Empty, so that the lab's own address counts as outside."""
    message_size_limit_octets: int = 50_000_000
    xclient: bool = True
    """Whether clients may claim another address."""

    @property
    def form(self) -> Configuration:
        return Configuration(
            hostname=self.hostname,
            inside_domains=self.inside_domains,
            verify_recipients=False,
            internal_networks=self.internal_networks,
            filter_endpoint=self.filter_endpoint,
            bounce_domain=self.bounce_domain or self.inside_domains[0],
            message_size_limit_octets=self.message_size_limit_octets,
        )

    def main_cf(self, programs: PostfixPrograms) -> str:
        owner = programs.mail_owner
        values = {"xclient": self.xclient, "mail_owner_uid": owner.pw_uid, "mail_owner_gid": owner.pw_gid}
        return PrivateConfig.main_cf(self, programs) + render("appliance.lab", "lab.cf.j2", values)

    def master_cf(self) -> str:
        return PrivateConfig.master_cf(self) + render("appliance.lab", "lab.master.cf.j2", {})
