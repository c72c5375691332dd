"""How long the aggregate reports of a day with very many rows take, on SQLite and PostgreSQL.

One domain is forged from everywhere all day long, and every row is another one: the day is cut into parts, and each part is
read, written, checked, compressed and kept, in the form of RFC 9990. The peak of memory is that of the process that builds.
"""

import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice

from appliance.lab.ports import free_ports
from appliance.store import facts
from appliance.store.engine import open_store
from appliance.store.facts import ReportRow
from appliance.store.reports import JobStatus
from reporting.jobs import build_day
from tests.bench.search import program
from tests.postgresql import postgresql_server
from tests.reporting.samples import DAY, HOUR, MIDNIGHT, NEXT_MORNING, ROW, save, settings

ROWS = 1_000_000
AT_ONCE = 5000
MEGABYTE = 1024.0  # getrusage counts in kB


@dataclass(frozen=True, slots=True)
class Run:
    """What building the day took."""

    rows: int
    reports: int
    seconds: float
    cpu_seconds: float
    peak_megabytes: float

    def __str__(self) -> str:
        return (
            f"{self.rows} rows in {self.reports} reports: {self.seconds:.1f} s ({self.cpu_seconds:.1f} s of CPU), "
            f"{self.rows / self.seconds:.0f} rows/s, {self.peak_megabytes:.0f} MB at most"
        )


def main(rows: int) -> int:
    with tempfile.TemporaryDirectory(prefix="dmarcgate-bench-") as folder:
        _measure("SQLite", f"sqlite:///{folder}/dmarcgate.db", rows)
    initdb, postgres = program("initdb"), program("postgres")
    if initdb is None or postgres is None:
        print("not measured: PostgreSQL (initdb and postgres are needed)", file=sys.stderr)
        return 0
    with postgresql_server(initdb, postgres, free_ports(1)[0]) as server:
        server.create_database("bench")
        _measure("PostgreSQL", server.url("bench"), rows)
    return 0


def _measure(name: str, url: str, rows: int) -> None:
    begun = time.monotonic()
    with closing(open_store(url, create=True)) as store:
        save(store, settings())
        different = _rows(rows)
        for number, some in enumerate(iter(lambda: list(islice(different, AT_ONCE)), [])):
            hour = MIDNIGHT + number * AT_ONCE * 24 // rows * HOUR
            with store.begin() as connection:
                facts.add(connection, hour, some, most_new_rows=rows)
    filled = time.monotonic()
    with ExitStack() as stack:  # a process of its own, so that its memory is that of the building
        pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(1))
        run = pool.apply(build, (url,))
    print(f"{name}: counted in {filled - begun:.0f} s; {run}")


def build(url: str) -> Run:
    """Build the day of the store at *url*."""
    with closing(open_store(url)) as store:
        begun, cpu = time.perf_counter(), time.process_time()
        built = build_day(store, DAY, now=NEXT_MORNING)
        seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu
    assert all(job.status is JobStatus.BUILT for job in built)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTE
    return Run(sum(job.rows for job in built), len(built), seconds, cpu_seconds, peak)


def _rows(number: int) -> Iterator[ReportRow]:
    chance = random.Random(1)
    for _ in range(number):
        sender = f"mail{chance.randrange(20_000)}.example{chance.randrange(3000)}.test"
        signature = (sender, f"s{chance.randrange(99)}", "fail", "body hash")
        yield replace(
            ROW,
            source_ip=".".join(str(chance.randrange(1, 255)) for _ in range(4)),
            disposition="reject",
            dkim_aligned=False,
            dkim=(signature,) if chance.random() < 0.5 else (),
            spf_domain=sender,
            envelope_from=sender,
            header_from=f"h{chance.randrange(100_000)}.bank.test",
        )
