"""What the DMARC page says about settings in words: the summary, what deserves a second look, what a save changed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from appliance.mail.domain import to_u_label
from appliance.settings import Action, Mode, Scope, Settings
from appliance.settings.records import DomainSet, show_network
from appliance.web.form import CONTROLS, Control, Kind, Typed, entries, filled
from appliance.web.text import gettext, ngettext

WIDEST = {4: 16, 6: 32}
"""The shortest prefix of an exception that is not worth a warning, for each IP version."""

LINES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that differs between two versions."""

    control: Control
    before: str
    after: str

    def __str__(self) -> str:
        if self.control.kind is Kind.LINES:
            added = len(set(self.after.splitlines()) - set(self.before.splitlines()))
            removed = len(set(self.before.splitlines()) - set(self.after.splitlines()))
            return gettext(
                "%(setting)s: %(added)s added, %(removed)s removed",
                setting=self.control.label,
                added=added,
                removed=removed,
            )
        return gettext(
            "%(setting)s: %(before)s → %(after)s",
            setting=self.control.label,
            before=in_words(self.control, self.before),
            after=in_words(self.control, self.after),
        )


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


def risks(settings: Settings) -> dict[str, str]:
    """Choices that can stop much honest mail, each with what it means; keyed so that two versions compare."""
    if settings.verification.scope is not Scope.ALL:
        return {}
    actions = settings.verification.actions
    found = {}
    if actions.no_record is not Action.DELIVER:
        found[f"no_record-{actions.no_record}"] = gettext(
            "“No DMARC record” is set to “%(action)s” for all author domains. Most domains of the world publish no "
            "record; their honest mail would be stopped.",
            action=gettext(actions.no_record.label),
        )
    if actions.none is Action.REJECT:
        found["none-reject"] = gettext(
            "“p=none” is set to “Reject” for all author domains. Their owners ask you to deliver this mail; mailing "
            "lists and forwarded mail would be refused."
        )
    return found


def remarks(settings: Settings) -> Iterator[str]:
    """What may be a mistake, but can be meant."""
    for entry in settings.verification.exceptions:
        if entry.network is not None and entry.network.prefixlen < WIDEST[entry.network.version]:
            yield gettext(
                "Exception %(network)s is very wide: no mail from it is verified or stopped.",
                network=show_network(entry.network),
            )
    listed = DomainSet(settings.verification.domains)
    for own in settings.identity.protected_domains:
        if settings.verification.scope is Scope.LISTED and own.domain in listed:
            yield gettext(
                "%(domain)s is your own domain. Genuine outgoing mail needs no entry; the entry stops outsiders who "
                "use the domain, and is safe only if all your own senders are authenticated.",
                domain=own.domain,
            )


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


def changes(before: Settings, after: Settings) -> list[Change]:
    old, new = filled(before), filled(after)
    return [Change(c, old[name], new[name]) for name, c in CONTROLS.items() if old[name] != new[name]]


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
