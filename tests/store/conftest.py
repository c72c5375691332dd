"""An open, empty store, once on each database; migrated once in a run, because that takes longest."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.store.engine import Store, open_store, upgrade
from appliance.store.schema import METADATA
from tests.postgresql import PostgresqlServer


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "dmarcgate.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_database(postgresql: PostgresqlServer) -> Iterator[str]:
    name = f"store_{time.monotonic_ns()}"
    postgresql.create_database(name)
    upgrade(postgresql.url(name))
    yield postgresql.url(name)
    postgresql.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        file = tmp_path / "dmarcgate.db"
        shutil.copy(request.getfixturevalue("migrated_file"), file)
        opened = open_store(f"sqlite:///{file}")
        yield opened
    else:
        opened = open_store(request.getfixturevalue("migrated_database"))
        yield opened
        with opened.begin() as connection:
            for table in reversed(METADATA.sorted_tables):
                connection.execute(table.delete())
    opened.close()
