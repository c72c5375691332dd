"""Receivers of reports."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.reporting.sink import StartSink, running


@pytest.fixture
def start_sink(requires: Callable[[str], Path], free_port: Callable[[], int]) -> Iterator[StartSink]:
    with ExitStack() as sinks:
        yield lambda *options: sinks.enter_context(running(requires("smtp-sink"), free_port(), *options))
