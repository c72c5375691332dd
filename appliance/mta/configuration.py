"""What can differ between two gateways' Postfix, and the files of its configuration made of it."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from appliance.mta.templating import render

_UNSAFE = re.compile(r"[\s$,;{}]")
"""Would end a value, or begin another, in Postfix's files."""
_LOOPBACK = re.compile(r"127\.\d+\.\d+\.\d+:\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Every variable of the templates, which know each by its name here with ``postfix_`` before it.

    The defaults are the appliance's. A text that Postfix would read as more than one value is a ``ValueError``.
    """

    hostname: str
    """Our full name: in the greeting, in Received fields, and as the domain of our own addresses."""
    inside_domains: tuple[str, ...]
    """The domains that we take mail for, at least one."""
    inside_host: str = ""
    """The server that gets this mail: a name, whose MX records do not count, or an address. ``""``: ``main.cf`` sets
    ``relay_transport`` in another way."""
    inside_port: int = 25
    inside_tls_level: str = "may"
    """Postfix's word for what the way to the inside server must be: ``none``, ``may``, ``encrypt``, ``verify``, ``secure``."""
    verify_recipients: bool = True
    """Whether the inside server is asked for a recipient before we take mail for it. Without it we take mail for
    recipients that do not exist, and bounce it to senders that may be forged."""
    internal_networks: tuple[str, ...] = ()
    """Clients whose mail we take for any recipient. Loopback is not among them by itself."""
    outgoing_host: str = ""
    """The server that gets all mail to other domains. ``""``: the one that the domain's MX records name."""
    outgoing_port: int = 25
    postmaster: str = ""
    """Who gets the mail to the gateway itself. ``""``: the postmaster of the first inside domain."""
    smtp_listen: str = "smtp"
    """Where mail comes in: a port of all addresses, or ``ADDRESS:PORT``."""
    smtp_processes: int = 100
    """Connections that are served at a time, and so the most that the filter has; further clients wait."""
    release_listen: str = "127.0.0.1:10026"
    """Takes released mail, past the filter. On loopback only: whoever reaches it may send."""
    report_listen: str = "127.0.0.1:10027"
    """Takes our own reports, past the filter. On loopback only, too."""
    filter_endpoint: str = "unix:/run/dmarcgate/filter.sock"
    """The filter's socket as Postfix names it; a relative path is relative to the queue. ``""``: no filter."""
    bounce_domain: str = ""
    """The domain of the addresses that reports are sent from: the setting ``reports.bounce_domain``, or where it is
    empty the domain of the report address. Another domain than those inside is for these addresses alone.
    ``""``: bounces are not taken."""
    bounce_endpoint: str = "unix:/run/dmarcgate/bounces.sock"
    """Where the reports service takes bounces, as Postfix names it."""
    message_size_limit_octets: int = 50_000_000
    certificate_file: str = ""
    """Our certificate and the chain above it, as PEM. ``""``: no TLS for clients."""
    certificate_key_file: str = ""
    certificate_authorities_file: str = ""
    """Whom the TLS levels ``verify`` and ``secure`` trust, as PEM."""
    log_file: str = ""
    """Postfix's log. ``""``: the system's."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and (found := _UNSAFE.search(text)):
                    raise ValueError(
                        f"{name}: {text!r} holds {found[0]!r}, which Postfix would not read as text"
                    )
        if not self.inside_domains:
            raise ValueError("inside_domains: name at least one domain to take mail for")
        for name in ("release_listen", "report_listen"):
            if not _LOOPBACK.fullmatch(getattr(self, name)):
                raise ValueError(
                    f"{name}: {getattr(self, name)!r} is not 127.0.0.1:PORT; whoever reaches it may send"
                )


def main_cf(configuration: Configuration, parameters: Mapping[str, str]) -> str:
    """The text of ``main.cf``; *parameters* are those that the installed Postfix knows, with their defaults."""
    return render(
        "appliance.mta", "main.cf.j2", _variables(configuration) | {"postfix_parameters": parameters}
    )


def master_cf(configuration: Configuration) -> str:
    """The text of ``master.cf``."""
    return render("appliance.mta", "master.cf.j2", _variables(configuration))


def bounces(configuration: Configuration) -> str:
    """The text of ``bounces``, beside ``main.cf``: which addresses are those that reports are sent from."""
    return render("appliance.mta", "bounces.j2", _variables(configuration))


def _variables(configuration: Configuration) -> dict[str, object]:
    return {f"postfix_{name}": value for name, value in asdict(configuration).items()}
