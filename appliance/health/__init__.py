"""The gateway's state of health: what was looked at, what was found, and how to mend it."""

from appliance.health.examine import examine
from appliance.health.finding import Finding, Level, worst

__all__ = ["Finding", "Level", "examine", "worst"]
