"""What a command leaves behind, and how tests call one."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    status: int
    out: str
    err: str


Gate = Callable[..., Done]
"""Called with the words of a command line, without ``dmarcgate``."""

OnTerminal = Callable[..., Done]
"""The same with a terminal before it."""
