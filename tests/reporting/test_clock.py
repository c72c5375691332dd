"""A clock that jumps, and summer time: every day is reported once, and every report is sent once (F11, pain 9)."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import cycle, pairwise

import pytest

from appliance.lab.nameserver import NameServer
from appliance.store import reports
from appliance.store.engine import Store
from appliance.store.reports import JobStatus
from reporting.jobs import build_due, send_pending
from tests.reporting.samples import HOUR, MIDNIGHT, ROW, count, save, settings
from tests.reporting.sink import StartSink

pytestmark = pytest.mark.system

START = datetime(2026, 3, 29, 0, 45, tzinfo=UTC)
"""In the night in which summer time begins."""
DAYS = 4
HOURS = timedelta(hours=1)


@pytest.fixture
def _machines_own_time(zone: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        yield
    time.tzset()


ZONES = ("Europe/Berlin", "UTC", "Asia/Tokyo", "America/Sao_Paulo")


def every(hours: float, *, until: float) -> list[float]:
    return [at * hours for at in range(int(until / hours) + 1)]


JUMPS = {
    "steady": every(3, until=24 * DAYS),
    "back over midnight at midnight": [0, 23.4, 23.9, 23.2, 23.9, 23.1, *every(6, until=24 * DAYS)],
    "an hour back and forth": [0, 1, 2, 1, 2, 3, 2, 24, 23, 24, 25, 24, *every(5, until=24 * DAYS)],
    "a day ahead and back": [0, 24, 1, 25, 2, 26, *every(7, until=24 * DAYS)],
    "a year back and here again": [0, 4, -24 * 365, 5, *every(8, until=24 * DAYS)],
    "a night asleep": [0, 70, *every(12, until=24 * DAYS)],
}


@pytest.mark.usefixtures("_machines_own_time")
@pytest.mark.parametrize(
    ("zone", "jumps"),
    [
        pytest.param(zone, jumps, id=f"{name}, {zone}")
        for (name, jumps), zone in zip(JUMPS.items(), cycle(ZONES), strict=False)
    ],
)
def test_f11_no_day_is_skipped_and_no_report_sent_twice(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink, jumps: list[float]
) -> None:
    """The job runs whenever the clock shows one of these hours; messages of each day were counted in time."""
    save(sqlite_store, settings())
    for hour in range(-24, 24 * (DAYS - 1)):
        count(sqlite_store, replace(ROW, source_ip=f"192.0.2.{hour % 24}"), at=MIDNIGHT + hour * HOUR)
    nameserver.zone.txt("_dmarc.bank.test", "v=DMARC1; p=none; rua=mailto:r@bank.test")
    sink = start_sink()

    for hours in jumps:
        now = START + hours * HOURS
        build_due(sqlite_store, now=now)
        send_pending(sqlite_store, nameserver=nameserver.address, listener=sink.place, now=now, due_only=True)

    with sqlite_store.read() as connection:
        jobs = sorted(reports.jobs(connection), key=lambda job: job.begin)
    expected = [date(2026, 3, 28) + timedelta(days=number) for number in range(DAYS)]
    assert [job.day for job in jobs] == expected
    assert all(before.end == after.begin for before, after in pairwise(jobs)), "the periods tile"
    assert {job.end - job.begin for job in jobs} == {24 * HOUR}
    assert {(job.messages, job.status) for job in jobs} == {(24, JobStatus.SENT)}
    sent = Counter(taken.mail_from for taken in sink.taken())
    assert len(sent) == DAYS
    assert set(sent.values()) == {1}
