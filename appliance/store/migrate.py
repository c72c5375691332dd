"""Run the migrations: one transaction, one process at a time."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, func, select, text

from appliance.store import database

MIGRATIONS = Path(__file__).with_name("migrations")
PATIENCE_SECONDS = 120  # another process may be upgrading
_LOCK = 0x646D6172  # any number, the same in all our programs


def upgrade(url: str) -> str:
    """Run all migrations that haven't run yet; returns the revision."""
    parsed = database.parse_url(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    if sqlite:
        database.create_database_file(database.database_file(parsed))
    engine = database.make_engine(parsed, busy_seconds=PATIENCE_SECONDS)
    try:
        with database.plain_errors(parsed), engine.begin() as connection:
            if not sqlite:
                connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            return run(connection)
    finally:
        engine.dispose()


def run(connection: Connection) -> str:
    """Run the migrations in the transaction of *connection*."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    found: str = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    return found
