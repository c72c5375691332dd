"""The schema of the store, the same on SQLite and PostgreSQL.

Instants are integers: microseconds since 1970, UTC. Hours, and the periods of reports, are Unix seconds. Documents
are ASCII JSON text.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

REVISION = "0003"
"""The newest migration: what a database must stand at."""

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_Counter = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only where it is INTEGER
_Instant = BigInteger
_Hash = LargeBinary(16)
_RowKey = LargeBinary(18)

settings_revision = Table(
    "settings_revision",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("saved_at", _Instant, nullable=False),
    Column("author", String(64), nullable=False),
    Column("comment", String(500), nullable=False),
    Column("document", Text, nullable=False),
)

event = Table(
    "event",
    METADATA,
    Column("id", _Counter, primary_key=True),
    Column("event_id", String(12), nullable=False),
    Column("node", String(253), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("received_at", _Instant, nullable=False),
    Column("queue_id", String(64), nullable=False),
    Column("author_domain", String(253), nullable=False),
    Column("result", String(10), nullable=False),
    Column("policy", String(10), nullable=False),
    Column("policy_domain", String(253), nullable=False),
    Column("disposition", String(10), nullable=False),
    Column("outcome", String(10), nullable=False),
    Column("row", String(20), nullable=False),
    Column("skip", String(20), nullable=False),
    Column("client_ip", String(45), nullable=False),
    Column("mail_from", String(320), nullable=False),
    Column("header_from", String(320), nullable=False),
    Column("message_id", String(500), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("size_octets", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Column("answers", LargeBinary),
    # No other index: each entry at a random place of a large tree costs every message more than its whole row.
    # What an administrator searches for is indexed afterwards, block by block (search_index.py).
    Index(None, "received_at", "id"),
)

event_block = Table(
    "event_block",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("first_at", _Instant, nullable=False),
    Column("last_at", _Instant, nullable=False),
)

event_term = Table(
    "event_term",
    METADATA,
    Column("place", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("rare", LargeBinary, nullable=False),
    Column("frequent", LargeBinary, nullable=False),
)

published_policy = Table(
    "published_policy",
    METADATA,
    Column("key", _Hash, primary_key=True),
    Column("policy_domain", String(253), nullable=False),
    Column("rua_present", Boolean, nullable=False),
    Column("document", Text, nullable=False),
    Index(None, "policy_domain"),
)

fact_row = Table(
    "fact_row",
    METADATA,
    Column(
        "key", _RowKey, primary_key=True
    ),  # begins with its UTC day: new rows stand together, and go together
    Column("disposition", String(10), nullable=False),
    Column("document", Text, nullable=False),
)

fact = Table(
    "fact",
    METADATA,
    # In this order a report, and "on which days was this domain seen", each read one stretch.
    Column("policy_key", _Hash, primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("row_key", _RowKey, primary_key=True),
    Column("count", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

fact_day = Table(
    "fact_day",
    METADATA,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("new_rows", BigInteger, nullable=False),
)

fact_folded = Table(
    "fact_folded",
    METADATA,
    Column("policy_key", _Hash, primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

fact_cause = Table(
    "fact_cause",
    METADATA,
    Column("policy_key", _Hash, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

quarantine = Table(
    "quarantine",
    METADATA,
    Column("event_id", String(12), primary_key=True),
    Column("node", String(253), nullable=False),
    Column("held_at", _Instant, nullable=False),
    Column("state", String(10), nullable=False),
    Column("changed_at", _Instant),
    Column("release_queue_id", String(64), nullable=False),
    Column("release", Text, nullable=False),
    Column("envelope", Text, nullable=False),
    Column("message_id", String(500), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("header_from", String(320), nullable=False),
    Column("author_domain", String(253), nullable=False),
    Column("mail_from", String(320), nullable=False),
    Column("client_ip", String(45), nullable=False),
    Column("reason", String(200), nullable=False),
    Column("size_octets", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Index(None, "state", "held_at"),
)

exception_hit = Table(
    "exception_hit",
    METADATA,
    Column("key", String(600), primary_key=True),
    Column("hits", BigInteger, nullable=False),
    Column("last_at", _Instant, nullable=False),
)

report_job = Table(
    "report_job",
    METADATA,
    Column("id", _Counter, primary_key=True),
    Column("day", String(10), nullable=False),
    Column("policy_domain", String(253), nullable=False),
    Column("policy_key", String(32), nullable=False),
    Column("part", Integer, nullable=False),
    Column("begin", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
    Column("report_id", String(255), nullable=False),
    Column("status", String(10), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("destinations", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("size_octets", BigInteger, nullable=False),
    Column("message", LargeBinary),
    Column("legacy_message", LargeBinary),
    Column("xml_gz", LargeBinary),
    Column("due_at", _Instant),
    Column("lease_owner", String(128)),
    Column("lease_until", _Instant),
    Column("created_at", _Instant, nullable=False),
    Column("updated_at", _Instant, nullable=False),
    UniqueConstraint("day", "policy_domain", "policy_key", "part"),
    Index(None, "status"),
    Index(None, "report_id"),
)

report_attempt = Table(
    "report_attempt",
    METADATA,
    Column("id", _Counter, primary_key=True),
    Column("job_id", BigInteger, ForeignKey("report_job.id", ondelete="CASCADE"), nullable=False),
    Column("at", _Instant, nullable=False),
    Column("recipient", String(512), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("reply", String(500), nullable=False),
    Column("queue_id", String(64), nullable=False),
    Column("fate", String(10), nullable=False),
    Column("fate_at", _Instant),
    Column("diagnostic", String(500), nullable=False),
    Index(None, "job_id"),
    Index(None, "queue_id"),
)

report_destination = Table(
    "report_destination",
    METADATA,
    Column("address", String(512), primary_key=True),
    Column("first_at", _Instant, nullable=False),
    Column("last_at", _Instant, nullable=False),
    Index(None, "first_at"),
    Index(None, "last_at"),
)

report_copy = Table(
    "report_copy",
    METADATA,
    Column(
        "job_id",
        BigInteger,
        ForeignKey("report_job.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("recipient", String(512), primary_key=True),
    Column("form", String(10), nullable=False),
    Column("mail_from", String(320), nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("hand_over", Text, nullable=False),
)

report_day = Table(
    "report_day",
    METADATA,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("copies", BigInteger, nullable=False),
    Column("new_destinations", BigInteger, nullable=False),
    Column("waiting", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
)

suppression = Table(
    "suppression",
    METADATA,
    Column("address", String(512), primary_key=True),
    Column("until", _Instant),
    Column("reason", String(500), nullable=False),
    Column("strikes", Integer, nullable=False),
)

failure = Table(
    "failure",
    METADATA,
    Column("id", _Counter, primary_key=True),
    Column("key", _Hash, nullable=False),
    Column("alike", _Hash, nullable=False),
    Column("event_id", String(12), nullable=False),
    Column("policy_domain", String(253), nullable=False),
    Column("author_domain", String(253), nullable=False),
    Column("first_at", _Instant, nullable=False),
    Column("last_at", _Instant, nullable=False),
    Column("incidents", BigInteger, nullable=False),
    Column("reported", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Column("report_id", String(255), nullable=False),
    Column("status", String(10), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("destinations", Text, nullable=False),
    Column("message", LargeBinary),
    Column("lease_owner", String(128)),
    Column("lease_until", _Instant),
    Column("updated_at", _Instant, nullable=False),
    UniqueConstraint("key"),
    Index(None, "status"),
    *(Index(None, name) for name in ("alike", "first_at", "report_id", "updated_at")),
)

signing_key = Table(
    "signing_key",
    METADATA,
    Column("id", _Counter, primary_key=True),
    Column("domain", String(253), nullable=False),
    Column("selector", String(63), nullable=False),
    Column("algorithm", String(10), nullable=False),
    Column("state", String(10), nullable=False),
    Column("private_key", Text, nullable=False),
    Column("public_key", Text, nullable=False),
    Column("created_at", _Instant, nullable=False),
    Column("changed_at", _Instant, nullable=False),
    UniqueConstraint("domain", "selector"),
)

readiness = Table(
    "readiness",
    METADATA,
    Column("id", _Counter, primary_key=True),
    Column("at", _Instant, nullable=False),
    Column("identity", String(600), nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("document", Text, nullable=False),
)

last_run = Table(
    "last_run",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("at", _Instant, nullable=False),
    Column("message", LargeBinary),
)

secret = Table(
    "secret",
    METADATA,
    Column("purpose", String(64), primary_key=True),
    Column("key", LargeBinary, nullable=False),
)

account = Table(
    "account",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("password_hash", String(255), nullable=False),
    Column("role", String(10), nullable=False),
    Column("must_change", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created_at", _Instant, nullable=False),
    Column("password_set_at", _Instant),
)

session = Table(
    "session",
    METADATA,
    Column("token_hash", String(64), primary_key=True),
    Column("account", String(64), ForeignKey("account.name", ondelete="CASCADE"), nullable=False),
    Column("address", String(45), nullable=False),
    Column("opened_at", _Instant, nullable=False),
    Column("seen_at", _Instant, nullable=False),
    Index(None, "account"),
)

sign_in_attempt = Table(
    "sign_in_attempt",
    METADATA,
    Column("id", _Counter, primary_key=True),
    Column("at", _Instant, nullable=False),
    Column("account", String(64), nullable=False),
    Column("network", String(49), nullable=False),
    Index(None, "at"),
)

audit = Table(
    "audit",
    METADATA,
    Column("id", _Counter, primary_key=True),
    Column("at", _Instant, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("detail", Text, nullable=False),
    Column("address", String(45), nullable=False),
    Index(None, "at"),
)

node = Table(
    "node",
    METADATA,
    Column("node", String(253), primary_key=True),
    Column("worker", String(64), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("seen_at", _Instant, nullable=False),
    Column("counters", Text, nullable=False),
)
