"""Forged requests, other hosts, roles, and the headers of every answer (T35, T36)."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from appliance.store.engine import Store
from appliance.web import create_app
from tests.web.visitor import PASSWORD, SECRET, Clock, SettingsOf, Visitor


def posting_routes(app: Flask) -> list[str]:
    return sorted(rule.rule for rule in app.url_map.iter_rules() if "POST" in (rule.methods or set()))


def test_every_post_without_its_token_is_refused(app: Flask, anna: Visitor, saved: SettingsOf) -> None:
    routes = posting_routes(app)

    codes = {route: anna.client.post(route, data={}).status_code for route in routes}

    assert len(routes) >= 4
    assert set(codes.values()) == {403}
    assert saved.current().number == 0


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "https://evil.example"}, id="another origin"),
        pytest.param({"Origin": "null"}, id="no origin at all"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="cross-site by the browser's word"),
    ],
)
def test_a_form_of_another_site_is_refused_even_with_a_token(
    anna: Visitor, headers: dict[str, str], saved: SettingsOf
) -> None:
    page = anna.get("/filtering/dmarc")

    answer = anna.client.post("/filtering/dmarc", data=page.values, headers=headers)

    assert answer.status_code == 403
    assert saved.current().number == 0


def test_a_form_of_an_older_session_comes_back_with_what_was_typed(anna: Visitor, saved: SettingsOf) -> None:
    page = anna.get("/filtering/dmarc")
    anna.sign_in("anna")  # already signed in: goes on to the first page
    stale = {**page.values, "csrf_token": "stale", "reports.organization": "Typed & kept"}

    refused = anna.post("/filtering/dmarc", stale)

    assert refused.status == 403
    assert refused.values["reports.organization"] == "Typed & kept"
    assert saved.current().number == 0


@pytest.mark.parametrize("name", ["vera", "oscar"])
def test_other_roles_see_the_settings_but_cannot_change_them(
    visitor: Visitor, name: str, saved: SettingsOf
) -> None:
    """S34."""
    visitor.sign_in(name)

    page = visitor.get("/filtering/dmarc")
    token = page.values["csrf_token"]  # of the sign-out form
    forced = visitor.save(page, csrf_token=token, revision="0", reports__organization="Mine")

    assert '<fieldset class="all" disabled>' in page.html
    assert "Save changes" not in page.text
    assert page.values["verification.actions.reject"] == "reject"
    assert forced.status == 403
    assert saved.current().number == 0


@pytest.mark.parametrize(
    "path", ["/", "/login", "/filtering/dmarc", "/password", "/nothing-here", "/static/gate.css"]
)
def test_every_answer_carries_the_protective_headers(anna: Visitor, path: str) -> None:
    with anna.client.get(path) as answer:
        headers = answer.headers

    policy = headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(
        policy
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    if not path.startswith("/static/"):
        assert headers["Cache-Control"] == "no-store"


def test_only_the_named_hosts_are_answered(store: Store, clock: Clock) -> None:
    app = create_app(
        store, secret_key=SECRET, secure_cookies=False, allowed_hosts=["gate.example"], clock=clock
    )

    codes = {
        host: app.test_client().get("/login", headers={"Host": host}).status_code
        for host in ("gate.example", "gate.example:8443", "evil.example", "gate.example.evil.example")
    }

    assert codes == {
        "gate.example": 200,
        "gate.example:8443": 200,
        "evil.example": 400,
        "gate.example.evil.example": 400,
    }


def test_pages_hold_no_inline_script_or_style(anna: Visitor) -> None:
    for path in ("/", "/filtering/dmarc", "/password"):
        html = anna.get(path).html

        assert "style=" not in html
        assert "<style" not in html
        assert "onclick" not in html
        assert "<script>" not in html
        assert "http://" not in html
        assert "https://" not in html


def test_an_unknown_page_is_told_in_words(visitor: Visitor) -> None:
    page = visitor.get("/nothing-here")

    assert page.status == 404
    assert "There is no such page." in page.text


def test_a_form_larger_than_all_lists_is_refused_in_words(anna: Visitor) -> None:
    page = anna.get("/filtering/dmarc")

    refused = anna.save(page, verification__domains="x" * (8 * 1024 * 1024 + 1))

    assert refused.status == 413
    assert "larger than this page accepts" in refused.text


def test_a_guess_from_behind_the_proxy_counts_for_the_client_s_address(store: Store, clock: Clock) -> None:
    app = create_app(store, secret_key=SECRET, secure_cookies=False, behind_proxy=True, clock=clock)

    for guess in range(5):
        _sign_in_from(app.test_client(), f"name{guess}", "a wrong guess", "198.51.100.7")
    same = _sign_in_from(app.test_client(), "anna", PASSWORD, "198.51.100.9")
    other = _sign_in_from(app.test_client(), "anna", PASSWORD, "203.0.113.9")

    assert same == 429
    assert other == 303


def _sign_in_from(client: FlaskClient, name: str, password: str, address: str) -> int:
    """The status of a sign-in by a client at *address*."""
    visitor = Visitor(client)
    values = {**visitor.get("/login").values, "name": name, "password": password}
    return visitor.post("/login", values, follow=False, **{"X-Forwarded-For": address}).status
