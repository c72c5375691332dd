"""Running Postfix instances for the lab's tests."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.lab.ports import free_ports
from appliance.lab.postfix import PostfixConfig, PostfixInstance

INSIDE = "inside.example"


def config_below(directory: Path, filter_endpoint: str = "unix:dmarcgate/filter.sock") -> PostfixConfig:
    smtp, release, report = free_ports(3)
    return PostfixConfig(
        directory=directory,
        smtp_port=smtp,
        release_port=release,
        report_port=report,
        inside_domains=(INSIDE,),
        filter_endpoint=filter_endpoint,
    )


@pytest.fixture(scope="session")
def postfix_allowed(requires: Callable[[str], Path]) -> None:
    requires("postfix")
    if os.geteuid() != 0:
        pytest.skip("Postfix can be started by root only")


@pytest.fixture
def config(tmp_path: Path, postfix_allowed: None) -> PostfixConfig:
    """An instance of this test's own, not yet written."""
    return config_below(tmp_path / "postfix")


@pytest.fixture(scope="package")
def postfix(tmp_path_factory: pytest.TempPathFactory, postfix_allowed: None) -> Iterator[PostfixInstance]:
    """Runs without a filter, for tests that leave it as it is."""
    with PostfixInstance(config_below(tmp_path_factory.mktemp("postfix"), filter_endpoint="")) as running:
        yield running


@pytest.fixture(scope="package")
def filterless_postfix(
    tmp_path_factory: pytest.TempPathFactory, postfix_allowed: None
) -> Iterator[PostfixInstance]:
    """Runs and wants a filter, but none listens."""
    with PostfixInstance(config_below(tmp_path_factory.mktemp("filterless"))) as running:
        yield running
