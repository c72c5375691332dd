"""Run the settings page: gunicorn with one worker process, on a TCP port or a Unix socket."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from appliance.listening import bind, inherited_socket, unlink
from appliance.node import Endpoint
from appliance.store.engine import open_store
from appliance.web import secret
from appliance.web.app import create_app

THREADS = 4


@dataclass(frozen=True, slots=True)
class _Worker:
    """What the worker process needs to make the application; the store opens after the fork."""

    store_url: str
    secret_key: bytes
    allowed_hosts: tuple[str, ...]
    secure_cookies: bool
    behind_proxy: bool

    def __call__(self) -> Flask:
        return create_app(
            open_store(self.store_url),
            secret_key=self.secret_key,
            secure_cookies=self.secure_cookies,
            allowed_hosts=self.allowed_hosts,
            behind_proxy=self.behind_proxy,
        )


class _Gunicorn(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(self, make: Callable[[], Flask], options: dict[str, Any]) -> None:
        self._make = make
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return self._make()


def serve(
    store_url: str,
    listen: str,
    *,
    secret_key_file: Path,
    allowed_hosts: Sequence[str] = (),
    secure_cookies: bool = True,
) -> None:
    """Serve until SIGTERM; ends with ``SystemExit``.

    *listen* is ``HOST:PORT`` or ``unix:PATH``. On a Unix socket a reverse proxy on this machine is believed about the
    client's address. Raises ``CannotListen``, ``UnusableKey``, ``StoreUnavailable`` or ``SchemaMismatch`` before it
    answers anything.
    """
    endpoint = Endpoint.parse(listen)
    open_store(store_url).close()  # says now what the worker would only say to its log
    worker = _Worker(
        store_url,
        secret.load_or_make(secret_key_file),
        tuple(allowed_hosts),
        secure_cookies,
        behind_proxy=bool(endpoint.path),
    )
    if (inherited := inherited_socket()) is not None:  # its file is systemd's
        _Gunicorn(worker, _options(inherited.fileno())).run()
        return
    listening, here = bind(endpoint), os.getpid()
    try:
        _Gunicorn(worker, _options(listening.fileno())).run()
    finally:
        if os.getpid() == here:  # a worker process that ends passes here too
            unlink(endpoint, listening)


def _options(descriptor: int) -> dict[str, Any]:
    return {
        "bind": f"fd://{os.dup(descriptor)}",  # gunicorn closes what it is given
        "workers": 1,
        "threads": THREADS,
        "control_socket_disable": True,
        "proc_name": "dmarcgate-web",
        "loglevel": "warning",
        "worker_tmp_dir": "/dev/shm" if Path("/dev/shm").is_dir() else None,  # noqa: S108  only a heartbeat file
        "graceful_timeout": 10,
    }
