"""Free TCP ports on loopback for the lab's services."""

import random
import socket

LOOPBACK = "127.0.0.1"

_LOWEST, _HIGHEST = 10_000, 32_000  # below the ports that outgoing connections take


class PortBusy(Exception):
    """Another program listens on a port that we need."""


def free_ports(count: int) -> tuple[int, ...]:
    """*count* different ports of loopback that are free now.

    They are drawn at random below the range of outgoing connections, so nothing but another listener can take one
    before its service starts.
    """
    found: set[int] = set()
    for port in random.sample(range(_LOWEST, _HIGHEST), 1000):
        if len(found) == count:
            return tuple(found)
        if is_free(port):
            found.add(port)
    raise PortBusy(f"no {count} free ports between {_LOWEST} and {_HIGHEST} on {LOOPBACK}")


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do: connections in TIME_WAIT do not count
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def require_free(port: int, purpose: str) -> None:
    """Raise ``PortBusy``, naming the port and its *purpose*, when another program listens there."""
    if not is_free(port):
        raise PortBusy(
            f"port {port} of {LOOPBACK}, wanted for {purpose}, is in use: stop its program or choose another port"
        )
