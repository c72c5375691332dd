"""What Alembic runs: the migrations, in the transaction it was handed."""

from alembic import context

from appliance.store.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite can't alter a column in place
)
context.run_migrations()
