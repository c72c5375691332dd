"""What one filter may hold, wait for and forgive; tests set smaller ones."""

from dataclasses import dataclass

from appliance.filter.budget import MAX_CPU_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of each worker, where nothing else is said."""

    connections: int = 512
    """Open at a time; more wait in the listening socket. Postfix has 100 processes (default_process_limit), and the
    usual limit of 1024 file descriptors leaves room for questions to the DNS."""
    evaluations: int = 64
    """Messages judged at a time."""
    evaluation_wait_seconds: float = 5.0
    """So long a message waits for its turn, then it is put off with 451."""
    buffered_octets: int = 32 << 20
    """Of messages, over all connections; above, only the oldest message is read on."""
    content_seconds: float = 60.0
    """From a message's first header field to its end. Postfix sends what it has received whole, so this is no limit
    for slow senders."""
    data_octets: int = 768 << 20
    """Private writable memory that the system gives (RLIMIT_DATA): the wall behind all other limits."""
    cpu_seconds: float = MAX_CPU_SECONDS
    """Of one message."""
    silent_seconds: float = 10.0
    """A worker whose event loop stands still so long is killed and replaced."""
    unchecked_messages: int = 10
    """Let through unchecked, by the setting for failures, within *unchecked_seconds* on this node: over all workers."""
    unchecked_seconds: float = 600.0


DEFAULT_LIMITS = Limits()
