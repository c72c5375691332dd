"""``python -m tests.bench.nameserver ZONE PORT``: the lab's name server in a process of its own, until SIGTERM."""

import fcntl
import signal
import socket
import struct
import sys
from pathlib import Path

from appliance.lab.nameserver import NameServer, Zone

_SIOCSIFFLAGS = 0x8914
_UP = 0x1


def main() -> None:
    zone, port = Path(sys.argv[1]), int(sys.argv[2])
    stops = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # before there are threads, which inherit it
    if "--raise-loopback" in sys.argv:
        raise_loopback()
    with NameServer(Zone(zone.read_text(encoding="ascii")), port):
        print("ready", flush=True)
        signal.sigwait(stops)


def raise_loopback() -> None:
    """In a new network namespace the loopback interface is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _UP))


if __name__ == "__main__":
    main()
