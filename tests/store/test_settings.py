"""Settings revisions: append-only, and no save overwrites another."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import text

from appliance.settings import Settings, from_document
from appliance.store import settings as stored
from appliance.store.engine import Store
from appliance.store.settings import Revision, SettingsConflict


def naming(organization: str) -> Settings:
    return from_document({"reports": {"organization": organization}})


def save(store: Store, settings: Settings, based_on: int, author: str = "ada") -> Revision:
    with store.begin() as connection:
        return stored.save(connection, settings, based_on=based_on, author=author, comment="why not")


def test_before_the_first_save_the_defaults_are_in_force(store: Store) -> None:
    with store.read() as connection:
        revision = stored.current(connection)
        number = stored.current_number(connection)

    assert (revision.number, revision.settings, number) == (0, Settings(), 0)


def test_a_save_is_read_back_as_it_was(store: Store) -> None:
    settings = from_document(
        {
            "verification": {
                "enabled": True,
                "exceptions": ["192.0.2.0/24 mode=evaluate # Büro in Kyōto"],
                "domains": ["*.bücher.example"],
            }
        }
    )

    saved = save(store, settings, based_on=0)

    with store.read() as connection:
        assert stored.current(connection) == saved
        assert stored.current_number(connection) == 1
    assert (saved.number, saved.settings, saved.author, saved.comment) == (1, settings, "ada", "why not")


def test_a_save_based_on_an_older_revision_is_refused_and_shows_the_newer(store: Store) -> None:
    save(store, naming("first"), based_on=0)
    second = save(store, naming("second"), based_on=1, author="grace")

    with pytest.raises(SettingsConflict, match="revision 2 was saved by grace") as conflict:
        save(store, naming("third"), based_on=1)

    assert conflict.value.current == second


def test_a_save_based_on_a_revision_that_never_was_is_refused(store: Store) -> None:
    with pytest.raises(SettingsConflict):
        save(store, naming("first"), based_on=7)


def test_of_two_saves_at_once_exactly_one_wins(store: Store) -> None:
    save(store, naming("start"), based_on=0)
    together = Barrier(2)

    def compete(author: str) -> Revision | SettingsConflict:
        together.wait(timeout=30)
        try:
            return save(store, naming(author), based_on=1, author=author)
        except SettingsConflict as conflict:
            return conflict

    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(compete, ["ada", "grace"]))

    [winner] = [result for result in results if isinstance(result, Revision)]
    [loser] = [result for result in results if isinstance(result, SettingsConflict)]
    assert loser.current == winner
    with store.read() as connection:
        assert [revision.number for revision in stored.history(connection)] == [2, 1]


def test_two_transactions_that_overlap_can_not_both_save(postgresql_store: Store) -> None:
    """PostgreSQL alone lets both look before either has saved."""
    store = postgresql_store
    with ThreadPoolExecutor(1) as threads:
        with store.begin() as connection:
            stored.save(connection, naming("ada"), based_on=0, author="ada")
            other = threads.submit(save, store, naming("grace"), 0, "grace")
            while not (_somebody_waits(store) or other.done()):
                pass

        with pytest.raises(SettingsConflict, match="saved by ada"):
            other.result(timeout=30)


def _somebody_waits(store: Store) -> bool:
    with store.read() as connection:
        waiting = connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))
    return bool(waiting)


def test_a_refused_save_leaves_the_transaction_usable(store: Store) -> None:
    with store.begin() as connection:
        with pytest.raises(SettingsConflict):
            stored.save(connection, naming("x"), based_on=3, author="ada")
        stored.save(connection, naming("y"), based_on=0, author="ada")

    with store.read() as connection:
        assert stored.current(connection).settings == naming("y")


def test_saving_unchanged_settings_makes_no_revision(store: Store) -> None:
    first = save(store, naming("same"), based_on=0)

    assert save(store, naming("same"), based_on=1) == first


def test_the_defaults_can_be_saved_as_the_first_revision(store: Store) -> None:
    assert save(store, Settings(), based_on=0).number == 1


def test_history_goes_back_page_by_page(store: Store) -> None:
    for number in range(5):
        save(store, naming(str(number)), based_on=number)

    with store.read() as connection:
        newest = stored.history(connection, limit=2)
        older = stored.history(connection, limit=2, before=newest[-1].number)
        second = stored.get(connection, 2)

    assert [revision.number for revision in newest + older] == [5, 4, 3, 2]
    assert (second.number, second.author, second.saved_at) == (2, older[-1].author, older[-1].saved_at)


def test_a_revision_that_does_not_exist_is_a_key_error(store: Store) -> None:
    with store.read() as connection, pytest.raises(KeyError):
        stored.get(connection, 1)
