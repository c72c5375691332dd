"""The benchmark of the reports works: every row is in a report, on each database, and memory stays bounded."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
FIGURES = re.compile(r"(\w+): counted in \d+ s; (\d+) rows in (\d+) reports: .*, (\d+) MB at most")


@pytest.mark.system
@pytest.mark.timeout(1200)
def test_every_row_is_in_a_report_on_each_database(long_run: bool) -> None:
    """A million rows in the long form, within 300 MB of memory; thirty thousand at any time."""
    rows = 1_000_000 if long_run else 30_000
    command = [sys.executable, "-m", "tests.bench", "--reports", str(rows)]

    finished = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert finished.returncode == 0, finished.stderr
    found = FIGURES.findall(finished.stdout)
    assert [(name, int(counted)) for name, counted, *_ in found] == [("SQLite", rows), ("PostgreSQL", rows)]
    assert {int(reports) for *_, reports, _ in found} == {24 if long_run else 1}
    assert all(int(megabytes) < 300 for *_, megabytes in found)
