"""An open store for the tests of the reports."""

from collections.abc import Iterator

import pytest

from appliance.store.engine import Store, open_store


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = open_store(store_url, create=True)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def sqlite_store(sqlite_url: str) -> Iterator[Store]:
    opened = open_store(sqlite_url, create=True)
    try:
        yield opened
    finally:
        opened.close()
