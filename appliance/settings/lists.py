"""The lists as administrators handle them: shown, exported, imported, entries added and removed. Pure.

A list's text has one record a line, its attributes and its comment behind it; what is exported can be imported again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from appliance.mail.domain import InvalidDomain, to_a_label, to_u_label
from appliance.settings.exceptions import ExceptionRecord
from appliance.settings.fields import MAX_DOMAINS, MAX_NETWORKS, LineErrors, read_lines
from appliance.settings.files import MAX_LIST_OCTETS, lines_of, text_of
from appliance.settings.model import Settings
from appliance.settings.names import label, replaced, value_of
from appliance.settings.problems import InvalidSettings, Problem
from appliance.settings.records import DomainRecord, DomainSet, NetworkRecord

Record = DomainRecord | NetworkRecord | ExceptionRecord

LINES_A_STEP = 500


class ImportMode(StrEnum):
    """Merge: what is there stays, new entries come behind it. Overwrite: the list becomes what the file says."""

    MERGE = "merge"
    OVERWRITE = "overwrite"


@dataclass(frozen=True, slots=True)
class ListKind:
    """One of the lists. *name* is what the command line calls it, *setting* where its records are kept."""

    name: str
    setting: str
    record: type[DomainRecord] | type[NetworkRecord] | type[ExceptionRecord]
    most: int
    example: str

    @property
    def label(self) -> str:
        return label(self.setting)


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A line that names an entry which is there already: it changes nothing."""

    line: int
    given: str
    kept: str
    """The record that stays; where it differs from *given*, that has other attributes or another comment."""


@dataclass(frozen=True, slots=True)
class ListChange:
    """What a list would become; nothing is saved."""

    settings: Settings
    added: tuple[str, ...]
    removed: tuple[str, ...]
    duplicates: tuple[Duplicate, ...]
    unchanged: int
    """How many records stay as they were."""


_DOMAINS = "example.com # the shop"
_NETWORKS = "192.0.2.0/24 # the office"

LISTS: Mapping[str, ListKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            ListKind(
                "domains", "verification.domains", DomainRecord, MAX_DOMAINS, "*.example.com # the shop"
            ),
            ListKind(
                "exceptions",
                "verification.exceptions",
                ExceptionRecord,
                MAX_NETWORKS,
                "192.0.2.0/24 mode=evaluate until=2027-01-01 # office in Kyoto",
            ),
            ListKind("known-hosts", "network.known_hosts", NetworkRecord, MAX_NETWORKS, _NETWORKS),
            ListKind("internal", "network.internal", NetworkRecord, MAX_NETWORKS, _NETWORKS),
            ListKind("protected", "identity.protected_domains", DomainRecord, MAX_DOMAINS, _DOMAINS),
            ListKind("sealers", "network.trusted_sealers", DomainRecord, MAX_DOMAINS, _DOMAINS),
            ListKind("forwarders", "network.trusted_forwarders", NetworkRecord, MAX_NETWORKS, _NETWORKS),
            ListKind("report-allow", "reports.allowed_domains", DomainRecord, MAX_DOMAINS, _DOMAINS),
            ListKind("report-deny", "reports.denied_domains", DomainRecord, MAX_DOMAINS, _DOMAINS),
        )
    }
)
"""By their names. A name that is no list is a ``KeyError`` in every function here."""


def records(settings: Settings, name: str) -> tuple[Record, ...]:
    found: tuple[Record, ...] = value_of(settings, LISTS[name].setting)
    return found


def shown(record: Record) -> str:
    """The record's line with U-labels, where reading it gives the same record again."""
    match record:
        case DomainRecord():
            return str(_readable(record))
        case ExceptionRecord(author=author, signer=signer):
            author = _readable(author) if author is not None else None
            return str(replace(record, author=author, signer=readable(signer)))
        case _:
            return str(record)


def readable(domain: str) -> str:
    """*domain*'s U-labels, or itself where they don't lead back to it or can't be printed."""
    text = to_u_label(domain)
    if text == domain or not text.isprintable():
        return domain
    try:
        return text if to_a_label(text) == domain else domain
    except InvalidDomain:
        return domain


def preview(record: DomainRecord) -> tuple[tuple[str, bool], ...]:
    """Whether *record* matches its domain itself, and a name below it: what a star does, by example (S13)."""
    matches = DomainSet([record])
    return tuple((readable(name), name in matches) for name in (record.domain, f"mail.{record.domain}"))


def export_text(settings: Settings, name: str) -> str:
    """The list as text; importing it with overwrite gives the same records."""
    return "".join(f"{shown(record)}\n" for record in records(settings, name))


def import_text(
    settings: Settings,
    name: str,
    octets: bytes,
    mode: ImportMode,
    progress: Callable[[int], object] | None = None,
) -> ListChange:
    """*settings* with a file's records in the list, all of them or none.

    *progress* is told the number of lines read since it was told last. Raises ``InvalidSettings`` with each line that
    can't be used.
    """
    kind = LISTS[name]
    lines = lines_of(text_of(octets, kind.setting, MAX_LIST_OCTETS))
    found = _read(kind, _watched(lines, progress))
    kept = () if mode is ImportMode.OVERWRITE else records(settings, name)
    return _joined(settings, kind, kept, found)


def add(settings: Settings, name: str, lines: Sequence[str], owner: str = "") -> ListChange:
    """*settings* with *lines* at the end of the list; *owner* answers for exceptions that name nobody.

    Raises ``InvalidSettings``.
    """
    kind = LISTS[name]
    found = [(number, _owned(record, owner)) for number, record in _read(kind, lines)]
    return _joined(settings, kind, records(settings, name), found)


def remove(settings: Settings, name: str, lines: Sequence[str]) -> ListChange:
    """*settings* without the entries that *lines* name, all of them or none; attributes and comments may be left out.

    Raises ``InvalidSettings``.
    """
    kind = LISTS[name]
    before = records(settings, name)
    wanted = {record.key: number for number, record in _read(kind, lines)}
    missing = wanted.keys() - {record.key for record in before}
    if missing:
        problems = sorted((wanted[key], _missing(key, before)) for key in missing)
        raise InvalidSettings(tuple(Problem(kind.setting, text, number) for number, text in problems))
    return _change(settings, kind, [record for record in before if record.key not in wanted], ())


def _joined(
    settings: Settings, kind: ListKind, kept: Sequence[Record], found: Sequence[tuple[int, Record]]
) -> ListChange:
    """*found* behind what is *kept*; of two records with one key the first stays."""
    entries = {record.key: record for record in kept}
    duplicates = []
    for number, record in found:
        first = entries.setdefault(record.key, record)
        if first is not record:
            duplicates.append(Duplicate(number, shown(record), shown(first)))
    return _change(settings, kind, list(entries.values()), tuple(duplicates))


def _change(
    settings: Settings, kind: ListKind, after: Sequence[Record], duplicates: tuple[Duplicate, ...]
) -> ListChange:
    before = records(settings, kind.name)
    old, new = frozenset(before), frozenset(after)
    return ListChange(
        replaced(settings, {kind.setting: list(after)}),
        added=tuple(shown(record) for record in after if record not in old),
        removed=tuple(shown(record) for record in before if record not in new),
        duplicates=duplicates,
        unchanged=len(old & new),
    )


def _read(kind: ListKind, lines: Sequence[str] | Iterator[str]) -> list[tuple[int, Any]]:
    try:
        return read_lines(lines, kind.record)
    except LineErrors as errors:
        raise InvalidSettings(tuple(errors.problems(kind.setting))) from None


def _watched(lines: Sequence[str], progress: Callable[[int], object] | None) -> Iterator[str]:
    for start in range(0, len(lines), LINES_A_STEP):
        step = lines[start : start + LINES_A_STEP]
        yield from step
        if progress is not None:
            progress(len(step))


def _owned(record: Record, owner: str) -> Record:
    if isinstance(record, ExceptionRecord) and not record.owner:
        return replace(record, owner=owner)
    return record


def _readable(record: DomainRecord) -> DomainRecord:
    return replace(record, domain=readable(record.domain))


def _missing(key: str, there: Sequence[Record]) -> str:
    """That *key* is not in the list, with the entries that may be meant."""
    value = _value(key)
    near = [record.key for record in there if _value(record.key) == value][:3]
    return f'"{key}" is not in the list' + (f"; it has {', '.join(near)}" if near else "")


def _value(key: str) -> str:
    """What two entries have in common that are easily taken for each other."""
    return key.split(" ", 1)[0].removeprefix("*.")
