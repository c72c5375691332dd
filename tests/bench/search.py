"""How long a search takes among millions of events, on SQLite and PostgreSQL.

Each kind of query runs several times with different values, the first time included. Machines differ, and so does what
they hold in memory: the figures are there to compare kinds of query, and one change with another.
"""

import os
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from itertools import islice
from pathlib import Path

import psycopg
from sqlalchemy import text

from appliance.lab.ports import free_ports
from appliance.store import events, search_index
from appliance.store.engine import Store, open_store
from appliance.store.search import EventQuery, search
from tests.bench.mail_history import BUSY_DOMAIN, BUSY_RECIPIENT, COLUMNS, END, History
from tests.conftest import SYSTEM_PLACES, postgresql_places
from tests.postgresql import postgresql_server
from tests.store.samples import message

EVENTS = 5_000_000
TIMES = 7
AT_ONCE = 5000
RECORDED, TOGETHER = 2000, 8


def main(number: int) -> int:
    history = History(number)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dmarcgate-bench-")))
        _measure("SQLite", f"sqlite:///{folder}/dmarcgate.db", history)
    found = {name: program(name) for name in ("initdb", "postgres")}
    if missing := [name for name, path in found.items() if path is None]:
        print(f"not measured: PostgreSQL ({', '.join(missing)} is missing)", file=sys.stderr)
        return 0
    initdb, postgres = found["initdb"], found["postgres"]
    assert initdb is not None
    assert postgres is not None
    with postgresql_server(initdb, postgres, free_ports(1)[0]) as server:
        server.create_database("bench")
        _measure("PostgreSQL", server.url("bench"), history)
    return 0


def program(name: str) -> Path | None:
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_PLACES, *postgresql_places()])
    found = shutil.which(name, path=places)
    return Path(found) if found else None


def _measure(name: str, url: str, history: History) -> None:
    with closing(open_store(url, create=True)) as store:
        begun = time.monotonic()
        fill(store, history)
        filled = time.monotonic()
        while search_index.extend(store):
            pass
        indexed = time.monotonic()
        print(
            f"{name}: {history.events} events; filled in {filled - begun:.0f} s; indexed in {indexed - filled:.0f} s, "
            f"{(indexed - filled) / history.events * 1e6:.0f} µs an event; "
            f"{_octets(store) / history.events:.0f} octets an event"
        )
        print(f"{'query':44}{'found':>7}{'median ms':>11}{'worst ms':>10}")
        for kind, queries in _kinds(history).items():
            found, taken = _timed(store, queries)
            print(f"{kind:44}{found:>7}{statistics.median(taken):>11.1f}{max(taken):>10.1f}")
        print(f"recording, CPU µs a message: {_recording_cost(store):.0f}\n")


def fill(store: Store, history: History) -> None:
    """Put the history into the empty *store*, as fast as the database takes rows."""
    rows = history.rows()
    if store.url.startswith("sqlite"):
        with closing(
            sqlite3.connect(store.url.removeprefix("sqlite:///"), isolation_level=None)
        ) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            places = ", ".join("?" * len(COLUMNS))
            while some := list(islice(rows, AT_ONCE)):
                connection.execute("BEGIN")
                connection.executemany(f"INSERT INTO event VALUES ({places})", some)
                connection.execute("COMMIT")
        return
    with psycopg.connect(store.url.replace("+psycopg", "")) as connection:
        with connection.cursor() as cursor, cursor.copy("COPY event FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        connection.execute("SELECT setval(pg_get_serial_sequence('event', 'id'), %s)", [history.events])
    with psycopg.connect(store.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE event")  # as autovacuum would in time


def _octets(store: Store) -> int:
    if store.url.startswith("sqlite"):
        return Path(store.url.removeprefix("sqlite:///")).stat().st_size
    with store.read() as connection:
        return connection.scalar(text("SELECT pg_database_size(current_database())")) or 0


def _timed(store: Store, queries: list[tuple[EventQuery, int | None]]) -> tuple[int, list[float]]:
    """How many events the pages had, and the milliseconds of each."""
    found, taken = 0, []
    for query, before in queries:
        begun = time.perf_counter()
        with store.read() as connection:
            page = search(connection, query, before=before)
        taken.append((time.perf_counter() - begun) * 1000)
        found += len(page.events)
    return found, taken


def _recording_cost(store: Store) -> float:
    chance = random.Random(2)
    records = [
        replace(
            message(f"{chance.getrandbits(48):012x}"), message_id=f"<{chance.getrandbits(64):x}@new.example>"
        )
        for _ in range(RECORDED)
    ]
    begun = time.process_time()
    for at in range(0, RECORDED, TOGETHER):
        with store.begin() as connection:
            events.record(connection, records[at : at + TOGETHER])
    return (time.process_time() - begun) / RECORDED * 1e6


def _kinds(history: History) -> Mapping[str, list[tuple[EventQuery, int | None]]]:
    chance = random.Random(3)
    some = list(islice(history.rows(), 0, 100_000, max(1, min(history.events, 100_000) // 50)))
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in chance.sample(some, TIMES)]
    weeks_ago = END - timedelta(days=20)
    hour = EventQuery(since=weeks_ago, until=weeks_ago + timedelta(hours=1))
    busy = EventQuery(author_domain=BUSY_DOMAIN)

    def each(**columns: str) -> list[EventQuery]:
        return [EventQuery(**{name: row[column] for name, column in columns.items()}) for row in rows]

    def network(length: int) -> list[EventQuery]:
        return [EventQuery(client=ip_network(f"{row['client_ip']}/{length}", strict=False)) for row in rows]

    kinds = {
        "newest": [EventQuery()],
        "an hour, 20 days ago": [hour],
        "an hour before all": [EventQuery(until=END - timedelta(days=40))],
        "author domain": each(author_domain="author_domain"),
        "author domain of a fifth": [busy],
        "author domain of a fifth, an hour": [replace(hour, author_domain=BUSY_DOMAIN)],
        "author domains below": [EventQuery(author_domain="*.example")],
        "sender": each(mail_from="mail_from"),
        "null sender": [EventQuery(mail_from="")],
        "recipient of a tenth": [EventQuery(recipient=BUSY_RECIPIENT)],
        "recipient": [EventQuery(recipient=f"user{number}@inside.example") for number in range(TIMES)],
        "client": network(32),
        "client network /24": network(24),
        "client network /27, between indexed ones": network(27),
        "Message-ID": each(message_id="message_id"),
        "queue ID": each(queue_id="queue_id"),
        "event": each(event_id="event_id"),
        "result fail": [EventQuery(result="fail")],
        "result permerror: one of all": [EventQuery(result="permerror")],
        "action reject": [EventQuery(outcome="reject")],
        "domain of a fifth, its few rejects": [replace(busy, outcome="reject")],
        "domain of a fifth, busy recipient, temperror": [
            replace(busy, recipient=BUSY_RECIPIENT, result="temperror")
        ],
        "sender, recipient of a tenth": [
            replace(one, recipient=BUSY_RECIPIENT) for one in each(mail_from="mail_from")
        ],
        "no such domain": [EventQuery(author_domain=f"absent{number}.example") for number in range(TIMES)],
        "no such sender": [EventQuery(mail_from=f"absent{number}@mail1.example") for number in range(TIMES)],
        "no such recipient": [
            EventQuery(recipient=f"absent{number}@inside.example") for number in range(TIMES)
        ],
        "no such client": [EventQuery(client=ip_network(f"198.51.100.{number}")) for number in range(TIMES)],
        "no such Message-ID": [
            EventQuery(message_id=f"<absent{number}@x.example>") for number in range(TIMES)
        ],
        "no such queue ID": [EventQuery(queue_id=f"4ZZZ{number}") for number in range(TIMES)],
        "deferred: none": [EventQuery(outcome="defer")],
        "permerror and deferred at once: none": [replace(busy, result="permerror", outcome="defer")],
    }
    pages: dict[str, list[tuple[EventQuery, int | None]]] = {
        kind: [(query, None) for query in _repeated(queries)] for kind, queries in kinds.items()
    }
    pages["domain of a fifth, a page far back"] = [
        (busy, history.events * (place + 1) // (TIMES + 1)) for place in range(TIMES)
    ]
    return pages


def _repeated(queries: list[EventQuery]) -> Iterator[EventQuery]:
    yield from (queries * TIMES)[:TIMES]
