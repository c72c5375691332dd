"""``dmarcgate user``: accounts of the settings page."""

import json
from datetime import UTC, datetime

import pytest

from appliance.store import accounts, audit
from appliance.store.engine import Store
from tests.cli.commands import Gate

NOW = datetime.now(UTC)


def listed(gate: Gate) -> list[tuple[str, str, bool, bool]]:
    rows = [json.loads(line) for line in gate("user", "list", "--json").out.splitlines()]
    return [(row["name"], row["role"], row["disabled"], row["must_change"]) for row in rows]


def test_accounts_are_listed_with_role_and_state(gate: Gate) -> None:
    gate("user", "add", "vera", "--role", "viewer")
    gate("user", "add", "anna")
    gate("user", "disable", "vera")

    shown = gate("user", "list").out

    assert shown == "anna  admin  one-time password\nvera  viewer  disabled\n"
    assert listed(gate) == [("anna", "admin", False, True), ("vera", "viewer", True, True)]


def test_a_disabled_account_can_sign_in_again_once_enabled(gate: Gate, sqlite_store: Store) -> None:
    password = gate("user", "add", "anna").out.strip()
    gate("user", "disable", "anna")
    with pytest.raises(accounts.SignInRefused):
        accounts.verify(sqlite_store, "anna", password, "192.0.2.1", NOW)

    done = gate("user", "enable", "anna")

    assert done.status == 0
    assert accounts.verify(sqlite_store, "anna", password, "192.0.2.1", NOW).name == "anna"


def test_another_role_holds_for_open_sessions(gate: Gate, sqlite_store: Store) -> None:
    password = gate("user", "add", "anna").out.strip()
    account = accounts.verify(sqlite_store, "anna", password, "192.0.2.1", NOW)
    with sqlite_store.begin() as connection:
        token = accounts.open_session(connection, account, NOW)

    done = gate("user", "role", "anna", "viewer")

    with sqlite_store.begin() as connection:
        now = accounts.session(connection, token, NOW)
        latest = audit.recent(connection)[0]
    assert done.status == 0
    assert now is not None
    assert now.role is accounts.Role.VIEWER
    assert (latest.action, latest.subject, latest.detail) == ("user role", "anna", "viewer")


def test_a_new_password_ends_the_old_one(gate: Gate, sqlite_store: Store) -> None:
    first = gate("user", "add", "anna").out.strip()

    second = gate("user", "passwd", "anna").out.strip()

    with pytest.raises(accounts.SignInRefused):
        accounts.verify(sqlite_store, "anna", first, "192.0.2.1", NOW)
    assert accounts.verify(sqlite_store, "anna", second, "192.0.2.1", NOW).must_change


@pytest.mark.parametrize(
    "words", [["disable", "anna"], ["enable", "anna"], ["passwd", "anna"], ["role", "anna", "viewer"]]
)
def test_an_account_that_is_not_there_is_a_negative_result(gate: Gate, words: list[str]) -> None:
    done = gate("user", *words)

    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "there is no such account" in done.err


def test_a_role_that_is_none_is_refused(gate: Gate) -> None:
    gate("user", "add", "anna")

    done = gate("user", "role", "anna", "root")

    assert done.status == 2
    assert listed(gate)[0][1] == "admin"
