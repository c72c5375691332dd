"""Listening sockets of the services: handed over by systemd, or bound here."""

import errno
import os
import socket
import stat
from pathlib import Path

from appliance.node import Endpoint

_SYSTEMD_FIRST_FD = 3  # sd_listen_fds(3)
_BACKLOG = 512


class CannotListen(Exception):
    """The socket can't be had. *retry*: trying again later may help."""

    def __init__(self, message: str, *, retry: bool) -> None:
        super().__init__(message)
        self.retry = retry


def inherited_socket() -> socket.socket | None:
    """The socket that systemd opened for us (``LISTEN_FDS``), if it did."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS", "0") == "0":
        return None
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)  # not for our workers' children
    return socket.socket(fileno=_SYSTEMD_FIRST_FD)


def bind(endpoint: Endpoint) -> socket.socket:
    """Bind and listen at *endpoint*; a Unix socket gets mode 0660. Raises ``CannotListen``."""
    try:
        return _bind_unix(endpoint.path) if endpoint.path else _bind_tcp(endpoint.host, endpoint.port)
    except OSError as error:
        retry = error.errno in {
            errno.EADDRINUSE,
            errno.EADDRNOTAVAIL,
            errno.EMFILE,
            errno.ENFILE,
            errno.ENOBUFS,
        }
        reason = error.strerror or str(error)
        raise CannotListen(f"cannot listen at {endpoint}: {reason}{_remedy(error)}", retry=retry) from None


def _remedy(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "; another process listens there: stop it or choose another with --listen"
        case errno.ENOENT:
            return "; create the folder first"
        case errno.EACCES | errno.EPERM:
            return "; check the folder's owner and mode"
        case _:
            return ""


def unlink(endpoint: Endpoint, listening: socket.socket) -> None:
    """Remove the socket file that *listening* was bound to, unless another process has taken its place."""
    if not endpoint.path:
        return
    path = Path(endpoint.path)
    try:
        bound = (os.fstat(listening.fileno()), path.lstat())
    except OSError:
        return
    if listening.getsockname() == endpoint.path and stat.S_ISSOCK(bound[1].st_mode):
        path.unlink(missing_ok=True)


def _bind_tcp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def _bind_unix(path: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        before = os.umask(0o117)  # so that the socket never exists with more than 0660
        try:
            listening.bind(path)
        finally:
            os.umask(before)
        listening.listen(_BACKLOG)
    except BaseException as error:
        listening.close()
        if "too long" in str(error):
            raise CannotListen(
                f"cannot listen at unix:{path}: the path is too long for a socket", retry=False
            ) from None
        raise
    return listening


def _remove_stale(path: str) -> None:
    """Remove a socket file that nobody listens at; a living one is busy, another kind of file stays."""
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListen(
            f"cannot listen at unix:{path}: there is a file of that name; remove it", retry=False
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
