"""What differs between two versions of the settings."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from appliance.settings.lists import LISTS, Record, shown
from appliance.settings.model import Settings
from appliance.settings.names import SETTINGS, label, value_of

_LISTS = frozenset(kind.setting for kind in LISTS.values())

Value = bool | int | str | StrEnum


@dataclass(frozen=True, slots=True)
class ValueChange:
    """One setting that has another value."""

    setting: str
    before: Value
    after: Value

    @property
    def label(self) -> str:
        return label(self.setting)

    def __str__(self) -> str:
        return f"{self.setting}: {typed(self.before)} → {typed(self.after)}"

    def lines(self) -> Iterator[str]:
        yield str(self)


@dataclass(frozen=True, slots=True)
class ListDifference:
    """One list that has other records, or the same ones in another order."""

    setting: str
    added: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def label(self) -> str:
        return label(self.setting)

    def __str__(self) -> str:
        if not (self.added or self.removed):
            return f"{self.setting}: the same entries in another order"
        return f"{self.setting}: {len(self.added)} added, {len(self.removed)} removed"

    def lines(self) -> Iterator[str]:
        yield str(self)
        yield from (f"  - {line}" for line in self.removed)
        yield from (f"  + {line}" for line in self.added)


Change = ValueChange | ListDifference


def diff(before: Settings, after: Settings) -> tuple[Change, ...]:
    """What *after* changes, in the order of the document."""
    return tuple(_changes(before, after))


def typed(value: Value) -> str:
    """*value* as somebody would type it."""
    match value:
        case bool():
            return "true" if value else "false"
        case "":
            return '""'
        case _:
            return str(value)


def _changes(before: Settings, after: Settings) -> Iterator[Change]:
    for name in SETTINGS:
        old, new = value_of(before, name), value_of(after, name)
        if old != new:
            yield _difference(name, old, new) if name in _LISTS else ValueChange(name, old, new)


def _difference(name: str, before: tuple[Record, ...], after: tuple[Record, ...]) -> ListDifference:
    old, new = frozenset(before), frozenset(after)
    return ListDifference(
        name,
        added=tuple(shown(record) for record in after if record not in old),
        removed=tuple(shown(record) for record in before if record not in new),
    )
