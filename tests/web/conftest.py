"""The settings page over a real store, with an account of each role."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser, sync_playwright

from appliance.store import accounts
from appliance.store.accounts import Role
from appliance.store.engine import Store, open_store
from appliance.web import create_app
from tests.web.visitor import PASSWORD, SECRET, START, Clock, SettingsOf, Visitor

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@pytest.fixture(scope="module")
def chromium(requires: Callable[[str], Path]) -> Iterator[Browser]:
    program = requires("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the accounts: made once, for each test to copy."""
    path = tmp_path_factory.mktemp("web") / "accounts.db"
    made = open_store(f"sqlite:///{path}", create=True)
    with made.begin() as connection:
        for name, role in (("anna", Role.ADMIN), ("oscar", Role.OPERATOR), ("vera", Role.VIEWER)):
            accounts.create(connection, name, PASSWORD, role, must_change=False, now=START)
    made.close()
    return path


@pytest.fixture
def store(database: Path, tmp_path: Path) -> Iterator[Store]:
    path = tmp_path / "dmarcgate.db"
    shutil.copy(database, path)
    opened = open_store(f"sqlite:///{path}")

    yield opened

    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(store: Store, clock: Clock) -> Flask:
    return create_app(store, secret_key=SECRET, secure_cookies=False, clock=clock)


@pytest.fixture
def visitor(app: Flask) -> Visitor:
    """Nobody is signed in."""
    return Visitor(app.test_client())


@pytest.fixture
def anna(app: Flask) -> Visitor:
    """An administrator, signed in."""
    signed_in = Visitor(app.test_client())
    signed_in.sign_in("anna")
    return signed_in


@pytest.fixture
def saved(store: Store) -> SettingsOf:
    return SettingsOf(store)
