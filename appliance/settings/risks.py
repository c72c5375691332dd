"""Choices that can stop much honest mail, let much through, or lose what was kept: to be confirmed before they hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from types import MappingProxyType

from appliance.settings.choices import Action, EngineFailureAction, Mode, Scope
from appliance.settings.exceptions import ExceptionMode, ExceptionRecord
from appliance.settings.lists import readable
from appliance.settings.model import Settings
from appliance.settings.names import label, value_of
from appliance.settings.records import DomainSet, IPNetwork, show_network

WIDEST: Mapping[int, int] = MappingProxyType({4: 16, 6: 32})
"""The shortest prefix that is not worth a warning, for each IP version."""

_PRIVATE = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)
"""Nobody outside can send from these: RFC 1918, 6598, 3927, 4193, 4291."""

_KEPT = ("events_days", "events_percent", "facts_days", "quarantine_days", "quarantine_percent")


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words about settings. *message* has ``%(name)s`` for each of *values*; an action among them shows its label."""

    key: str
    message: str
    values: Mapping[str, str | int | Action] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message % {name: getattr(value, "label", value) for name, value in self.values.items()}


def risks(before: Settings, after: Settings) -> tuple[Phrase, ...]:
    """What *after* brings in that should be confirmed (behaviour S24, T46); a key names one risk for good.

    What held before was confirmed then.
    """
    known = {risk.key for risk in _standing(before)}
    return (*(risk for risk in _standing(after) if risk.key not in known), *_steps(before, after))


def remarks(settings: Settings) -> Iterator[Phrase]:
    """What may be a mistake, but can be meant."""
    yield from _wide_exceptions(settings)
    listed = DomainSet(settings.verification.domains)
    for own in settings.identity.protected_domains:
        if own.domain in listed:
            yield Phrase(
                f"own-{own.domain}",
                "%(domain)s is your own domain. Genuine outgoing mail needs no entry; the entry stops outsiders who "
                "use the domain, and is safe only if all your own senders are authenticated.",
                {"domain": readable(own.domain)},
            )


def _standing(settings: Settings) -> Iterator[Phrase]:
    """Risks of a version by itself."""
    yield from _actions(settings)
    yield from _wide_exceptions(settings)
    yield from _wide_internal(settings)
    if settings.verification.engine_failure is EngineFailureAction.DELIVER:
        yield Phrase(
            "engine_failure-deliver",
            "“If the filter fails on a message” is set to deliver it. A sender who finds a message that the filter "
            "fails on gets it through unchecked.",
        )


def _actions(settings: Settings) -> Iterator[Phrase]:
    if settings.verification.scope is not Scope.ALL:
        return
    actions = settings.verification.actions
    if actions.no_record is not Action.DELIVER:
        yield Phrase(
            f"no_record-{actions.no_record}",
            "“No DMARC record” is set to “%(action)s” for all author domains. Most domains of the world publish no "
            "record; their honest mail would be stopped.",
            {"action": actions.no_record},
        )
    if actions.none is Action.REJECT:
        yield Phrase(
            "none-reject",
            "“p=none” is set to “Reject” for all author domains. Their owners ask you to deliver this mail; mailing "
            "lists and forwarded mail would be refused.",
        )


def _wide_exceptions(settings: Settings) -> Iterator[Phrase]:
    for entry in settings.verification.exceptions:
        if entry.network is not None and not entry.signer and _is_wide(entry.network):
            yield _wide_exception(entry, entry.network)


def _wide_exception(entry: ExceptionRecord, network: IPNetwork) -> Phrase:
    values = {"network": show_network(network)}
    if entry.author is not None:
        key = f"wide-{network}-{entry.author.key}"
        text = "Exception %(network)s is very wide: mail from it that claims %(domain)s is not stopped."
        return Phrase(key, text, {**values, "domain": readable(entry.author.domain)})
    if entry.mode is ExceptionMode.EVALUATE:
        text = "Exception %(network)s is very wide: no mail from it is stopped."
        return Phrase(f"wide-{network}-evaluate", text, values)
    text = "Exception %(network)s is very wide: no mail from it is verified or stopped."
    return Phrase(f"wide-{network}", text, values)


def _wide_internal(settings: Settings) -> Iterator[Phrase]:
    for entry in settings.network.internal:
        if _is_wide(entry.network) and not _is_private(entry.network):
            yield Phrase(
                f"internal-{entry.network}",
                "Internal network %(network)s is very wide, and the Internet's: no mail from it is verified or "
                "stopped.",
                {"network": show_network(entry.network)},
            )


def _is_wide(network: IPNetwork) -> bool:
    return network.prefixlen < WIDEST[network.version]


def _is_private(network: IPNetwork) -> bool:
    return any(
        network.network_address in private and network.prefixlen >= private.prefixlen for private in _PRIVATE
    )


def _steps(before: Settings, after: Settings) -> Iterator[Phrase]:
    """Risks of going from one version to the other."""
    old, new = before.verification, after.verification
    if old.enabled and not new.enabled:
        yield Phrase("off", "DMARC is switched off: mail is delivered unchecked.")
    elif old.enabled and old.mode is Mode.ENFORCE and new.mode is Mode.MONITOR:
        yield Phrase("monitor", "“Monitor only” is chosen: nothing is stopped any more.")
    if old.enabled and new.enabled and old.scope is Scope.ALL and new.scope is Scope.LISTED:
        yield Phrase(
            "listed",
            "Only listed domains are verified: mail of all other author domains is delivered unchecked.",
        )
    for name in _KEPT:
        setting = f"retention.{name}"
        was, will = value_of(before, setting), value_of(after, setting)
        if will < was:
            yield Phrase(
                f"{name}-{will}",
                "“%(setting)s” goes from %(before)s down to %(after)s: what is beyond it is deleted for good.",
                {"setting": label(setting), "before": was, "after": will},
            )
