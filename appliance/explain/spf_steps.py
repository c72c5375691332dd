"""The steps of an SPF check, fit to be shown."""

from collections.abc import Iterable

from appliance.checks.spf_query import SpfStep as Traced
from appliance.explain.model import SpfStep
from appliance.explain.visible import visible

MAX_RECORD_CHARACTERS = 1000

_QUALIFIERS = {"-": "fail", "~": "softfail", "?": "neutral"}


def tell_steps(steps: Iterable[Traced]) -> tuple[SpfStep, ...]:
    return tuple(_step(step) for step in steps)


def _step(step: Traced) -> SpfStep:
    if not step.term:
        means, target = "", visible(step.target, MAX_RECORD_CHARACTERS)
    else:
        means = "" if "=" in step.term.partition(":")[0] else _QUALIFIERS.get(step.term[0], "pass")
        target = visible(step.target)
    return SpfStep(
        step.depth,
        visible(step.domain),
        visible(step.term),
        target,
        visible(step.outcome),
        means,
        step.lookups,
        step.void_lookups,
    )
