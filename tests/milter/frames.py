"""Frames of the milter protocol, made without the product's code."""

import struct


def frame(command: bytes, payload: bytes = b"") -> bytes:
    return struct.pack("!I", len(payload) + 1) + command + payload


def offer(version: int = 6, actions: int = 0x1FF, protocol: int = 0x1FFFFF) -> bytes:
    """The MTA's part of the negotiation; by default it can do everything."""
    return frame(b"O", struct.pack("!III", version, actions, protocol))
