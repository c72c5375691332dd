"""Accounts: sign-in and its limits (T34), passwords, sessions."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from argon2 import Type, extract_parameters
from sqlalchemy import select

from appliance.store import accounts
from appliance.store.accounts import (
    Account,
    AccountExists,
    Role,
    SignInRefused,
    TooManyAttempts,
    WeakPassword,
)
from appliance.store.engine import Store
from appliance.store.passwords import hash_password, matches, nobodys_hash
from appliance.store.schema import account as account_table
from appliance.store.schema import session as session_table

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
PASSWORD = "correct horse battery"
ADDRESS = "192.0.2.10"


@pytest.fixture
def ada(store: Store) -> Account:
    with store.begin() as connection:
        return accounts.create(connection, "Ada", PASSWORD, Role.ADMIN, must_change=False, now=NOW)


def verify(
    store: Store,
    password: str = PASSWORD,
    *,
    name: str = "ada",
    address: str = ADDRESS,
    minutes: float = 0,
) -> Account:
    return accounts.verify(store, name, password, address, NOW + timedelta(minutes=minutes))


def fail(store: Store, times: int, *, name: str = "ada", address: str = ADDRESS) -> None:
    for _ in range(times):
        with pytest.raises(SignInRefused):
            verify(store, "a wrong password", name=name, address=address)


def test_name_and_password_open_the_account(store: Store, ada: Account) -> None:
    assert verify(store) == ada
    assert verify(store, name=" ADA ") == ada
    assert ada == Account("ada", Role.ADMIN, must_change=False, disabled=False, created_at=NOW)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        pytest.param("ada", "a wrong password", id="wrong password"),
        pytest.param("ada", "", id="no password"),
        pytest.param("ada", PASSWORD + "x", id="longer"),
        pytest.param("ada", "\udcff\0" * 20, id="no text"),
        pytest.param("grace", PASSWORD, id="unknown account"),
        pytest.param("", PASSWORD, id="no name"),
        pytest.param("a\0da\udcff", PASSWORD, id="hostile name"),
    ],
)
def test_anything_else_is_refused_without_saying_why(
    store: Store, ada: Account, name: str, password: str
) -> None:
    with pytest.raises(SignInRefused) as refused:
        verify(store, password, name=name)

    assert type(refused.value) is SignInRefused
    assert str(refused.value) == ""


def test_there_is_no_account_before_one_is_made(store: Store) -> None:
    """T34: no default password."""
    with store.read() as connection:
        assert accounts.list_accounts(connection) == []


def test_an_account_without_a_password_opens_to_nothing(store: Store) -> None:
    with store.begin() as connection:
        accounts.create(connection, "grace", None, Role.VIEWER, must_change=True)

    for password in ("", PASSWORD):
        with pytest.raises(SignInRefused):
            verify(store, password, name="grace")


def test_a_disabled_account_is_refused_and_its_sessions_end(store: Store, ada: Account) -> None:
    with store.begin() as connection:
        token = accounts.open_session(connection, ada, NOW)
        accounts.disable(connection, "ada")

        assert accounts.session(connection, token, NOW) is None
    with pytest.raises(SignInRefused):
        verify(store)
    with store.begin() as connection:
        accounts.disable(connection, "ada", disabled=False)
    assert verify(store) == ada


def test_T34_after_five_failures_the_account_is_closed_for_15_minutes(store: Store, ada: Account) -> None:  # noqa: N802
    for number in range(5):
        fail(store, 1, address=f"198.51.{number}.1")

    with pytest.raises(TooManyAttempts):
        verify(store, address="203.0.113.5")
    with pytest.raises(TooManyAttempts):
        verify(store, address="203.0.113.5", minutes=14.9)
    assert verify(store, address="203.0.113.5", minutes=15.1) == ada


@pytest.mark.parametrize(
    ("attackers", "neighbour", "stranger"),
    [
        pytest.param("192.0.2.{}", "192.0.2.200", "192.0.3.1", id="IPv4 /24"),
        pytest.param("2001:db8:0:1::{}", "2001:db8:0:1:ffff::1", "2001:db8:0:2::1", id="IPv6 /64"),
    ],
)
def test_T34_after_five_failures_the_network_is_shut_out(  # noqa: N802
    store: Store, ada: Account, attackers: str, neighbour: str, stranger: str
) -> None:
    for number in range(5):
        fail(store, 1, name=f"guess{number}", address=attackers.format(number + 1))

    with pytest.raises(TooManyAttempts):
        verify(store, address=neighbour)
    assert verify(store, address=stranger) == ada


def test_T34_of_many_guesses_at_once_no_more_are_checked_than_of_one_after_the_other(  # noqa: N802
    store: Store, ada: Account
) -> None:
    def guess(number: int) -> bool:
        """Whether it was checked."""
        try:
            verify(store, f"guess number {number}", address=f"198.51.{number}.1")
        except TooManyAttempts:
            return False
        except SignInRefused:
            return True
        raise AssertionError

    with ThreadPoolExecutor(8) as threads:
        checked = list(threads.map(guess, range(40)))

    assert sum(checked) == 5


def test_a_success_clears_the_failures_of_its_account(store: Store, ada: Account) -> None:
    fail(store, 4)
    verify(store)
    fail(store, 4)

    assert verify(store) == ada


def test_T34_a_missing_account_is_checked_against_a_hash_as_costly_as_any_other() -> None:  # noqa: N802
    """The time of the answer does not tell whether an account exists."""
    nobodys, somebodys = (extract_parameters(h) for h in (nobodys_hash(), hash_password(PASSWORD)))

    assert nobodys == somebodys
    assert (nobodys.type, nobodys.memory_cost, nobodys.time_cost) == (Type.ID, 19 * 1024, 2)
    assert not matches("", PASSWORD)


@pytest.mark.parametrize(
    "password", [pytest.param("x" * 11, id="short"), pytest.param("x" * 1025, id="endless")]
)
def test_a_weak_password_is_refused_and_changes_nothing(store: Store, ada: Account, password: str) -> None:
    with (
        store.begin() as connection,
        pytest.raises(WeakPassword, match=r"use at (least|most) \d+ characters"),
    ):
        accounts.set_password(connection, "ada", password)
    with store.begin() as connection, pytest.raises(WeakPassword):
        accounts.create(connection, "grace", password, Role.VIEWER, must_change=True)

    assert verify(store) == ada


def test_a_new_password_replaces_the_old_and_ends_every_session(store: Store, ada: Account) -> None:
    with store.begin() as connection:
        token = accounts.open_session(connection, ada, NOW)
        accounts.set_password(connection, "ada", "another long password", must_change=True, now=NOW)

        assert accounts.session(connection, token, NOW) is None
    with pytest.raises(SignInRefused):
        verify(store)
    assert verify(store, "another long password").must_change


def test_a_one_time_password_is_random_and_strong_enough(store: Store, ada: Account) -> None:
    some = {accounts.one_time_password() for _ in range(100)}

    assert len(some) == 100
    with store.begin() as connection:
        for password in list(some)[:2]:
            accounts.set_password(connection, "ada", password, must_change=True)


def test_a_name_is_taken_once_whatever_its_case(store: Store, ada: Account) -> None:
    with store.begin() as connection:
        with pytest.raises(AccountExists, match="the account ada exists already"):
            accounts.create(connection, "ADA", PASSWORD, Role.VIEWER, must_change=False)

        assert accounts.list_accounts(connection) == [ada]


@pytest.mark.parametrize("name", ["", " ", "a b", "a\nb", "a\0", "x" * 65])
def test_a_name_that_can_be_none_is_refused(store: Store, name: str) -> None:
    with store.begin() as connection, pytest.raises(ValueError, match="an account's name"):
        accounts.create(connection, name, PASSWORD, Role.VIEWER, must_change=False)


def test_no_password_and_no_token_stands_in_the_database(store: Store, ada: Account) -> None:
    with store.begin() as connection:
        token = accounts.open_session(connection, ada, NOW, ADDRESS)
        [account] = connection.execute(select(account_table)).all()
        [session] = connection.execute(select(session_table)).all()

    assert PASSWORD not in repr(account)
    assert token not in repr(session)


def test_a_session_lasts_while_it_is_used_and_ends_after_15_idle_minutes(store: Store, ada: Account) -> None:
    with store.begin() as connection:
        token = accounts.open_session(connection, ada, NOW)
        used = [accounts.session(connection, token, NOW + timedelta(minutes=m)) for m in (10, 20, 34.9)]
        after = accounts.session(connection, token, NOW + timedelta(minutes=50.1))
        gone = accounts.session(connection, token, NOW + timedelta(minutes=50.2))

    assert used == [ada, ada, ada]
    assert (after, gone) == (None, None)


def test_no_session_lasts_longer_than_12_hours(store: Store, ada: Account) -> None:
    with store.begin() as connection:
        token = accounts.open_session(connection, ada, NOW)
        used = [accounts.session(connection, token, NOW + timedelta(minutes=m)) for m in range(0, 721, 10)]
        after = accounts.session(connection, token, NOW + timedelta(minutes=721))

    assert used == [ada] * 73
    assert after is None


def test_a_session_can_be_ended(store: Store, ada: Account) -> None:
    with store.begin() as connection:
        first, second, third = (accounts.open_session(connection, ada, NOW) for _ in range(3))
        accounts.close_session(connection, first)
        after_one = [accounts.session(connection, token, NOW) for token in (first, second)]
        accounts.close_sessions(connection, "ada")
        after_all = [accounts.session(connection, token, NOW) for token in (second, third)]

    assert after_one == [None, ada]
    assert after_all == [None, None]


@pytest.mark.parametrize("token", ["", "x", "\udcff\0", "x" * 10_000])
def test_a_made_up_token_is_no_session(store: Store, ada: Account, token: str) -> None:
    with store.begin() as connection:
        assert accounts.session(connection, token, NOW) is None


def test_changing_an_account_that_does_not_exist_is_a_key_error(store: Store) -> None:
    with store.begin() as connection:
        with pytest.raises(KeyError):
            accounts.set_password(connection, "nobody", PASSWORD)
        with pytest.raises(KeyError):
            accounts.disable(connection, "nobody")
        assert accounts.get(connection, "nobody") is None
