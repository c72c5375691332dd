"""The Flask application: its parts put together, its limits, its error pages."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import Babel
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, SecurityError
from werkzeug.middleware.proxy_fix import ProxyFix

from appliance.store.engine import Store, StoreUnavailable, open_store
from appliance.web import dmarc, guard, notes, signin, state, status
from appliance.web.text import gettext, visible

LARGEST_FORM_OCTETS = 8 * 1024 * 1024  # all lists at their limits
COOKIE = "dmarcgate"


def create_app(
    store: Store | str,
    *,
    secret_key: bytes,
    secure_cookies: bool = True,
    allowed_hosts: Sequence[str] = (),
    behind_proxy: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Flask:
    """The settings page over *store*.

    *secure_cookies* off: only for plain HTTP on loopback. *allowed_hosts*: the names that the page answers to; empty:
    any. *behind_proxy*: believe the proxy in front about the client's address and HTTPS.
    """
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=secret_key,
        SESSION_COOKIE_NAME=f"__Host-{COOKIE}" if secure_cookies else COOKIE,
        SESSION_COOKIE_SECURE=secure_cookies,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_PATH="/",
        TRUSTED_HOSTS=list(allowed_hosts) or None,
        MAX_CONTENT_LENGTH=LARGEST_FORM_OCTETS,
        MAX_FORM_MEMORY_SIZE=LARGEST_FORM_OCTETS,
        WTF_CSRF_CHECK_DEFAULT=False,  # guard.py checks, in its own order
        WTF_CSRF_SSL_STRICT=False,  # guard.py looks at Origin; not every browser sends a Referer
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session
        BABEL_DEFAULT_LOCALE="en",
        BABEL_DEFAULT_TIMEZONE="UTC",
    )
    if behind_proxy:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1)  # type: ignore[method-assign]  # Flask's documented way
    opened = open_store(store) if isinstance(store, str) else store
    app.extensions[state.EXTENSION] = state.Shared(opened, clock)
    Babel(app)
    app.jinja_env.filters["visible"] = visible
    app.context_processor(_on_every_page)
    guard.guard(app)
    for pages in (signin.pages, status.pages, dmarc.pages):
        app.register_blueprint(pages)
    app.register_error_handler(guard.SignInNeeded, signin.ask)
    app.register_error_handler(CSRFError, _forged)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(StoreUnavailable, _no_store)
    return app


def _on_every_page() -> dict[str, Any]:
    """*banner* is asked for by pages that have an account; an error page may have to do without the store."""
    return {"account": state.account(), "banner": lambda: notes.banner(state.revision().settings)}


def _forged(_error: CSRFError) -> ResponseReturnValue:
    """Mostly an honest form of a session that is over: somebody signed in again in another window."""
    if request.endpoint == "dmarc.save" and guard.is_admin() and dmarc.is_draft(request.form):
        return dmarc.show_draft(request.form), 403
    return _error_page(
        HTTPStatus.FORBIDDEN, gettext("The form is out of date. Go back, reload the page and try again.")
    )


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return error
    if isinstance(error, SecurityError):  # the Host is not ours, so no page with links can be made
        return Response(
            gettext("This name is not served here."), HTTPStatus.BAD_REQUEST, mimetype="text/plain"
        )
    return _error_page(HTTPStatus(error.code), _in_words(error))


def _in_words(error: HTTPException) -> str:
    match error.code:
        case HTTPStatus.NOT_FOUND:
            return gettext("There is no such page.")
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return gettext("The form is larger than this page accepts. Nothing was saved.")
        case HTTPStatus.INTERNAL_SERVER_ERROR:
            return gettext("The page failed. Nothing was saved; the log of dmarcgate-web says why.")
        case _:
            return error.description or ""


def _no_store(error: StoreUnavailable) -> ResponseReturnValue:
    """The typed settings stay in the page's own form, ready to be sent again."""
    again = list(request.form.items(multi=True)) if request.endpoint == "dmarc.save" else []
    page, _ = _error_page(
        HTTPStatus.SERVICE_UNAVAILABLE,
        gettext(
            "The store cannot be used now: %(reason)s. Mail is not affected by this page.", reason=str(error)
        ),
        again=again,
    )
    return page, HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "10"}


def _error_page(
    status: HTTPStatus, message: str, again: Sequence[tuple[str, str]] = ()
) -> tuple[str, HTTPStatus]:
    return render_template("error.html", status=status, message=message, again=again), status
