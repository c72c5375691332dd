"""What the administrator's settings make of a message, and why: the row it meets, overrides, who is not verified."""

from appliance.explain.case import Case
from appliance.explain.model import Local
from appliance.explain.visible import visible
from appliance.policy import Judgement, Outcome, Override, OverrideType, Row, Skip

_ACTIONS = {
    Outcome.DELIVER: "deliver",
    Outcome.DEFER: "ask to try again later (451)",
    Outcome.QUARANTINE: "quarantine",
    Outcome.REJECT: "reject (550)",
}
_ROWS = {
    Row.PASS: "pass",
    Row.NONE: "p=none",
    Row.QUARANTINE: "p=quarantine",
    Row.REJECT: "p=reject",
    Row.NO_RECORD: "No DMARC record",
    Row.TEMPORARY_ERROR: "Temporary DNS error",
    Row.UNUSABLE_FROM: "Unusable From",
    Row.UNVERIFIED: "not verified",
}
_SKIPS = {
    Skip.OFF: "DMARC is off",
    Skip.AUTHENTICATED: "the client authenticated itself",
    Skip.INTERNAL: "the client is internal",
    Skip.EXCEPTION: "the client is on the exception list",
    Skip.SCOPE: "the author domain is not among the listed ones",
}
_OVERRIDES = {
    OverrideType.LOCAL_POLICY: "local policy",
    OverrideType.MAILING_LIST: "mailing list",
    OverrideType.OTHER: "other",
    OverrideType.POLICY_TEST_MODE: "test mode of the domain owner",
    OverrideType.TRUSTED_FORWARDER: "trusted forwarder",
}


def tell_local(case: Case) -> Local:
    verdict = case.verdict
    if verdict.skip is not None:
        because = f"not verified: {_SKIPS[verdict.skip]}"
        if verdict.note:
            because += f" ({visible(verdict.note)})"
    elif verdict.row is Row.PASS:
        because = "DMARC passes, so nothing is intercepted"
    else:
        because = f'row "{_ROWS[verdict.row]}" of the action table'
        reasons = dict.fromkeys(o for judgement in verdict.judgements for o in overrides(judgement))
        because = "; ".join((because, *reasons))
        if verdict.incomplete:
            because += "; more Author Domains than are evaluated: at least quarantined"
    return Local(case.settings, _ACTIONS[verdict.outcome], because, visible(case.reply))


def row(judgement: Judgement) -> str:
    return _ROWS[judgement.row]


def action(judgement: Judgement) -> str:
    return _ACTIONS[judgement.outcome]


def overrides(judgement: Judgement) -> tuple[str, ...]:
    """Why something else is done than the policy asks for."""
    return tuple(_override(one) for one in judgement.overrides)


def _override(override: Override) -> str:
    comment = f" ({visible(override.comment)})" if override.comment else ""
    return f"override {_OVERRIDES[override.type]}{comment}"
