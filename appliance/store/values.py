"""How values stand in the store: instants as numbers, text that every database takes, documents as ASCII JSON."""

import json
import re
from datetime import UTC, datetime
from typing import Any

MILLION = 1_000_000

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
"""ASCII only: octets that arrived as surrogate escapes, and NUL, survive in any database."""

from_json = json.loads


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970; *moment* is aware."""
    if moment.tzinfo is None:
        raise ValueError("a time without its zone can't be stored")
    return round(moment.timestamp() * MILLION)


def from_micros(micros: int) -> datetime:
    seconds, rest = divmod(micros, MILLION)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def now() -> datetime:
    return datetime.now(UTC)


def text(value: str, limit: int) -> str:
    """*value* cut to *limit* characters; NUL and octets that are no UTF-8 become U+FFFD."""
    cut = value[:limit]
    if cut.isascii() and "\0" not in cut:
        return cut
    return _UNSTORABLE.sub("\ufffd", cut)


def as_json(value: Any) -> str:
    """*value* as a document whose keys are sorted, so that equal values give equal text."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
