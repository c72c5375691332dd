"""Keep a worker small: memory of large messages goes back to the system when they are done."""

import ctypes

_ARENAS, _MAP_FROM = -8, -3  # M_ARENA_MAX and M_MMAP_THRESHOLD, mallopt(3)
_LARGE_OCTETS = 2 * 1024 * 1024


def return_large_blocks() -> None:
    """Have the C library map large blocks one by one, and share one arena among the threads.

    Left to itself it keeps what the largest messages took, once for each thread. Where it has no ``mallopt`` nothing
    is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MAP_FROM, _LARGE_OCTETS)
        mallopt(_ARENAS, 1)
