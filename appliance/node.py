"""The node file: what a process must know before it can reach the store. Everything else is a setting."""

import os
import socket
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

NODE_FILE = Path("/etc/dmarcgate/dmarcgate.toml")
STATE_FOLDER = Path("/var/lib/dmarcgate")


class NodeError(Exception):
    """The node file can't be used; the message is one line that names the file, the key and the remedy."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FilterTable(_Table):
    listen: str = "unix:/run/dmarcgate/filter.sock"
    workers: int = Field(0, ge=0, le=64)
    """0: one for each core."""
    peers: tuple[str, ...] = ("postfix",)
    """Users who may connect, beside root and our own; and addresses of mail servers, where *listen* is no Unix socket."""


class WebTable(_Table):
    listen: str = "unix:/run/dmarcgate/web.sock"
    secure_cookies: bool = True
    """Off only where the page is plain HTTP on loopback."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names that the page answers to; empty: any."""


class PostfixTable(_Table):
    """The local Postfix: its listeners, of which two bypass the filter, its configuration and its log."""

    smtp: str = "127.0.0.1:25"
    """Where it takes mail from outside; asked whether bounces of reports would get in."""
    release: str = "127.0.0.1:10026"
    reports: str = "127.0.0.1:10027"
    bounces: str = "unix:/run/dmarcgate/bounces.sock"
    """Where the reports service takes bounces of reports from it."""
    log: Path = Path("/var/log/maillog")
    """Where Postfix's log goes: it says whether a release that broke off was taken."""
    configuration: Path = Path("/etc/postfix")
    """The folder of its ``main.cf``."""


class Node(_Table):
    """One machine's bootstrap configuration."""

    name: str = Field(default_factory=lambda: socket.gethostname() or "localhost")
    store: str = f"sqlite:///{STATE_FOLDER}/dmarcgate.db"
    state: Path = STATE_FOLDER
    """Holds the quarantine, the reports and the keys."""
    resolver: str = "127.0.0.1:53"
    filter: FilterTable = FilterTable()
    web: WebTable = WebTable()
    postfix: PostfixTable = PostfixTable()

    @property
    def quarantine(self) -> Path:
        return self.state / "quarantine"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen or connect: a Unix socket's *path*, or *host* and *port*."""

    path: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """``unix:PATH``, ``inet:HOST:PORT`` or ``HOST:PORT`` (IPv6 in brackets); raises ``ValueError`` in words."""
        if text.startswith("unix:"):
            if len(text) <= len("unix:"):
                raise ValueError(f'"{text}" names no path; write unix:PATH')
            return cls(path=text.removeprefix("unix:"))
        host, colon, port = text.removeprefix("inet:").rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65535:
            raise ValueError(f'"{text}" is not unix:PATH, inet:HOST:PORT or HOST:PORT')
        return cls(host=host.strip("[]"), port=int(port))

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


def read_node(path: Path | None = None, **overrides: Any) -> Node:
    """The node file at *path*, with the files of ``conf.d`` beside it laid over it in the order of their names.

    Without *path* the node file is where the package puts it; it may then be missing when *overrides* name the store.
    Raises ``NodeError``.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    file = path or NODE_FILE
    if path is None and not file.exists() and "store" in given:
        return _validated({"state": state_beside(given["store"]), **given}, file)
    values = _read(file)
    for overlay in sorted((file.parent / "conf.d").glob("*.toml")):
        values = _merge(values, _read(overlay))
        _validated(values, overlay)
    return _validated(_merge(values, given), file)


def state_beside(store_url: str) -> Path:
    """The folder of an SQLite store's file; the package's state folder for other stores."""
    _, scheme, file = store_url.partition("sqlite:///")
    return Path(file).absolute().parent if scheme and file else STATE_FOLDER


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NodeError(
            f"{file}: no such file; write one, name another with --config, or give --store URL"
        ) from None
    except OSError as error:
        raise NodeError(
            f"{file}: cannot be read ({os.strerror(error.errno or 0)}); check its owner and mode"
        ) from None
    except UnicodeDecodeError:
        raise NodeError(f"{file}: is not UTF-8 text; write it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise NodeError(f"{file}: is not TOML: {error}") from None


def _validated(values: dict[str, Any], file: Path) -> Node:
    try:
        node = Node.model_validate(values)
    except ValidationError as error:
        raise NodeError(f"{file}: {'; '.join(_problems(error))}") from None
    for key, text in (
        ("resolver", node.resolver),
        ("filter.listen", node.filter.listen),
        ("web.listen", node.web.listen),
        ("postfix.smtp", node.postfix.smtp),
        ("postfix.release", node.postfix.release),
        ("postfix.reports", node.postfix.reports),
        ("postfix.bounces", node.postfix.bounces),
    ):
        try:
            Endpoint.parse(text)
        except ValueError as error:
            raise NodeError(f"{file}: {key}: {error}") from None
    return node


def _problems(error: ValidationError) -> Iterator[str]:
    for detail in error.errors(include_url=False):
        key = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            yield f"{key}: unknown key; remove it (settings are changed on the page or with dmarcgate settings)"
        else:
            yield f"{key}: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both_tables = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both_tables else value
    return merged
