"""Search: events are found by any combination of what an administrator knows, however many there are."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from sqlalchemy import event as listening

from appliance.mail.message import Recipient
from appliance.store import events, search_index
from appliance.store.documents import recipients_of
from appliance.store.engine import Store, open_store
from appliance.store.records import Event
from appliance.store.schema import event
from appliance.store.search import MOST_ROWS, MOST_UNINDEXED, EventPage, EventQuery, find, search
from appliance.store.search_index import BLOCK
from appliance.store.values import to_micros
from tests.bench.mail_history import BUSY_DOMAIN, BUSY_RECIPIENT, COLUMNS, END, History
from tests.bench.search import fill
from tests.postgresql import PostgresqlServer
from tests.store.samples import ENVELOPE, RECEIVED_AT, message, passing

HISTORY = History(2 * BLOCK + 1500)  # two blocks are indexed, the rest isn't yet
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in HISTORY.rows()]
NEWEST_FIRST = ROWS[::-1]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def history(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with the events of ``HISTORY``, for reading."""
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('history')}/dmarcgate.db"
        else:
            server: PostgresqlServer = request.getfixturevalue("postgresql")
            server.create_database("history")
            stack.callback(server.drop_database, "history")
            url = server.url("history")
        store = stack.enter_context(contextlib.closing(open_store(url, create=True)))
        fill(store, HISTORY)
        assert search_index.extend(store) == 2
        yield store


def record(store: Store, *records: events.MessageRecord) -> None:
    with store.begin() as connection:
        events.record(connection, records)


def page(store: Store, query: EventQuery, *, limit: int = 50, before: int | None = None) -> EventPage:
    with store.read() as connection:
        return search(connection, query, limit=limit, before=before)


def everything(store: Store, query: EventQuery, *, limit: int = 50) -> list[Event]:
    """All pages together."""
    found: list[Event] = []
    last = page(store, query, limit=limit)
    found += last.events
    while last.next is not None:
        last = page(store, query, limit=limit, before=last.next)
        found += last.events
    return found


def recipients(row: dict[str, Any]) -> list[str]:
    return recipients_of(row["document"])


def anything(_row: dict[str, Any]) -> bool:
    return True


def nothing(_row: dict[str, Any]) -> bool:
    return False


WEEK_AGO = END - timedelta(days=7)
SOME = ROWS[BLOCK + 100]
UNINDEXED = ROWS[-200]
WRITER: str = next(row["mail_from"] for row in ROWS if row["mail_from"].startswith("writer"))

CASES = [
    pytest.param(EventQuery(), anything, id="everything"),
    pytest.param(
        EventQuery(since=WEEK_AGO), lambda row: row["received_at"] >= to_micros(WEEK_AGO), id="since"
    ),
    pytest.param(
        EventQuery(until=WEEK_AGO), lambda row: row["received_at"] < to_micros(WEEK_AGO), id="until"
    ),
    pytest.param(
        EventQuery(since=WEEK_AGO - timedelta(days=9), until=WEEK_AGO - timedelta(days=8)),
        lambda row: (
            to_micros(WEEK_AGO - timedelta(days=9))
            <= row["received_at"]
            < to_micros(WEEK_AGO - timedelta(days=8))
        ),
        id="a day",
    ),
    pytest.param(
        EventQuery(author_domain="GMail.COM."), lambda row: row["author_domain"] == BUSY_DOMAIN, id="domain"
    ),
    pytest.param(
        EventQuery(author_domain="*.example"),
        lambda row: row["author_domain"].endswith(".example"),
        id="domains below",
    ),
    pytest.param(
        EventQuery(author_domain="*.gmail.com"),
        nothing,
        id="not the domain itself among those below",
    ),
    pytest.param(EventQuery(mail_from=""), lambda row: not row["mail_from"], id="null sender"),
    pytest.param(
        EventQuery(mail_from=WRITER.upper()),
        lambda row: row["mail_from"] == WRITER,
        id="sender",
    ),
    pytest.param(
        EventQuery(recipient=BUSY_RECIPIENT.upper()),
        lambda row: BUSY_RECIPIENT in recipients(row),
        id="recipient",
    ),
    pytest.param(
        EventQuery(recipient="user3@inside.example"),
        lambda row: "user3@inside.example" in recipients(row),
        id="recipient that is the beginning of none and the end of none",
    ),
    pytest.param(
        EventQuery(client=ip_network(SOME["client_ip"])),
        lambda row: row["client_ip"] == SOME["client_ip"],
        id="client",
    ),
    *(
        pytest.param(
            EventQuery(client=ip_network(network)),
            lambda row, network=network: ip_address(row["client_ip"]) in ip_network(network),
            id=f"clients of {network}",
        )
        for network in ("209.85.1.0/24", "209.85.0.0/16", "209.85.1.16/28", "208.0.0.0/7", "2001:db8::/32")
    ),
    pytest.param(
        EventQuery(message_id=SOME["message_id"][1:-1]),
        lambda row: row is SOME,
        id="Message-ID without brackets",
    ),
    pytest.param(EventQuery(queue_id=SOME["queue_id"]), lambda row: row is SOME, id="queue ID"),
    pytest.param(EventQuery(event_id=SOME["event_id"]), lambda row: row is SOME, id="event"),
    pytest.param(
        EventQuery(message_id=UNINDEXED["message_id"]), lambda row: row is UNINDEXED, id="not indexed yet"
    ),
    pytest.param(EventQuery(result="fail"), lambda row: row["result"] == "fail", id="result"),
    pytest.param(EventQuery(result=""), lambda row: row["result"] == "", id="not verified"),
    pytest.param(
        EventQuery(result="permerror"), lambda row: row["result"] == "permerror", id="the only permerror"
    ),
    pytest.param(EventQuery(outcome="quarantine"), lambda row: row["outcome"] == "quarantine", id="action"),
    pytest.param(EventQuery(outcome="defer"), nothing, id="an action that was never taken"),
    pytest.param(
        EventQuery(author_domain=BUSY_DOMAIN, outcome="reject"),
        lambda row: row["author_domain"] == BUSY_DOMAIN and row["outcome"] == "reject",
        id="the few rejects of a busy domain",
    ),
    pytest.param(
        EventQuery(
            since=WEEK_AGO,
            author_domain=BUSY_DOMAIN,
            recipient=BUSY_RECIPIENT,
            client=ip_network("209.85.0.0/24"),
            result="none",
            outcome="deliver",
        ),
        lambda row: (
            row["received_at"] >= to_micros(WEEK_AGO)
            and row["author_domain"] == BUSY_DOMAIN
            and BUSY_RECIPIENT in recipients(row)
            and row["client_ip"].startswith("209.85.0.")
            and row["result"] == "none"
        ),
        id="much at once",
    ),
]


@pytest.mark.parametrize(("query", "fits"), CASES)
def test_exactly_the_events_that_fit_are_found_newest_first(
    history: Store, query: EventQuery, fits: Callable[[dict[str, Any]], bool]
) -> None:
    expected = [row["id"] for row in NEWEST_FIRST if fits(row)]

    found = everything(history, query, limit=700)

    assert [one.id for one in found] == expected


def test_the_samples_hold_what_the_cases_look_for() -> None:
    """Else an empty answer would prove nothing."""
    empty = {
        "not the domain itself among those below",
        "an action that was never taken",
        "clients of 2001:db8::/32",
    }
    for case in CASES:
        fits: Any = case.values[1]
        assert any(map(fits, ROWS)) is (case.id not in empty), case.id


@pytest.mark.parametrize("limit", [1, 7, 50])
def test_pages_neither_repeat_nor_miss_an_event(history: Store, limit: int) -> None:
    query = EventQuery(author_domain=BUSY_DOMAIN, result="none")
    expected = [
        row["id"] for row in NEWEST_FIRST if (row["author_domain"], row["result"]) == (BUSY_DOMAIN, "none")
    ]

    found = everything(history, query, limit=limit)

    assert [one.id for one in found] == expected


def test_a_page_that_holds_the_last_event_names_no_next(history: Store) -> None:
    assert page(history, EventQuery(result="permerror"), limit=1).next is None


def test_an_event_that_comes_between_two_pages_moves_none(store: Store) -> None:
    record(store, *(message(f"{number:012x}") for number in range(6)))

    first = page(store, EventQuery(), limit=3)
    record(store, message("ffffffffffff"))
    second = page(store, EventQuery(), limit=3, before=first.next)

    listed = [one.event_id for one in first.events + second.events]
    assert listed == [f"{number:012x}" for number in reversed(range(6))]


def test_every_event_of_a_message_is_found_in_its_order(store: Store) -> None:
    record(
        store,
        message("0123456789ab", passing("one.example"), passing("two.example")),
        message("ba9876543210"),
    )

    with store.read() as connection:
        found = find(connection, "0123456789ab")

    assert [one.author_domain for one in found] == ["one.example", "two.example"]


def test_an_empty_store_has_an_empty_page(store: Store) -> None:
    assert page(store, EventQuery(queue_id="4ZqK")) == EventPage((), None)
    assert search_index.extend(store) == 0


def test_an_IPv6_client_is_found_by_its_networks(store: Store) -> None:  # noqa: N802
    inside, outside = ip_address("2001:db8:1:2::25"), ip_address("2001:db8:1:3::25")
    record(
        store,
        replace(message("aaaaaaaaaaaa"), client_ip=inside),
        replace(message("bbbbbbbbbbbb"), client_ip=outside),
        replace(message("cccccccccccc"), client_ip=None),
    )

    found = [
        [one.event_id[0] for one in everything(store, EventQuery(client=ip_network(network)))]
        for network in (
            "2001:db8:1:2::25",
            "2001:db8:1:2::/64",
            "2001:db8:1:2::/63",
            "2001:db8::/29",
            "fe80::/64",
        )
    ]

    assert found == [["a"], ["a"], ["b", "a"], ["b", "a"], []]


HOSTILE = [
    pytest.param("'; DROP TABLE event; --", id="SQL"),
    pytest.param('" OR 1=1 /*', id="SQL with a double quote"),
    pytest.param("%_\\%s %(x)s :x ? {0}", id="wildcards and placeholders"),
    pytest.param("\0", id="NUL"),
    pytest.param("a\0b@x.example", id="NUL inside"),
    pytest.param("\ud83d@x.example", id="half a surrogate pair"),
    pytest.param("caf\udce9@x.example", id="no UTF-8"),
    pytest.param("ÉÀ@x.example", id="capital letters beyond ASCII"),
    pytest.param("\U0001f4e8" * 400, id="long, four octets a character"),
    pytest.param("x" * 1_000_000, id="a megabyte"),
    pytest.param("*.", id="no domain below"),
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("indexed", [False, True], ids=["newest", "indexed"])
def test_T28_hostile_text_is_data_in_events_and_in_queries(  # noqa: N802
    store: Store, text: str, indexed: bool
) -> None:
    envelope = replace(ENVELOPE, helo=text, mail_from=text, recipients=(Recipient(text),), queue_id=text[:64])
    hostile = replace(
        message("aaaaaaaaaaaa", envelope=envelope),
        message_id=text,
        header_from=text,
        subject=text,
        exception=text,
    )
    record(store, hostile, message("bbbbbbbbbbbb"))
    if indexed:
        index_everything(store)

    found = {
        name: [one.event_id for one in everything(store, query)]
        for name, query in {
            "sender": EventQuery(mail_from=text),
            "recipient": EventQuery(recipient=text),
            "message": EventQuery(message_id=text),
            "queue": EventQuery(queue_id=text[:64]),
            "domain": EventQuery(author_domain=text),
            "event": EventQuery(event_id=text),
            "result": EventQuery(result=text),
            "action": EventQuery(outcome=text),
        }.items()
    }

    known = {"sender", "recipient", "message", "queue"}
    assert found == {name: ["aaaaaaaaaaaa"] if name in known else [] for name in found}
    assert len(everything(store, EventQuery())) == 2


def index_everything(store: Store) -> None:
    """Make the events up to now indexed blocks, by giving for a moment one the first number after them."""
    with store.begin() as connection:
        row = dict(connection.execute(event.select().limit(1)).mappings().one())
        after = (search_index.newest_id(connection) // BLOCK + 1) * BLOCK
        connection.execute(event.insert().values(row | {"id": after}))
    assert search_index.extend(store) >= 1
    with store.begin() as connection:
        connection.execute(event.delete().where(event.c.id == after))
        assert search_index.first_unindexed(connection) == after


# ---- bounded work ----------------------------------------------------------------


def plans(store: Store, query: EventQuery, before: int | None = None) -> list[str]:
    """How the database carries out each statement of a search."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    listening.listen(store._engine, "before_cursor_execute", note)
    try:
        page(store, query, before=before)
    finally:
        listening.remove(store._engine, "before_cursor_execute", note)
    lines: list[str] = []
    with store.read() as connection:
        sqlite = connection.dialect.name == "sqlite"
        if not sqlite:
            connection.exec_driver_sql(
                "SET LOCAL enable_seqscan = off"
            )  # it likes to read all of a small table
        for statement, parameters in statements:
            explain = "EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN "
            rows = connection.exec_driver_sql(explain + statement, parameters).all()
            lines += [str(row[-1]).strip() for row in rows]
    return lines


@pytest.mark.parametrize("before", [None, BLOCK], ids=["newest", "indexed"])
@pytest.mark.parametrize("query", [pytest.param(case.values[0], id=case.id) for case in CASES])
def test_no_search_reads_a_whole_table(history: Store, query: EventQuery, before: int | None) -> None:
    carried_out = plans(history, query, before)

    assert carried_out
    assert [line for line in carried_out if line.startswith("SCAN") or "Seq Scan" in line] == []


def test_what_is_not_indexed_yet_is_looked_through_in_bounded_steps(sqlite_store: Store) -> None:
    many = MOST_UNINDEXED + 3000
    fill(sqlite_store, History(many))
    oldest = EventQuery(queue_id=History(many).queue_id(0))

    first = page(sqlite_store, oldest)
    second = page(sqlite_store, oldest, before=first.next)

    assert first == EventPage((), many + 1 - MOST_UNINDEXED)
    assert [one.id for one in second.events] == [1]
    assert second.next is None


def test_a_network_with_few_clients_in_a_busy_one_is_searched_in_bounded_steps(sqlite_store: Store) -> None:
    fill(sqlite_store, History(2 * BLOCK))
    search_index.extend(sqlite_store)
    nobody = EventQuery(
        client=ip_network("16.0.0.0/6")
    )  # shorter than what is indexed: every event is looked at

    first = page(sqlite_store, nobody)

    assert first.next is not None
    assert 2 * BLOCK - first.next == pytest.approx(MOST_ROWS, abs=600)
    inside = ip_network("16.0.0.0/6")
    expected = [row[0] for row in History(2 * BLOCK).rows() if ip_address(row[14]) in inside]
    assert [one.id for one in everything(sqlite_store, nobody)] == expected[::-1]


# ---- indexing --------------------------------------------------------------------


def test_each_block_is_indexed_once_even_by_two_at_a_time(store: Store) -> None:
    fill(store, History(3 * BLOCK))
    done: list[int] = []
    both = [threading.Thread(target=lambda: done.append(search_index.extend(store))) for _ in range(2)]

    for thread in both:
        thread.start()
    for thread in both:
        thread.join()

    assert sum(done) == 3
    assert len(everything(store, EventQuery(outcome="reject", author_domain=BUSY_DOMAIN))) == 3


def test_an_event_whose_transaction_ends_late_is_indexed_too(postgresql_store: Store) -> None:
    """Its number is lower than those of events that were committed before it."""
    store = postgresql_store
    fill(store, History(BLOCK - 2))
    late = message("aaaaaaaaaaaa", passing("late.example"))
    indexing = threading.Thread(target=search_index.extend, args=[store])

    with store.begin() as connection:
        events.record(connection, [late])
        record_elsewhere(store, message("bbbbbbbbbbbb", passing("early.example")))
        indexing.start()
        while not waits_for_lock(store) and indexing.is_alive():
            pass
    indexing.join()

    with store.read() as connection:
        assert search_index.first_unindexed(connection) == BLOCK
    assert [one.id for one in everything(store, EventQuery(author_domain="late.example"))] == [BLOCK - 1]


def record_elsewhere(store: Store, record_: events.MessageRecord) -> None:
    """In another thread's transaction; it must not meet the open one at any row."""
    alone = replace(record_, for_reports=False)
    thread = threading.Thread(target=record, args=[store, alone])
    thread.start()
    thread.join()


def waits_for_lock(store: Store) -> bool:
    with store.read() as connection:
        return bool(
            connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar_one()
        )


def test_the_index_tells_apart_terms_whose_fingerprints_begin_alike() -> None:
    key = bytes(5) + b"\1"
    entries = bytes(6) + b"\0\1" + key + b"\0\2" + b"\1" + bytes(5) + b"\0\3"

    assert search_index._rare_bits(entries, key) == 1 << 2
    assert search_index._rare_bits(entries, bytes(6)) == 1 << 1
    assert search_index._frequent_bits(key + bytes(511) + b"\x80", key) == 1 << (BLOCK - 1)


def test_time_is_that_of_reception_even_where_numbers_go_another_way(store: Store) -> None:
    """A message that took long to judge is numbered after one that came later."""
    slow = message(
        "aaaaaaaaaaaa", envelope=replace(ENVELOPE, received_at=RECEIVED_AT - timedelta(seconds=20))
    )
    record(store, message("bbbbbbbbbbbb"), slow)
    index_everything(store)

    found = [
        [one.event_id[0] for one in everything(store, query)]
        for query in (EventQuery(since=RECEIVED_AT), EventQuery(until=RECEIVED_AT))
    ]

    assert found == [["b"], ["a"]]
