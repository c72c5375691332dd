"""Held mail names its node, its sender and how it was to be released; exceptions are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NEW = (
    ("node", sa.String(length=253)),
    ("release", sa.Text()),
    ("mail_from", sa.String(length=320)),
    ("client_ip", sa.String(length=45)),
)


def upgrade() -> None:
    with op.batch_alter_table("quarantine") as quarantine:
        for name, kind in _NEW:
            quarantine.add_column(sa.Column(name, kind, nullable=False, server_default=""))
    with op.batch_alter_table("quarantine") as quarantine:
        for name, kind in _NEW:
            quarantine.alter_column(name, existing_type=kind, existing_nullable=False, server_default=None)
    op.create_table(
        "exception_hit",
        sa.Column("key", sa.String(length=600), nullable=False),
        sa.Column("hits", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_exception_hit")),
    )
