"""The benchmark of the search works: it prints the figures of every kind of query, on each database."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.system
def test_every_kind_of_query_has_its_figures_on_each_database() -> None:
    command = [sys.executable, "-m", "tests.bench", "--search", "6000"]

    finished = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert finished.returncode == 0, finished.stderr
    tables = [part.splitlines() for part in finished.stdout.strip().split("\n\n")]
    kinds = [[line[:44].strip() for line in table if line[:44].strip()] for table in tables]
    assert [table[0].split(":")[0] for table in tables] == ["SQLite", "PostgreSQL"]
    assert len(kinds[0]) == len(kinds[1]) > 30
    found = {line[:44].strip(): int(line[44:51]) for line in tables[0][2:-1]}
    assert found["result permerror: one of all"] == 7  # in each of seven runs
    assert found["domain of a fifth, its few rejects"] == 21
    assert not any(number for kind, number in found.items() if kind.startswith("no such"))
