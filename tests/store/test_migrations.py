"""A database in use is brought to the newest schema with everything that is in it."""

import contextlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from appliance.store import database, events, facts, quarantine, search_index
from appliance.store.documents import envelope_document
from appliance.store.engine import open_store, upgrade
from appliance.store.migrate import MIGRATIONS
from appliance.store.records import MessageRecord
from appliance.store.schema import REVISION
from appliance.store.search import EventQuery, search
from appliance.store.values import to_json, to_micros
from tests.store.samples import DAY_BEGIN, ENVELOPE, HOUR, RECEIVED_AT, message, passing

DAY = 86_400


def upgrade_to(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def insert(connection: Connection, table: str, **values: Any) -> None:
    names = ", ".join(f'"{name}"' for name in values)
    connection.execute(
        text(f"INSERT INTO {table} ({names}) VALUES ({', '.join(':' + name for name in values)})"), values
    )


def insert_first_facts(connection: Connection, record: MessageRecord, hours: dict[int, int]) -> None:
    """As the first schema kept them: a row's key without its day."""
    row = facts.row_of(record, record.verdict.judgements[0])
    assert row is not None
    policy_key, policy = facts._policy_key(row.policy_domain, row.published, rua_present=True)
    with_day, document = facts._row_key(policy_key, 0, row)
    key = with_day[2:]
    insert(
        connection,
        "published_policy",
        key=policy_key,
        policy_domain=row.policy_domain,
        rua_present=True,
        document=policy,
    )
    insert(connection, "fact_row", key=key, disposition=row.disposition, document=document)
    for hour, count in hours.items():
        insert(connection, "fact", policy_key=policy_key, hour=hour, row_key=key, count=count)


def insert_first_event(connection: Connection, record: MessageRecord) -> None:
    columns = dict(zip(events._COLUMNS, events._rows(record, to_micros(RECEIVED_AT))[0], strict=True))
    insert(connection, "event", **columns)


def insert_first_held(connection: Connection, event_id: str) -> None:
    insert(
        connection,
        "quarantine",
        event_id=event_id,
        held_at=to_micros(RECEIVED_AT),
        state="held",
        changed_at=None,
        release_queue_id="",
        envelope=to_json(envelope_document(ENVELOPE)),
        message_id="<1@sender.example>",
        subject="Minutes",
        header_from="Alice <alice@sender.example>",
        author_domain="sender.example",
        reason="quarantine",
        size_octets=2048,
        sha256="0" * 64,
    )


def test_from_the_first_schema_to_the_second_nothing_is_lost(store_url: str) -> None:
    one, other = message("aaaaaaaaaaaa"), message("bbbbbbbbbbbb", passing("other.example"))
    url = database.parse_url(store_url)
    if url.get_backend_name() == "sqlite":
        database.create_database_file(database.database_file(url))
    engine = database.make_engine(url)
    with engine.begin() as connection:
        upgrade_to(connection, "0001")
        insert_first_event(connection, one)
        insert_first_event(connection, other)
        insert_first_facts(connection, one, {HOUR: 3, HOUR + 3600: 2, HOUR + DAY: 1})
        insert_first_held(connection, "aaaaaaaaaaaa")
    engine.dispose()

    assert upgrade(store_url) == REVISION

    with contextlib.closing(open_store(store_url)) as store:
        with (
            store.begin() as connection
        ):  # the same again, today and tomorrow: it counts in the rows that are there
            tomorrow = replace(ENVELOPE, received_at=RECEIVED_AT + timedelta(days=1))
            events.record(connection, [one, replace(one, event_id="cccccccccccc", envelope=tomorrow)])
        with store.read() as connection:
            counts = []
            for begin in (DAY_BEGIN, DAY_BEGIN + DAY):
                [group] = facts.policy_groups(connection, begin, begin + DAY)
                counts += [count for _, count in facts.aggregate_rows(connection, group, begin, begin + DAY)]
            held = quarantine.get(connection, "aaaaaaaaaaaa")
            searched = connection.execute(text("SELECT mail_from, client_ip, node FROM quarantine")).one()
            found = search(connection, EventQuery(author_domain="other.example")).events
    assert counts == [3 + 2 + 1, 1 + 1]
    assert held is not None
    assert held.envelope == ENVELOPE
    assert tuple(searched) == (ENVELOPE.mail_from, str(ENVELOPE.client_ip), "")
    assert [event.event_id for event in found] == ["bbbbbbbbbbbb"]
    assert found[0].envelope == ENVELOPE


def test_many_facts_of_the_first_schema_are_brought_over(store_url: str) -> None:
    """More than are read at once."""
    url = database.parse_url(store_url)
    if url.get_backend_name() == "sqlite":
        database.create_database_file(database.database_file(url))
    engine = database.make_engine(url)
    hours = {DAY_BEGIN + number * 3600: 1 for number in range(6000)}
    with engine.begin() as connection:
        upgrade_to(connection, "0001")
        insert_first_facts(connection, message(), hours)
    engine.dispose()

    upgrade(store_url)

    with contextlib.closing(open_store(store_url)) as store, store.read() as connection:
        assert search_index.first_unindexed(connection) == 0
        days = {}
        for day in range(6000 // 24):
            begin = DAY_BEGIN + day * DAY
            [group] = facts.policy_groups(connection, begin, begin + DAY)
            [(row, count)] = facts.aggregate_rows(connection, group, begin, begin + DAY)
            days[count] = row.policy_domain
        causes = facts.days_seen(connection, "sender.example", DAY_BEGIN, DAY_BEGIN + 250 * DAY)
        left = connection.execute(text("SELECT count(*) FROM fact_row WHERE length(key) = 16")).scalar()
    assert days == {24: "sender.example"}
    assert causes == 250, "what was counted before causes reports, as it did"
    assert left == 0
