"""Who earns a report: answering everybody who asks gets a sender blocklisted."""

from collections.abc import Callable
from dataclasses import dataclass

from appliance.mail.domain import domain_of
from appliance.settings import Gate, Settings
from appliance.settings.records import DomainSet

HISTORY_DAYS = 30
ESTABLISHED_DAYS = 2  # a burnt spam domain lives one day; a spoofed bank is seen again and again


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Whether a policy domain gets a report, and the reason, which is stored and shown."""

    allowed: bool
    reason: str


class ReportGate:
    """The report settings of one revision, made ready for asking."""

    def __init__(self, settings: Settings, *, gate: Gate | None = None) -> None:
        """*gate* stands in for the setting."""
        self._enabled = settings.reports.enabled
        self._gate = gate or settings.reports.gate
        self._protected = DomainSet(settings.identity.protected_domains)
        ours = (
            domain_of(settings.reports.address),
            settings.reports.bounce_host,
            settings.identity.authserv_id,
        )
        self._own = {*ours} - {""}
        self._denied = DomainSet(settings.reports.denied_domains)
        self._allowed = DomainSet(settings.reports.allowed_domains)

    def is_own(self, domain: str) -> bool:
        """Whether *domain* is ours: no report is about it, and none goes to it."""
        return domain in self._own or domain in self._protected

    def forbids(self, policy_domain: str) -> str:
        """Why *policy_domain* never gets a report, whatever its mail was; ``""`` when it may get one."""
        if not self._enabled:
            return "reports are switched off"
        if self.is_own(policy_domain):
            return "our own domain"
        if policy_domain in self._denied:
            return "on the list of domains never reported to"
        return ""

    def decide(
        self,
        policy_domain: str,
        *,
        causes_report: Callable[[], bool],
        days_seen: Callable[[], int],
        accepted: Callable[[], bool],
    ) -> GateDecision:
        """Decide about *policy_domain*, whose record asks for reports.

        *causes_report*: whether any of its mail on the day was not itself about mail; else two reporters would answer
        each other for ever. *days_seen*: on how many UTC days of the last 30, the reported one included, such mail was
        seen. *accepted*: whether a message of it was delivered in that time. Each is asked only when it is needed.
        """
        if forbidden := self.forbids(policy_domain):
            return GateDecision(allowed=False, reason=forbidden)
        if not causes_report():
            return GateDecision(
                allowed=False,
                reason="nothing but reports, bounces and automatic answers came; they cause no report",
            )
        if policy_domain in self._allowed:
            return GateDecision(allowed=True, reason="on the list of domains always reported to")
        return self._by_setting(days_seen, accepted)

    def _by_setting(self, days_seen: Callable[[], int], accepted: Callable[[], bool]) -> GateDecision:
        match self._gate:
            case Gate.ALL:
                return GateDecision(allowed=True, reason="every domain that asks gets a report")
            case Gate.ESTABLISHED:
                days = days_seen()
                seen = f"seen on {days} of the last {HISTORY_DAYS} days"
                if days >= ESTABLISHED_DAYS:
                    return GateDecision(allowed=True, reason=seen)
                return GateDecision(allowed=False, reason=f"{seen}; it takes {ESTABLISHED_DAYS}")
            case Gate.RECIPROCAL:
                if accepted():
                    return GateDecision(allowed=True, reason=f"mail accepted in the last {HISTORY_DAYS} days")
                return GateDecision(allowed=False, reason=f"no mail accepted in the last {HISTORY_DAYS} days")
            case Gate.LISTED:
                return GateDecision(allowed=False, reason="not on the list of domains always reported to")
