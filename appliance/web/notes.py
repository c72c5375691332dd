"""What the DMARC page says about settings in words: the summary, what deserves a second look, what a save changed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from appliance.mail.domain import to_u_label
from appliance.settings import Mode, Scope, Settings
from appliance.settings.changes import Change, ValueChange
from appliance.settings.risks import Phrase
from appliance.web.form import CONTROLS, Control, Kind, Typed, entries, filled
from appliance.web.text import gettext, ngettext

LINES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting for which two people want different values; *start* is what the later one began with."""

    control: Control
    start: str
    theirs: str
    yours: str

    @property
    def clash(self) -> bool:
        """Whether both changed it."""
        return self.start not in {self.theirs, self.yours}


def summary(settings: Settings) -> list[str]:
    """The page's first line, in parts."""
    verification = settings.verification
    if verification.scope is Scope.ALL:
        scope = gettext("all author domains")
    else:
        scope = ngettext("%(num)s listed domain", "%(num)s listed domains", len(verification.domains))
    if verification.enabled:
        state = [gettext("Enabled"), gettext(verification.mode.label)]
    else:
        state = [gettext("Off")]
    return [
        *state,
        scope,
        ngettext("%(num)s exception", "%(num)s exceptions", len(verification.exceptions)),
        f"p=reject → {gettext(verification.actions.reject.label)}",
        gettext("reports on") if settings.reports.enabled else gettext("reports off"),
    ]


def banner(settings: Settings) -> str:
    """What every page says while mail is not stopped, else nothing."""
    if not settings.verification.enabled:
        return gettext("DMARC is off: mail is delivered unchecked.")
    if settings.verification.mode is Mode.MONITOR:
        return gettext("Monitor only: nothing is stopped.")
    return ""


def told(phrase: Phrase) -> str:
    """*phrase* in the reader's language."""
    values = {name: _in_language(value) for name, value in phrase.values.items()}
    return gettext(phrase.message, **values)


def merged(form: Typed, saved: Settings) -> Iterator[str]:
    """The lists in which the same entry was typed more than once."""
    kept = filled(saved)
    for control in CONTROLS.values():
        if control.kind is Kind.LINES and (
            twice := entries(form[control.name]) - entries(kept[control.name])
        ):
            yield gettext(
                "%(setting)s: %(twice)s repeated entries were merged.", setting=control.label, twice=twice
            )


def in_language(changes: Iterable[Change]) -> list[str]:
    """Each change in the reader's language, in one line."""
    return [_change_in_words(change) for change in changes]


def differences(start: Settings, theirs: Settings, yours: Settings) -> list[Difference]:
    """What has to be settled before *yours* can replace *theirs*."""
    first, other, own = filled(start), filled(theirs), filled(yours)
    return [
        Difference(c, first[name], other[name], own[name])
        for name, c in CONTROLS.items()
        if other[name] != own[name]
    ]


def combined(start: Typed, theirs: Typed, yours: Typed) -> dict[str, str]:
    """*yours* where you changed something since *start*, else *theirs*."""
    return {name: theirs[name] if yours[name] == start[name] else yours[name] for name in CONTROLS}


def _change_in_words(change: Change) -> str:
    setting = gettext(change.label)
    if isinstance(change, ValueChange):
        return gettext(
            "%(setting)s: %(before)s → %(after)s",
            setting=setting,
            before=_in_language(change.before),
            after=_in_language(change.after),
        )
    if not (change.added or change.removed):
        return gettext("%(setting)s: the same entries in another order", setting=setting)
    return gettext(
        "%(setting)s: %(added)s added, %(removed)s removed",
        setting=setting,
        added=len(change.added),
        removed=len(change.removed),
    )


def _in_language(value: object) -> str:
    """A setting's value as a person reads it."""
    match value:
        case bool():
            return gettext("on") if value else gettext("off")
        case "":
            return gettext("(empty)")
        case StrEnum():
            return gettext(getattr(value, "label", value.value))
        case _:
            return str(value)


def in_words(control: Control, value: str) -> str:
    """*value* short enough to stand in a table."""
    if not value and control.kind is not Kind.SWITCH:
        return gettext("(empty)")
    lines = control.in_words(value).splitlines()
    if len(lines) <= LINES_SHOWN:
        return "\n".join(lines)
    more = gettext("… and %(count)s more", count=len(lines) - LINES_SHOWN)
    return "\n".join([*lines[:LINES_SHOWN], more])


def readable_names(text: str) -> Mapping[str, str]:
    """The internationalized domains among a list's entries, A-label to U-label."""
    names = [line.split("#")[0].strip() for line in text.splitlines() if "xn--" in line]
    return {name: shown for name in names if (shown := to_u_label(name)) != name}
