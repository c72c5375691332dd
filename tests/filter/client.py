"""A milter client for tests: says what Postfix would say, as slowly or as much at a time as a test likes."""

import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from tests.milter.frames import frame, offer

CHUNK_OCTETS = 65_535


class MilterClient:
    """One connection; the negotiation is done on entry."""

    def __init__(self, path: Path, *, seconds: float = 120.0) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(seconds)
        self._path = path
        self._session = frame(b"C", b"client.example\0" + b"4" + struct.pack("!H", 25) + b"192.0.2.1\0")
        self._session += frame(b"H", b"client.example\0")

    def __enter__(self) -> Self:
        try:
            self.socket.connect(str(self._path))
            self.socket.sendall(offer())
            assert self.read()[:1] == b"O"
        except BaseException:
            self.socket.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def begin(self, sender: str = "a@example.org", recipients: Iterable[str] = ("u@corp.example",)) -> None:
        """A message up to DATA; the first time the SMTP session before it."""
        self.socket.sendall(
            self._session
            + frame(b"M", f"<{sender}>\0".encode())
            + b"".join(frame(b"R", f"<{recipient}>\0".encode()) for recipient in recipients)
            + frame(b"T")
        )
        self._session = b""

    def fields(self, *fields: tuple[bytes, bytes]) -> None:
        self.socket.sendall(b"".join(frame(b"L", name + b"\0" + value + b"\0") for name, value in fields))

    def body(self, octets: bytes) -> None:
        """End of the header, and all of the body."""
        self.socket.sendall(frame(b"N"))
        self.chunks(octets)

    def chunks(self, octets: bytes) -> None:
        """More of the body."""
        view = memoryview(octets)
        for at in range(0, len(octets), CHUNK_OCTETS):
            self.socket.sendall(frame(b"B", bytes(view[at : at + CHUNK_OCTETS])))

    def end(self) -> bytes:
        """Finish the message: the last frame of the reply."""
        self.socket.sendall(frame(b"E"))
        return self.verdict()

    def verdict(self) -> bytes:
        while (read := self.read())[:1] in (b"i", b"m"):
            pass
        return read

    def read(self) -> bytes:
        """One frame; empty when the filter has closed the connection."""
        start = self.socket.recv(4, socket.MSG_WAITALL)
        if len(start) < 4:
            return b""
        return self.socket.recv(struct.unpack("!I", start)[0], socket.MSG_WAITALL)
