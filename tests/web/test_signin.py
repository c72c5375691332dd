"""Signing in and out, one-time passwords, the limit on guesses, and the life of a session (T34)."""

import pytest
from flask import Flask

from appliance.store import accounts, audit
from appliance.store.accounts import Role
from appliance.store.engine import Store
from appliance.web import create_app
from tests.web.visitor import PASSWORD, SECRET, START, Clock, Page, SettingsOf, Visitor


def test_right_name_and_password_open_the_pages(visitor: Visitor) -> None:
    page = visitor.sign_in("anna")

    assert page.status == 200
    assert "Status" in page.text
    assert "anna" in page.text


@pytest.mark.parametrize(
    ("name", "password"),
    [
        pytest.param("anna", "wrong horse battery staple", id="wrong password"),
        pytest.param("nobody", PASSWORD, id="no such account"),
        pytest.param("anna", "", id="empty password"),
    ],
)
def test_anything_else_is_refused_in_the_same_words(visitor: Visitor, name: str, password: str) -> None:
    page = visitor.sign_in(name, password)

    assert page.status == 401
    assert "The name or the password is wrong." in page.text
    assert page.values["name"] == name


def test_pages_ask_for_a_sign_in_first_and_then_open(visitor: Visitor) -> None:
    asked = visitor.get("/filtering/dmarc")
    opened = visitor.post(
        asked.response.request.full_path, {**asked.values, "name": "anna", "password": PASSWORD}
    )

    assert asked.response.request.path == "/login"
    assert opened.response.request.path == "/filtering/dmarc"


@pytest.mark.parametrize("target", ["//evil.example/", "https://evil.example/", "/\\evil.example", "evil"])
def test_the_sign_in_page_sends_nobody_to_another_site(visitor: Visitor, target: str) -> None:
    page = visitor.get("/login")

    answer = visitor.client.post(
        "/login", query_string={"next": target}, data={**page.values, "name": "anna", "password": PASSWORD}
    )

    assert answer.headers["Location"] == "/"


def test_five_failures_close_the_account_for_a_while_and_the_page_says_so(
    visitor: Visitor, clock: Clock
) -> None:
    for _ in range(5):
        visitor.sign_in("anna", "a wrong guess of it")

    locked = visitor.sign_in("anna")
    clock.advance(minutes=16)
    later = visitor.sign_in("anna")

    assert locked.status == 429
    assert "Too many failed attempts. Wait 15 minutes" in locked.text
    assert later.status == 200
    assert "Sign out" in later.text


def test_a_one_time_password_opens_only_the_page_that_replaces_it(visitor: Visitor, store: Store) -> None:
    with store.begin() as connection:
        accounts.create(connection, "nina", "one-time-word-4711", Role.ADMIN, must_change=True, now=START)

    first = visitor.sign_in("nina", "one-time-word-4711")
    elsewhere = visitor.get("/filtering/dmarc")
    changed = visitor.post(
        "/password", {**elsewhere.values, "new": "my own long sentence", "again": "my own long sentence"}
    )
    dmarc = visitor.get("/filtering/dmarc")

    assert first.response.request.path == "/password"
    assert elsewhere.response.request.path == "/password"
    assert "Your new password is set." in changed.text
    assert dmarc.response.request.path == "/filtering/dmarc"


@pytest.mark.parametrize(
    ("new", "again", "words"),
    [
        pytest.param("short", "short", "at least 12 characters", id="too short"),
        pytest.param("my own long sentence", "my own long sentance", "differ", id="differ"),
        pytest.param("x" * 1025, "x" * 1025, "too long", id="too long"),
    ],
)
def test_a_poor_new_password_is_refused_with_the_reason(
    anna: Visitor, new: str, again: str, words: str
) -> None:
    page = anna.get("/password")

    refused = anna.post("/password", {**page.values, "current": PASSWORD, "new": new, "again": again})

    assert refused.status == 422
    assert words in refused.text


def test_a_new_password_needs_the_current_one(anna: Visitor, app: Flask) -> None:
    page = anna.get("/password")

    refused = anna.post(
        "/password",
        {**page.values, "current": "a guess", "new": "my own sentence", "again": "my own sentence"},
    )

    assert refused.status == 422
    assert "The current password is wrong." in refused.text
    assert Visitor(app.test_client()).sign_in("anna").status == 200


def test_a_new_password_ends_the_account_s_other_sessions(anna: Visitor, app: Flask) -> None:
    other = Visitor(app.test_client())
    other.sign_in("anna")
    page = anna.get("/password")

    anna.post(
        "/password",
        {**page.values, "current": PASSWORD, "new": "my own sentence", "again": "my own sentence"},
    )

    assert other.get("/").response.request.path == "/login"
    assert anna.get("/").response.request.path == "/"


def test_signing_out_ends_the_session_also_for_a_kept_cookie(anna: Visitor, app: Flask) -> None:
    cookie = anna.client.get_cookie("dmarcgate")
    assert cookie is not None
    page = anna.get("/")

    anna.post("/logout", {"csrf_token": page.values["csrf_token"]})
    thief = app.test_client()
    thief.set_cookie("dmarcgate", cookie.value)

    assert anna.get("/").response.request.path == "/login"
    assert thief.get("/").headers["Location"].startswith("/login")


def test_a_session_ends_after_15_idle_minutes_and_not_before(anna: Visitor, clock: Clock) -> None:
    reached = []
    for minutes in (14, 14, 16):
        clock.advance(minutes=minutes)
        reached.append(anna.get("/").response.request.path)

    assert reached == ["/", "/", "/login"]


def test_a_sign_in_starts_a_new_session_and_a_new_form_token(visitor: Visitor) -> None:
    before = visitor.get("/login").values["csrf_token"]
    visitor.sign_in("anna")
    old = visitor.post("/logout", {"csrf_token": before})

    assert old.status == 403


def test_a_session_that_ends_in_the_middle_of_an_edit_loses_nothing(
    anna: Visitor, clock: Clock, saved: SettingsOf
) -> None:
    page = anna.get("/filtering/dmarc")
    clock.advance(minutes=30)

    asked = anna.save(page, verification__domains="example.com # typed\r\n*.example.org", comment="why")
    restored = anna.post("/login", {**asked.values, "name": "anna", "password": PASSWORD})
    before_saving = saved.current().number
    done = anna.save(restored)

    assert asked.status == 401
    assert "Your changes are kept" in asked.text
    assert restored.values["verification.domains"].split() == ["example.com", "#", "typed", "*.example.org"]
    assert restored.values["comment"] == "why"
    assert before_saving == 0
    assert done.status == 200
    assert [r.key for r in saved.current().settings.verification.domains] == ["example.com", "*.example.org"]


@pytest.mark.parametrize("draft", ["{", "[]", '{"revision": "1"}', '{"revision": 7}', "[" * 100_000])
def test_a_broken_draft_is_ignored(visitor: Visitor, draft: str) -> None:
    page = visitor.get("/login")

    opened = visitor.post("/login", {**page.values, "name": "anna", "password": PASSWORD, "draft": draft})

    assert opened.response.request.path == "/"


def test_sign_ins_and_refusals_stand_in_the_audit(visitor: Visitor, store: Store) -> None:
    visitor.sign_in("anna", "a wrong guess of it")
    visitor.sign_in("anna")

    with store.read() as connection:
        entries = audit.recent(connection)

    assert [(entry.actor, entry.action, entry.address) for entry in entries if "sign-in" in entry.action] == [
        ("anna", "sign-in", "127.0.0.1"),
        ("anna", "sign-in refused", "127.0.0.1"),
    ]


def test_the_session_cookie_is_bound_to_the_host_and_to_https(store: Store, clock: Clock) -> None:
    app = create_app(store, secret_key=SECRET, clock=clock)

    answer = app.test_client().get("/login", base_url="https://gate.example")

    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-dmarcgate=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Strict"} <= {part.strip() for part in cookie.split(";")}
    assert "Domain" not in cookie


def test_the_pages_work_over_https_behind_the_proxy(store: Store, clock: Clock) -> None:
    app = create_app(store, secret_key=SECRET, behind_proxy=True, clock=clock)
    visitor = Visitor(app.test_client())
    proxied = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}

    page = Page(visitor.client.get("/login", headers=proxied))
    answer = visitor.client.post(
        "/login", headers=proxied, data={**page.values, "name": "anna", "password": PASSWORD}
    )
    opened = visitor.client.get("/", base_url="https://localhost")

    assert answer.status_code == 303
    assert "Sign out" in opened.get_data(as_text=True)
