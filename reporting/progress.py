"""Say how far a run of report building has come: to whoever waits for it, and in the store for the page."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from appliance.store import report_building
from appliance.store.engine import Store
from appliance.store.reports import ReportJob

STORE_EVERY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come."""

    reports: int
    """That are done, failed ones included."""
    of_reports: int
    """As many as are known by now: one that is cut into parts becomes several."""
    rows: int
    """Records written so far, of all reports."""
    policy_domain: str = ""
    """Of the report that is being built; ``""`` between two."""


class Tracker:
    """Counts for one run."""

    def __init__(self, store: Store, tell: Callable[[Progress], None] | None) -> None:
        self._store = store
        self._tell = tell or (lambda _: None)
        self._done = self._expected = self._rows = 0
        self._stored_at = time.monotonic()

    def start(self) -> None:
        """What waits to be built is planned."""
        with self._store.read() as connection:
            self._expected = report_building.pending(connection)
        self._say()

    def more(self, reports: int) -> None:
        """So many more than was known: parts of one that was too large."""
        self._expected += reports

    def written(self, job: ReportJob, rows: int) -> None:
        """*job* has *rows* records so far."""
        self._say(rows, job.policy_domain)
        if time.monotonic() - self._stored_at >= STORE_EVERY_SECONDS:
            with self._store.begin() as connection:
                report_building.show_rows(connection, job.id, rows)
            self._stored_at = time.monotonic()

    def finished(self, job: ReportJob) -> None:
        self._done += 1
        self._rows += job.rows
        self._say()

    def _say(self, rows: int = 0, policy_domain: str = "") -> None:
        expected = max(self._expected, self._done)  # another node may add some
        self._tell(Progress(self._done, expected, self._rows + rows, policy_domain))
