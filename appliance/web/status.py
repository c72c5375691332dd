"""The first page: what DMARC is set to do, and what happened to the latest mail."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from appliance.policy import Outcome
from appliance.store import events, quarantine
from appliance.web import notes
from appliance.web.state import revision, store
from appliance.web.text import gettext

EVENTS_SHOWN = 10

pages = Blueprint("status", __name__)


@pages.get("/")
def page() -> ResponseReturnValue:
    with store().read() as connection:
        latest = events.recent(connection, limit=EVENTS_SHOWN)
        held = quarantine.count_held(connection)
    return render_template(
        "status.html",
        summary=notes.summary(revision().settings),
        current=revision(),
        latest=latest,
        held=held,
        outcome_in_words=_outcome_in_words,
    )


def _outcome_in_words(outcome: str) -> str:
    return {
        Outcome.DELIVER: gettext("delivered"),
        Outcome.QUARANTINE: gettext("quarantined"),
        Outcome.REJECT: gettext("rejected"),
        Outcome.DEFER: gettext("deferred"),
    }.get(Outcome(outcome), outcome)
