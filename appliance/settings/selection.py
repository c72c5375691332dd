"""What cannot be selected, given the settings in force: questions that one version alone can't answer."""

from appliance.settings.model import Settings
from appliance.settings.problems import InvalidSettings, Problem


def check_selection(before: Settings, after: Settings) -> None:
    """Reports can't be switched on without verification (behaviour S2). Raises ``InvalidSettings``.

    Switching verification off keeps them as they are: it keeps all settings (S28), and nothing new is counted.
    """
    switched_on = after.reports.enabled and not before.reports.enabled
    if switched_on and not after.verification.enabled:
        message = "needs verification: switch DMARC on (verification.enabled) first, else there is nothing to report"
        raise InvalidSettings((Problem("reports.enabled", message),))
