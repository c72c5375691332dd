"""Local policy: what the administrator's settings make of an evaluation. Pure."""

from appliance.policy.local import LocalPolicy
from appliance.policy.verdict import (
    Disposition,
    Judgement,
    Outcome,
    Override,
    OverrideType,
    Row,
    Skip,
    Verdict,
)

__all__ = [
    "Disposition",
    "Judgement",
    "LocalPolicy",
    "Outcome",
    "Override",
    "OverrideType",
    "Row",
    "Skip",
    "Verdict",
]
