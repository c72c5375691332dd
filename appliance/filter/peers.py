"""Who may connect to the filter: the MTA, root and ourselves (threats T41)."""

import ipaddress
import os
import pwd
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from appliance.listening import CannotListen
from appliance.log import get_logger
from appliance.mail.address import parse_ip

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


@dataclass(frozen=True, slots=True)
class Peers:
    """Users on this machine, who come by a Unix socket, and networks, for a listener that is none."""

    uids: frozenset[int]
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def named(cls, names: Iterable[str]) -> "Peers":
        """*names* are user names, addresses and networks. A user that does not exist is told in the log."""
        uids = {0, os.geteuid()}
        networks: list[IPv4Network | IPv6Network] = []
        for name in names:
            try:
                networks.append(ipaddress.ip_network(name))
            except ValueError:
                try:
                    uids.add(pwd.getpwnam(name).pw_uid)
                except KeyError:
                    get_logger().warning("unknown-peer", user=name)
        return cls(frozenset(uids), tuple(networks))

    def check_listener(self, host: str) -> None:
        """Raise ``CannotListen`` where *host* is not this machine alone, and nobody outside is named as peer.

        The milter protocol knows no password: whoever reaches the port could have messages judged and counted.
        """
        address = parse_ip(host)
        is_local = host == "localhost" or (address is not None and address.is_loopback)
        if not is_local and not self.networks:
            raise CannotListen(
                f"cannot listen at {host}: anybody could connect; use a Unix socket or 127.0.0.1, or name the "
                "mail server's address in filter.peers of the node file",
                retry=False,
            )

    def stranger(self, connected: socket.socket) -> str:
        """Who is at the other end of *connected*, if that is nobody of these; else ``""``."""
        if connected.family == socket.AF_UNIX:
            pid, uid, _ = _CREDENTIALS.unpack(
                connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            )
            return "" if uid in self.uids else f"uid {uid}, process {pid}"
        host = str(connected.getpeername()[0])
        address = parse_ip(host.partition("%")[0])
        known = address is not None and (
            address.is_loopback or any(address in network for network in self.networks)
        )
        return "" if known else f"address {host}"
