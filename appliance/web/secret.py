"""The key that signs session cookies: made at the first start, kept in one file that only we can read."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

KEY_OCTETS = 32


class UnusableKey(Exception):
    """The key file can't be read or made; the message is one line that names it."""


def load_or_make(path: Path) -> bytes:
    """The key in *path*, made there when there is none. Two services that start at once get the same key."""
    try:
        with contextlib.suppress(FileExistsError):
            if not path.exists():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise UnusableKey(f"cannot use the session key file {path}: {error.strerror}") from None
    if len(key) < KEY_OCTETS:
        raise UnusableKey(f"the session key file {path} is damaged; delete it, and everybody signs in again")
    return key


def _make(path: Path) -> None:
    """Write a whole file of mode 0600 under another name, then link it: nobody ever sees half a key."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_OCTETS))
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)
    finally:
        Path(name).unlink()
