"""The settings in force in a worker: followed, kept for bad times, and made known to the store."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from sqlalchemy import insert
from structlog.testing import capture_logs

from appliance.filter import policies
from appliance.filter.kept_settings import KeptSettings
from appliance.filter.policies import CurrentPolicy
from appliance.settings import InvalidSettings, from_document
from appliance.store import nodes, settings
from appliance.store.engine import Store, StoreUnavailable, store_at
from appliance.store.schema import settings_revision

Kept = Callable[[str], KeptSettings]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "FOLLOW_SECONDS", 0.01)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return lambda worker: KeptSettings(tmp_path / "settings.json", worker)


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Store]:
    with closing(store_at(f"sqlite:///{tmp_path}/away.db")) as store:
        yield store


def save(store: Store, header: str) -> int:
    with store.begin() as connection:
        before = settings.current_number(connection)
        document = from_document({"verification": {"enabled": True, "x_header_name": header}})
        return settings.save(connection, document, based_on=before, author="test").number


def save_unreadable(store: Store, number: int) -> None:
    with store.begin() as connection:
        connection.execute(
            insert(settings_revision).values(number=number, saved_at=0, author="x", comment="", document="{")
        )


def policy_of(store: Store, kept: KeptSettings | None = None) -> CurrentPolicy:
    return CurrentPolicy(store, node="gateway.example", worker="0", kept=kept)


@asynccontextmanager
async def following(policy: CurrentPolicy) -> AsyncIterator[None]:
    with ThreadPoolExecutor(1) as executor:
        task = asyncio.create_task(policy.follow(executor))
        yield
        task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  the store is written by a thread
            await asyncio.sleep(0.01)


def test_f14_an_unreadable_revision_leaves_the_last_in_force_and_the_next_one_is_taken(store: Store) -> None:
    save(store, "X-First")
    policy = policy_of(store)

    async def run() -> None:
        async with following(policy):
            save_unreadable(store, 2)
            await until(lambda: bool(log))
            assert policy.current().revision == 1
            with store.begin() as connection:
                connection.execute(settings_revision.delete().where(settings_revision.c.number == 2))
            save(store, "X-Second")
            save_number = save(store, "X-Third")
            await until(lambda: policy.current().revision == save_number)

    with capture_logs() as log:
        asyncio.run(run())

    [trouble] = [line for line in log if line["event"] == "settings-unreadable"]
    assert "is not JSON" in trouble["error"]
    assert policy.current().settings.verification.x_header_name == "X-Third"


@pytest.mark.parametrize("fault", ["store away", "revision unreadable"])
def test_f8_a_worker_that_starts_in_bad_times_judges_by_the_settings_that_were_kept(
    store: Store, away: Store, kept: Kept, fault: str
) -> None:
    save(store, "X-Kept")
    policy_of(store, kept("0"))
    if fault == "revision unreadable":
        save_unreadable(store, 2)

    started = policy_of(away if fault == "store away" else store, kept("1")).current()

    assert (started.revision, started.settings.verification.x_header_name) == (1, "X-Kept")
    assert started.settings.verification.enabled


def test_without_settings_a_worker_does_not_start(
    store: Store, away: Store, kept: Kept, tmp_path: Path
) -> None:
    """Judging by the defaults would mean: not at all."""
    with pytest.raises(StoreUnavailable):
        policy_of(away, kept("0"))
    (tmp_path / "settings.json").write_text('{"revision": 3, "settings": {"verif')
    with pytest.raises(StoreUnavailable):
        policy_of(away, kept("0"))
    save_unreadable(store, 1)
    with pytest.raises(InvalidSettings):
        policy_of(store, kept("0"))


def test_settings_that_can_not_be_kept_are_in_force_all_the_same(store: Store, tmp_path: Path) -> None:
    save(store, "X-First")

    policy = policy_of(store, KeptSettings(tmp_path / "missing" / "settings.json", "0"))

    assert policy.current().revision == 1


def test_f7_a_count_that_changed_is_told_soon_and_survives_a_store_that_was_away(store: Store) -> None:
    counts = {"unrecorded": 0}
    policy = CurrentPolicy(store, node="gateway.example", worker="0", counters=lambda: counts)

    def told() -> int:
        with store.read() as connection:
            [status] = nodes.list_nodes(connection)
        return status.counters["unrecorded"]

    async def run() -> None:
        async with following(policy):
            counts["unrecorded"] = 7
            await until(lambda: told() == 7)

    asyncio.run(run())
