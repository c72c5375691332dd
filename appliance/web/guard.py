"""Who may do what: the checks every request passes before its page sees it, and the headers of every answer."""

import functools
from collections.abc import Callable
from typing import ParamSpec
from urllib.parse import urlsplit

from flask import Flask, Response, abort, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError, CSRFProtect

from appliance.store import accounts
from appliance.store.accounts import Role
from appliance.web.state import account, now, store
from appliance.web.text import gettext

P = ParamSpec("P")

TOKEN = "token"  # noqa: S105  the key under which a session cookie holds its token
OPEN_TO_ALL = {"static", "signin.page", "signin.enter"}
WITH_A_ONE_TIME_PASSWORD = {"static", "signin.password", "signin.set_password", "signin.leave"}

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

csrf = CSRFProtect()


class SignInNeeded(Exception):
    """Nobody is signed in, or the session has ended."""


def guard(app: Flask) -> None:
    csrf.init_app(app)  # checked by _admit, after the sign-in: a lapsed session must not cost what was typed
    app.before_request(_admit)
    app.after_request(_harden)


def for_admins(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
    """A view that only an administrator may use."""

    @functools.wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        if not is_admin():
            abort(403, gettext("Your account may look at this page, but not change it."))
        return view(*args, **kwargs)

    return guarded


def is_admin() -> bool:
    who = account()
    return who is not None and who.role is Role.ADMIN


def _admit() -> ResponseReturnValue | None:
    if request.endpoint is None:  # no such page; the error page tells nobody anything
        return None
    _refuse_other_origins()
    if request.endpoint != "static":
        _recognise()
    if account() is None and request.endpoint not in OPEN_TO_ALL:
        session.pop(TOKEN, None)
        raise SignInNeeded
    csrf.protect()
    who = account()
    if who is not None and who.must_change and request.endpoint not in WITH_A_ONE_TIME_PASSWORD:
        return redirect(url_for("signin.password"), 303)
    return None


def _refuse_other_origins() -> None:
    """A form of another site can't act here, whatever cookies the browser sends along."""
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    origin = request.headers.get("Origin")
    same_host = origin is None or urlsplit(origin).netloc == request.host
    if not same_host or request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        abort(403, gettext("The request came from another site."))


def _recognise() -> None:
    token = session.get(TOKEN)
    if token is None:
        return
    with store().begin() as connection:
        g.account = accounts.session(connection, token, now())


def csrf_is_valid() -> bool:
    try:
        csrf.protect()
    except CSRFError:
        return False
    return True


def _harden(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response
