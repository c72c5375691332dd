"""Sender Filtering > DMARC: every switch, both lists, the action table and the reports, saved as one revision."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from appliance.settings import InvalidSettings, Problem, Settings
from appliance.settings.records import shorten
from appliance.settings.risks import remarks, risks
from appliance.store import saving
from appliance.store import settings as store_settings
from appliance.store.settings import Revision, SettingsConflict
from appliance.web import form, notes
from appliance.web.guard import for_admins, is_admin
from appliance.web.state import account, revision, store
from appliance.web.text import gettext

MAX_COMMENT = 200
MESSAGES_TOLD = 6
LONGEST_MESSAGE = 160

BASED_ON, START, COMMENT, CONFIRMED = "revision", "start", "comment", "confirmed"
EXTRA = frozenset({BASED_ON, START, COMMENT})
"""What the form carries beside the settings; kept with them when a session ends."""

pages = Blueprint("dmarc", __name__)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Somebody saved *theirs* since the form was opened at revision *start*."""

    start: int
    theirs: Revision
    differences: list[notes.Difference]


@pages.get("/filtering/dmarc")
def page() -> ResponseReturnValue:
    current = revision()
    return _show(form.filled(current.settings), based_on=current.number)


@pages.post("/filtering/dmarc")
@for_admins
def save() -> ResponseReturnValue:
    typed, based_on = form.typed(request.form), _number(request.form, BASED_ON)
    if (draft := _only_filled_in(typed, based_on)) is not None:
        return draft
    try:
        wanted = form.read(request.form)
    except InvalidSettings as error:
        return _show(typed, based_on=based_on, unsaved=True, problems=error.problems), 422
    if unconfirmed := _unconfirmed(wanted, based_on):
        return _show(typed, based_on=based_on, unsaved=True, unconfirmed=unconfirmed), 422
    try:
        _save(wanted, typed, based_on)
    except InvalidSettings as error:
        return _show(typed, based_on=based_on, unsaved=True, problems=error.problems), 422
    except SettingsConflict as conflict:
        return _show_conflict(conflict.current, wanted, typed, based_on)
    return redirect(url_for("dmarc.page"), 303)


def is_draft(typed: Mapping[str, str]) -> bool:
    """Whether *typed* is a whole form of this page."""
    return not form.missing(typed) and _as_number(typed.get(BASED_ON, "")) is not None


def show_draft(typed: Mapping[str, str]) -> str:
    """The page with what an administrator had *typed* before a session ended; nothing is saved."""
    notice = gettext("Your changes are still here, and not saved yet. Look them over and save.")
    return _show(
        form.typed(typed), based_on=_number(typed, BASED_ON), unsaved=True, notice=notice, form_data=typed
    )


def _only_filled_in(typed: form.Typed, based_on: int) -> ResponseReturnValue | None:
    """The page after a button that changes the form and saves nothing; ``None`` for the others."""
    match request.form.get("do"):
        case "restore":
            return _restore_actions(typed, based_on)
        case "combine":
            return _combine(typed, based_on)
        case _:
            return None


def _save(wanted: Settings, typed: form.Typed, based_on: int) -> None:
    """Save, and leave messages for the next page. Raises ``SettingsConflict``, and ``InvalidSettings``."""
    who = account()
    assert who is not None  # the guard lets nobody else in
    comment = request.form.get(COMMENT, "").strip()[:MAX_COMMENT]
    with store().begin() as connection:
        saved = saving.save(
            connection,
            wanted,
            based_on=based_on,
            author=who.name,
            comment=comment,
            address=request.remote_addr or "",
        )
    if not saved.is_new:
        flash(gettext("Nothing was changed, so nothing was saved."), "info")
        return
    flash(gettext("Saved as revision %(number)s.", number=saved.revision.number), "success")
    _tell(notes.in_language(saved.changes))
    _tell(notes.merged(typed, saved.revision.settings))


def _tell(messages: Iterable[object]) -> None:
    """One line of a few messages: they travel in the session's cookie, which holds 4 kB."""
    texts = [shorten(str(message), LONGEST_MESSAGE) for message in messages]
    if len(texts) > MESSAGES_TOLD:
        texts[MESSAGES_TOLD:] = [gettext("… and %(count)s more", count=len(texts) - MESSAGES_TOLD)]
    if texts:
        flash(" · ".join(texts), "info")


def _restore_actions(typed: form.Typed, based_on: int) -> ResponseReturnValue:
    defaults = form.filled(Settings())
    values = {
        name: defaults[name] if name.startswith("verification.actions.") else text
        for name, text in typed.items()
    }
    notice = gettext("The action table shows its defaults. Nothing is saved yet.")
    return _show(values, based_on=based_on, unsaved=True, notice=notice)


def _combine(typed: form.Typed, based_on: int) -> ResponseReturnValue:
    """After a conflict: their values where only they made a change."""
    start, theirs = _settings_of(_number(request.form, START)), _settings_of(based_on)
    values = notes.combined(form.filled(start), form.filled(theirs), _tidy(typed))
    notice = gettext(
        "The form now holds your changes on top of revision %(number)s. Nothing is saved yet.",
        number=based_on,
    )
    return _show(values, based_on=based_on, unsaved=True, notice=notice)


def _tidy(typed: form.Typed) -> form.Typed:
    """*typed* in the form that the store gives back, so that spelling alone is no change."""
    try:
        return form.filled(form.read(request.form))
    except InvalidSettings:
        return typed


def _unconfirmed(wanted: Settings, based_on: int) -> dict[str, str]:
    """The risky choices that this save would bring in, and that were not confirmed yet (behaviour S24, T46)."""
    confirmed = request.form.getlist(CONFIRMED)
    found = risks(_settings_of(based_on), wanted)
    return {risk.key: notes.told(risk) for risk in found if risk.key not in confirmed}


def _show_conflict(
    theirs: Revision, wanted: Settings, typed: form.Typed, based_on: int
) -> ResponseReturnValue:
    found = notes.differences(_settings_of(based_on), theirs.settings, wanted)
    conflict = Conflict(based_on, theirs, found)
    return _show(typed, based_on=theirs.number, unsaved=True, conflict=conflict), 409


def _settings_of(number: int) -> Settings:
    if number == 0:
        return Settings()
    try:
        with store().read() as connection:
            return store_settings.get(connection, number).settings
    except KeyError:
        abort(400, gettext("Revision %(number)s does not exist. Reload the page.", number=number))


def _number(data: Mapping[str, str], name: str) -> int:
    number = _as_number(data.get(name, ""))
    if number is None:
        abort(400, gettext("The form does not say which revision it belongs to. Reload the page."))
    return number


def _as_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def _by_field(problems: tuple[Problem, ...]) -> dict[str, list[Problem]]:
    grouped: dict[str, list[Problem]] = {}
    for problem in problems:
        grouped.setdefault(problem.field, []).append(problem)
    return grouped


def _show(
    values: form.Typed,
    *,
    based_on: int,
    unsaved: bool = False,
    problems: tuple[Problem, ...] = (),
    unconfirmed: Mapping[str, str] | None = None,
    conflict: Conflict | None = None,
    notice: str = "",
    form_data: Mapping[str, str] | None = None,
) -> str:
    """The page with *values* in its controls. *unsaved*: they are not the settings in force."""
    current = revision()
    data = request.form if form_data is None else form_data
    return render_template(
        "dmarc.html",
        controls=form.CONTROLS,
        values=values,
        entries=form.entries,
        readable_names=notes.readable_names,
        in_words=notes.in_words,
        based_on=based_on,
        comment=data.get(COMMENT, ""),
        confirmed=request.form.getlist(CONFIRMED),
        current=current,
        summary=notes.summary(current.settings),
        remarks=[notes.told(remark) for remark in remarks(current.settings)],
        unsaved=unsaved,
        problems=problems,
        problems_of=_by_field(problems),
        risks=unconfirmed or {},
        conflict=conflict,
        notice=notice,
        editable=is_admin(),
        max_comment=MAX_COMMENT,
    )
