"""The child processes of a process, as the kernel lists them."""

import contextlib
from pathlib import Path


def children_of(pid: int) -> set[int]:
    """Empty when *pid* has ended."""
    found: set[int] = set()
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):  # one for each thread
        with contextlib.suppress(OSError):  # it may end while we look
            found.update(map(int, listing.read_text().split()))
    return found
