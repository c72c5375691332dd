"""What tests need around a Postfix instance of their own: its configuration, and a place for a filter of theirs."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from appliance.lab.ports import free_ports
from appliance.lab.postfix_config import PostfixConfig


def config_below(directory: Path, inside_domain: str = "inside.example") -> PostfixConfig:
    """An instance on free ports that takes mail for *inside_domain*."""
    smtp, release, report = free_ports(3)
    return PostfixConfig(
        directory=directory,
        smtp_port=smtp,
        release_port=release,
        report_port=report,
        inside_domains=(inside_domain,),
    )


@contextlib.contextmanager
def listening_at(path: Path) -> Iterator[socket.socket]:
    """A Unix socket that Postfix may connect to, however long its path is."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
            path.chmod(0o660)
            listener.listen()
            yield listener
    finally:
        path.unlink(missing_ok=True)
        os.close(folder)
