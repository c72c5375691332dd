"""Keep a worker small: memory of large messages goes back to the system, and there is a wall."""

import ctypes
import os
import resource
from typing import NoReturn

from appliance.log import get_logger

_ARENAS, _MAP_FROM = -8, -3  # M_ARENA_MAX and M_MMAP_THRESHOLD, mallopt(3)
_LARGE_OCTETS = 2 * 1024 * 1024
_EX_OSERR = 71


def return_large_blocks() -> None:
    """Have the C library map large blocks one by one, and share one arena among the threads.

    Left to itself it keeps what the largest messages took, once for each thread. Where it has no ``mallopt`` nothing
    is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MAP_FROM, _LARGE_OCTETS)
        mallopt(_ARENAS, 1)


def limit_memory(octets: int) -> None:
    """Let the system refuse this process more than *octets* of private memory; less than that stays as it is."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = octets if hard == resource.RLIM_INFINITY else min(octets, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def end_out_of_memory() -> NoReturn:
    """End this process at once: whoever has met the wall is better replaced. Open messages are put off by Postfix."""
    try:
        get_logger().error("out-of-memory")
    finally:
        os._exit(_EX_OSERR)
