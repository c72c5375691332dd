"""A gateway of its own for a test module: real Postfix, name server, store and filter."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.lab.gateway import Gateway

INSIDE = "corp.example"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, requires_postfix: None) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    with Gateway(folder, inside_domains=(INSIDE,), page=False) as running:
        yield running


@pytest.fixture(scope="session")
def requires_postfix(requires: Callable[[str], Path]) -> None:
    requires("postfix")
