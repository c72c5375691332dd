"""Opening the store, its transactions and its troubles."""

import ast
import contextlib
import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

from appliance.store import audit
from appliance.store import database as store_database
from appliance.store.engine import (
    InvalidStoreUrl,
    SchemaMismatch,
    Store,
    StoreUnavailable,
    open_store,
    store_at,
    upgrade,
)
from appliance.store.migrate import MIGRATIONS
from appliance.store.schema import METADATA, REVISION

PACKAGE = Path(store_database.__file__).parent


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """Freshly made by ``open_store`` in an empty database, unlike that of the other modules."""
    opened = open_store(store_url, create=True)
    yield opened
    opened.close()


def path_of(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


def actions(store: Store) -> list[str]:
    with store.read() as connection:
        return [entry.action for entry in audit.recent(connection)]


def test_the_migrations_make_exactly_the_schema(store: Store) -> None:
    with store.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        differences = compare_metadata(context, METADATA)

    assert differences == []


def test_the_newest_migration_is_the_revision_that_the_program_asks_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_tables_without_row_numbers_are_the_same_in_migrations_and_schema(
    sqlite_url: str, tmp_path: Path
) -> None:
    upgrade(sqlite_url)
    directly = create_engine(f"sqlite:///{tmp_path / 'direct.db'}")
    METADATA.create_all(directly)
    directly.dispose()

    kinds = []
    for path in (path_of(sqlite_url), tmp_path / "direct.db"):
        connection = sqlite3.connect(path)
        listed = connection.execute("SELECT name, wr FROM pragma_table_list WHERE schema = 'main'")
        kinds.append({row for row in listed if row[0] != "alembic_version"})
        connection.close()

    assert kinds[0] == kinds[1]
    assert ("fact", 1) in kinds[0]


def test_a_missing_database_is_not_made_by_mistake(sqlite_url: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"dmarcgate\.db is missing: .*db upgrade"):
        open_store(sqlite_url)

    assert not path_of(sqlite_url).exists()


def test_an_empty_database_is_made_ready_only_when_asked(store_url: str) -> None:
    if store_url.startswith("sqlite"):
        path_of(store_url).touch()

    with pytest.raises(SchemaMismatch, match="dmarcgate db upgrade"):
        open_store(store_url)
    open_store(store_url, create=True).close()
    open_store(store_url).close()


def test_the_files_of_a_new_database_belong_to_the_group_of_the_services(sqlite_url: str) -> None:
    previous = os.umask(0o077)
    try:
        store = open_store(sqlite_url, create=True)
        with store.begin() as connection:
            audit.write(connection, "test", "noted")
        files = list(path_of(sqlite_url).parent.glob("dmarcgate.db*"))
        modes = {stat.S_IMODE(file.stat().st_mode) for file in files}
        store.close()
    finally:
        os.umask(previous)

    assert len(files) == 3
    assert modes == {0o660}


@pytest.mark.parametrize(
    ("revision", "advice"),
    [
        pytest.param("0000", "dmarcgate db upgrade", id="older"),
        pytest.param("9999", "newer than this program", id="newer"),
    ],
)
def test_a_database_of_another_version_is_left_alone(store: Store, revision: str, advice: str) -> None:
    with store.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})

    with pytest.raises(SchemaMismatch, match=advice):
        open_store(store.url, create=True)


def test_a_database_of_another_program_is_left_alone(store_url: str) -> None:
    if store_url.startswith("sqlite"):
        path_of(store_url).touch()
    engine = store_database.make_engine(store_database.parse_url(store_url))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE theirs (id INTEGER)"))

    with pytest.raises(SchemaMismatch, match="not ours"):
        open_store(store_url, create=True)

    assert inspect(engine).get_table_names() == ["theirs"]
    engine.dispose()


def test_two_processes_may_upgrade_at_once(store_url: str) -> None:
    context = multiprocessing.get_context("spawn")

    with context.Pool(2) as pool:
        revisions = pool.map(upgrade, [store_url, store_url], chunksize=1)
        pool.close()
        pool.join()

    assert revisions == [REVISION, REVISION]
    open_store(store_url).close()


def test_a_reading_transaction_can_not_write(store: Store) -> None:
    with pytest.raises((StoreUnavailable, DBAPIError)), store.read() as connection:
        audit.write(connection, "test", "noted")

    assert actions(store) == []


def test_a_reader_does_not_wait_for_a_writer(store: Store) -> None:
    with store.begin() as connection:
        audit.write(connection, "test", "noted")

        during = actions(store)

    assert during == []
    assert actions(store) == ["noted"]


def test_a_transaction_that_raises_leaves_nothing(store: Store) -> None:
    with pytest.raises(KeyError), store.begin() as connection:  # noqa: PT012  the write must come before
        audit.write(connection, "test", "noted")
        raise KeyError

    assert actions(store) == []


def test_writers_wait_for_each_other(store: Store) -> None:
    def write(number: int) -> None:
        with store.begin() as connection:
            audit.recent(connection)
            audit.write(connection, "test", str(number))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(20)))

    assert sorted(actions(store), key=int) == [str(number) for number in range(20)]


def test_what_was_committed_survives_kill_9(store: Store) -> None:
    program = (
        "import os, signal, sys\n"
        "from appliance.store import audit\n"
        "from appliance.store.engine import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "with store.begin() as connection:\n"
        "    audit.write(connection, 'test', 'committed')\n"
        "with store.begin() as connection:\n"
        "    audit.write(connection, 'test', 'not committed')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    ended = subprocess.run([sys.executable, "-c", program, store.url], check=False)

    assert ended.returncode == -signal.SIGKILL
    assert actions(store) == ["committed"]


def test_sqlite_syncs_every_commit(sqlite_url: str) -> None:
    """F12: nothing acknowledged is lost when the power fails."""
    store = open_store(sqlite_url, create=True)

    with store.begin() as connection:
        journal = connection.scalar(text("PRAGMA journal_mode"))
        synchronous = connection.scalar(text("PRAGMA synchronous"))

    store.close()
    assert (journal, synchronous) == ("wal", 2)


def test_a_locked_database_is_reported_in_plain_words(sqlite_url: str) -> None:
    open_store(sqlite_url, create=True).close()
    other = sqlite3.connect(path_of(sqlite_url), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    url = store_database.parse_url(sqlite_url)
    store = Store(url, store_database.make_engine(url, busy_seconds=0.05))

    with pytest.raises(StoreUnavailable, match="stays locked by another program"), store.begin():
        pass

    store.close()
    other.close()


def test_a_damaged_database_is_reported_in_plain_words(sqlite_url: str) -> None:
    path_of(sqlite_url).write_bytes(b"This is not a database, whatever its name says. " * 100)

    with pytest.raises(StoreUnavailable, match=r"is damaged \(file is not a database\): .*restore a backup"):
        open_store(sqlite_url, create=True)


def test_f8_a_database_put_in_the_place_of_another_is_used_from_then_on(sqlite_url: str) -> None:
    """And the old file's last connection does not delete the new one's log, whose name is the same."""
    path = path_of(sqlite_url)
    store = open_store(sqlite_url, create=True)
    with store.begin() as connection:
        audit.write(connection, "test", "old")
    for file in path.parent.glob("dmarcgate.db*"):
        file.rename(file.with_name("aside" + file.suffix))
    with contextlib.closing(open_store(sqlite_url, create=True)) as new:
        with new.begin() as connection:
            audit.write(connection, "test", "new")

        with store.begin() as connection:
            audit.write(connection, "test", "second")
        store.close()

        assert path.with_name("dmarcgate.db-wal").exists()
        assert actions(new) == ["second", "new"]


def test_f8_a_database_that_vanished_is_named_and_not_made_anew(sqlite_url: str) -> None:
    store = open_store(sqlite_url, create=True)
    path_of(sqlite_url).unlink()

    with pytest.raises(StoreUnavailable, match=r"dmarcgate\.db is missing: restore a backup"):
        actions(store)

    store.close()
    assert not path_of(sqlite_url).exists()


def test_f9_a_server_that_takes_no_writes_is_named_and_asked_anew_when_it_does(postgresql_url: str) -> None:
    store, other = open_store(postgresql_url, create=True), open_store(postgresql_url)
    read_only = "ALTER DATABASE {} SET default_transaction_read_only = {}"
    name = postgresql_url.rpartition("/")[2]
    with other.begin() as connection:
        connection.exec_driver_sql(read_only.format(name, "on"))
    store.close()  # its connections, that is

    with pytest.raises(StoreUnavailable, match="takes no writes: its server is a read-only standby"):
        note(store)
    with other.begin() as connection:
        connection.exec_driver_sql(read_only.format(name, "off"))
    note(store)

    assert actions(store) == ["noted"]
    store.close()
    other.close()


def test_a_database_that_lost_its_tables_is_reported_with_the_remedy(store: Store) -> None:
    with store.begin() as connection:
        connection.execute(text("DROP TABLE audit"))

    with pytest.raises(StoreUnavailable, match=r"lacks our tables \(.*audit.*\); run: dmarcgate db upgrade"):
        note(store)


def test_a_store_need_not_be_there_to_be_named(store_url: str) -> None:
    """For a worker that must come up while the database is down."""
    store = store_at(store_url)

    with pytest.raises(StoreUnavailable):
        note(store)
    open_store(store_url, create=True).close()
    note(store)

    assert actions(store) == ["noted"]
    store.close()


def note(store: Store) -> None:
    with store.begin() as connection:
        audit.write(connection, "test", "noted")


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"nowhere/x\.db can't be created: No such file"):
        open_store(f"sqlite:///{tmp_path}/nowhere/x.db", create=True)


def test_a_server_that_does_not_answer_is_named_without_its_password(free_port: object) -> None:
    assert callable(free_port)
    url = f"postgresql://gate:s3cret@127.0.0.1:{free_port()}/mail"

    with pytest.raises(StoreUnavailable) as unavailable:
        open_store(url)

    assert str(unavailable.value).startswith("the database mail on 127.0.0.1 can't be used: ")
    assert "\n" not in str(unavailable.value)
    assert "s3cret" not in str(unavailable.value)


def test_a_password_is_not_shown(store_url: str) -> None:
    parsed = store_database.parse_url("postgresql://gate:s3cret@db.example/mail")
    store = Store(parsed, store_database.make_engine(parsed))

    assert repr(store) == "Store('postgresql+psycopg://gate:***@db.example/mail')"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("", id="nothing"),
        pytest.param("dmarcgate.db", id="a path"),
        pytest.param("sqlite://", id="memory"),
        pytest.param("sqlite:///:memory:", id="memory by name"),
        pytest.param("mysql://db.example/mail", id="another database"),
        pytest.param("postgresql://db.example:port/mail", id="no port number"),
    ],
)
def test_a_url_that_can_name_no_store_is_refused(url: str) -> None:
    with pytest.raises(InvalidStoreUrl, match="sqlite:////var/lib"):
        open_store(url, create=True)


def test_no_statement_is_put_together_from_strings() -> None:
    """T28: parameters are bound; the only strings that are executed are constants."""
    executors = {"execute", "executemany", "exec_driver_sql", "scalar", "text", "DDL", "literal_column"}
    built = (ast.JoinedStr, ast.BinOp)
    suspicious = []
    for path in PACKAGE.rglob("*.py"):
        module = ast.parse(path.read_text(encoding="utf-8"))
        plain = {  # our own text() cuts values to their column's length
            alias.name
            for node in ast.walk(module)
            if isinstance(node, ast.ImportFrom) and node.module == "appliance.store.values"
            for alias in node.names
        }
        for call in ast.walk(module):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            if isinstance(call.func, ast.Name) and name in plain:
                continue
            formatted = isinstance(call.args[0], ast.Call) and (
                getattr(call.args[0].func, "attr", "") in {"format", "join"}
            )
            if name in executors and (isinstance(call.args[0], built) or formatted):
                suspicious.append(f"{path.name}:{call.lineno}")

    assert suspicious == []


def test_every_text_column_has_a_bound_or_is_a_document() -> None:
    unbounded = {
        f"{table.name}.{column.name}"
        for table in METADATA.tables.values()
        for column in table.columns
        if column.type.python_type is str and getattr(column.type, "length", None) is None
    }

    assert unbounded == {
        "settings_revision.document",
        "event.document",
        "published_policy.document",
        "fact_row.document",
        "quarantine.envelope",
        "quarantine.release",
        "report_job.destinations",
        "report_copy.hand_over",
        "failure.document",
        "failure.destinations",
        "signing_key.private_key",
        "signing_key.public_key",
        "readiness.document",
        "audit.detail",
        "node.counters",
    }
