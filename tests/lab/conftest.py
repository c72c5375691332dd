"""Running Postfix instances for the lab's tests."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.lab.postfix import PostfixInstance
from appliance.lab.postfix_config import PostfixConfig
from tests.postfix import config_below


@pytest.fixture
def config(tmp_path: Path, requires_postfix: None) -> PostfixConfig:
    """An instance of this test's own, not yet written."""
    return config_below(tmp_path / "postfix")


@pytest.fixture(scope="package")
def postfix(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> Iterator[PostfixInstance]:
    """Runs without a filter, for tests that leave it as it is."""
    config = replace(config_below(tmp_path_factory.mktemp("postfix")), filter_endpoint="")
    with PostfixInstance(config) as running:
        yield running


@pytest.fixture(scope="package")
def filterless_postfix(
    tmp_path_factory: pytest.TempPathFactory, requires_postfix: None
) -> Iterator[PostfixInstance]:
    """Runs and wants a filter, but none listens."""
    with PostfixInstance(config_below(tmp_path_factory.mktemp("filterless"))) as running:
        yield running
