"""A quarantine of its own for each test, on SQLite."""

from pathlib import Path

import pytest

from appliance.quarantine import Desk, Quarantine
from appliance.store.engine import Store
from tests.quarantine.samples import desk_below


@pytest.fixture
def desk(sqlite_store: Store, tmp_path: Path) -> Desk:
    return desk_below(tmp_path, sqlite_store)


@pytest.fixture
def quarantine(desk: Desk) -> Quarantine:
    return desk.files
