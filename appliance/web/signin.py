"""Sign in, sign out, and the password: a one-time password opens nothing but the page that replaces it."""

import json

from flask import Blueprint, flash, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from appliance.store import accounts, audit
from appliance.store.accounts import Account, SignInRefused, TooManyAttempts, WeakPassword
from appliance.store.passwords import MIN_LENGTH
from appliance.web import dmarc, form
from appliance.web.guard import TOKEN, SignInNeeded, csrf_is_valid, is_admin
from appliance.web.state import account, now, store
from appliance.web.text import gettext

pages = Blueprint("signin", __name__)


@pages.get("/login")
def page() -> ResponseReturnValue:
    if account() is not None:
        return redirect(_next_page(), 303)
    return render_template("signin.html")


@pages.post("/login")
def enter() -> ResponseReturnValue:
    name, password = request.form.get("name", ""), request.form.get("password", "")
    try:
        _sign_in(name, password)
    except TooManyAttempts:
        return _refuse(gettext("Too many failed attempts. Wait 15 minutes, then try again."), 429)
    except SignInRefused:
        return _refuse(gettext("The name or the password is wrong."), 401)
    if is_admin() and (draft := _draft()):
        return dmarc.show_draft(draft)
    return redirect(_next_page(), 303)


def ask(_reason: SignInNeeded) -> ResponseReturnValue:
    """What is shown instead of a page that needs an account; a form that was being filled in is kept."""
    if request.endpoint == "dmarc.save" and csrf_is_valid():
        kept = {*form.CONTROLS, *dmarc.EXTRA}
        draft = json.dumps({name: text for name, text in request.form.items() if name in kept})
        message = gettext("Your session has ended. Your changes are kept: sign in to go on.")
        return render_template("signin.html", message=message, draft=draft), 401
    here = request.path if request.method == "GET" and request.path != "/" else None
    return redirect(url_for("signin.page", next=here), 303)


@pages.post("/logout")
def leave() -> ResponseReturnValue:
    with store().begin() as connection:
        accounts.close_session(connection, session[TOKEN])
    session.clear()
    flash(gettext("You are signed out."), "success")
    return redirect(url_for("signin.page"), 303)


@pages.get("/password")
def password() -> ResponseReturnValue:
    return render_template("password.html", shortest=MIN_LENGTH)


@pages.post("/password")
def set_password() -> ResponseReturnValue:
    who = account()
    assert who is not None  # the guard lets nobody else in
    new = request.form.get("new", "")
    if not _knows_the_password(who, request.form.get("current", "")):
        problem = gettext("The current password is wrong.")
    else:
        differ = new != request.form.get("again", "")
        problem = gettext("The two new passwords differ.") if differ else _replace_password(who, new)
    if problem:
        return render_template("password.html", shortest=MIN_LENGTH, problem=problem), 422
    flash(gettext("Your new password is set."), "success")
    return redirect(url_for("status.page"), 303)


def _sign_in(name: str, password: str) -> None:
    """Start a new session for *name*. Raises ``SignInRefused``."""
    address = request.remote_addr or ""
    try:
        who = accounts.verify(store(), name, password, address, now())
    except TooManyAttempts:
        raise  # not into the audit, which somebody who goes on guessing could fill
    except SignInRefused:
        with store().begin() as connection:
            audit.write(connection, name, "sign-in refused", address=address, now=now())
        raise
    with store().begin() as connection:
        token = accounts.open_session(connection, who, now(), address)
        audit.write(connection, who.name, "sign-in", address=address, now=now())
    _start(token, who)


def _start(token: str, who: Account) -> None:
    """Bind the browser to a new session: nothing of the cookie from before survives."""
    session.clear()
    session[TOKEN] = token
    g.account = who


def _replace_password(who: Account, new: str) -> str:
    """What is wrong with *new*, or nothing once it is set and every other session of the account is closed."""
    try:
        with store().begin() as connection:
            accounts.set_password(connection, who.name, new, now=now())
            changed = accounts.get(connection, who.name)
            assert changed is not None
            token = accounts.open_session(connection, changed, now(), request.remote_addr or "")
            audit.write(
                connection, who.name, "password changed", address=request.remote_addr or "", now=now()
            )
    except WeakPassword as weakness:
        return gettext(str(weakness))
    _start(token, changed)
    return ""


def _knows_the_password(who: Account, current: str) -> bool:
    """A one-time password was asked for a moment ago; any other must be given once more (a screen left alone)."""
    if who.must_change:
        return True
    try:
        accounts.verify(store(), who.name, current, request.remote_addr or "", now())
    except SignInRefused:
        return False
    return True


def _refuse(message: str, status: int) -> ResponseReturnValue:
    return render_template("signin.html", problem=message, draft=request.form.get("draft", "")), status


def _draft() -> dict[str, str] | None:
    """The DMARC form that was being filled in when the session ended."""
    try:
        draft = json.loads(request.form.get("draft", ""))
    except (json.JSONDecodeError, RecursionError):
        return None
    if not isinstance(draft, dict):
        return None
    texts = {name: text for name, text in draft.items() if isinstance(text, str)}
    return texts if dmarc.is_draft(texts) else None


def _next_page() -> str:
    """A page of ours that was asked for before the sign-in, else the first one."""
    asked = request.args.get("next", "")
    is_ours = asked.startswith("/") and not asked.startswith(("//", "/\\")) and asked.isprintable()
    return asked if is_ours else url_for("status.page")
