"""Explanations as plain values, for JSON."""

from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any


def as_plain(value: object) -> Any:
    """Dataclasses as objects with their fields' names, tuples as lists, times in ISO 8601."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [as_plain(one) for one in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, str) else value
