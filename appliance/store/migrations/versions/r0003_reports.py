"""Reports are followed to their end; failure reports, signing keys and the readiness check find their place."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("report_job") as job:
        job.add_column(sa.Column("legacy_message", sa.LargeBinary(), nullable=True))
        job.add_column(sa.Column("due_at", sa.BigInteger(), nullable=True))
    _add("report_attempt", "fate", sa.String(length=10), "")
    with op.batch_alter_table("report_attempt") as attempt:
        attempt.add_column(sa.Column("fate_at", sa.BigInteger(), nullable=True))
    _add("report_attempt", "diagnostic", sa.String(length=500), "")
    op.create_index(op.f("ix_report_attempt_queue_id"), "report_attempt", ["queue_id"], unique=False)
    op.create_index(op.f("ix_report_job_report_id"), "report_job", ["report_id"], unique=False)
    _add("suppression", "strikes", sa.Integer(), "1")
    _causes()
    _destinations()
    _copies()
    _failures()
    _keys()


def _add(table: str, name: str, kind: sa.types.TypeEngine[Any], before: str) -> None:
    """A column that is never NULL; rows that are there get *before*."""
    with op.batch_alter_table(table) as changed:
        changed.add_column(sa.Column(name, kind, nullable=False, server_default=before))
    with op.batch_alter_table(table) as changed:
        changed.alter_column(name, existing_type=kind, existing_nullable=False, server_default=None)


def _destinations() -> None:
    op.create_table(
        "report_destination",
        sa.Column("address", sa.String(length=512), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_report_destination")),
    )
    for column in ("first_at", "last_at"):
        op.create_index(op.f(f"ix_report_destination_{column}"), "report_destination", [column], unique=False)
    op.create_table(
        "last_run",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_last_run")),
    )


def _causes() -> None:
    op.create_table(
        "fact_cause",
        sa.Column("policy_key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("policy_key", "day", name=op.f("pk_fact_cause")),
        sqlite_with_rowid=False,
    )
    # Of what was counted before nobody knows: it causes reports, as it did.
    op.execute(
        "INSERT INTO fact_cause (policy_key, day) SELECT DISTINCT policy_key, CAST(hour / 86400 AS INTEGER) FROM fact"
    )


def _copies() -> None:
    op.create_table(
        "report_copy",
        sa.Column("job_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recipient", sa.String(length=512), nullable=False),
        sa.Column("form", sa.String(length=10), nullable=False),
        sa.Column("mail_from", sa.String(length=320), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("hand_over", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["report_job.id"], name=op.f("fk_report_copy_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "recipient", name=op.f("pk_report_copy")),
    )
    op.create_table(
        "report_day",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("copies", "new_destinations", "waiting", "refused")
        ),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_report_day")),
    )


def _failures() -> None:
    op.create_table(
        "failure",
        sa.Column("id", _ID, nullable=False),
        sa.Column("key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("alike", sa.LargeBinary(length=16), nullable=False),
        sa.Column("event_id", sa.String(length=12), nullable=False),
        sa.Column("policy_domain", sa.String(length=253), nullable=False),
        sa.Column("author_domain", sa.String(length=253), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("incidents", sa.BigInteger(), nullable=False),
        sa.Column("reported", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("report_id", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("destinations", sa.Text(), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=True),
        sa.Column("lease_owner", sa.String(length=128), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_failure")),
        sa.UniqueConstraint("key", name=op.f("uq_failure_key")),
    )
    for column in ("status", "alike", "first_at", "report_id", "updated_at"):
        op.create_index(op.f(f"ix_failure_{column}"), "failure", [column], unique=False)


def _keys() -> None:
    op.create_table(
        "signing_key",
        sa.Column("id", _ID, nullable=False),
        sa.Column("domain", sa.String(length=253), nullable=False),
        sa.Column("selector", sa.String(length=63), nullable=False),
        sa.Column("algorithm", sa.String(length=10), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("private_key", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_key")),
        sa.UniqueConstraint("domain", "selector", name=op.f("uq_signing_key_domain_selector")),
    )
    op.create_table(
        "secret",
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("purpose", name=op.f("pk_secret")),
    )
    op.create_table(
        "readiness",
        sa.Column("id", _ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("identity", sa.String(length=600), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_readiness")),
    )
