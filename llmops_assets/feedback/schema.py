"""The tables of the feedback store; `migrations/` builds them, and a test proves that both agree.

Text lives in `message_blob` alone, so that it can be erased without touching what was decided about it.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

ALEMBIC_VERSION_TABLE = "fb_alembic_version"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, kept in UTC. SQLite has no time zones, so what it returns is labelled UTC again."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# On SQLite only a key of type INTEGER is the table's own order; it has 64 bits there, too.
sequence_type = BigInteger().with_variant(Integer, "sqlite")

rater = Table(
    "rater",
    metadata,
    Column("id", String(16), primary_key=True, comment="HMAC-SHA256(pepper, kind, trust, subject)[:16]"),
    Column("kind", String(16), nullable=False),
    Column("trust", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("erased_at", UtcDateTime),
    CheckConstraint("kind IN ('human', 'service', 'llm_judge', 'simulated')", name="kind"),
    CheckConstraint("trust IN ('authenticated', 'anonymous')", name="trust"),
)

deployment_version = Table(
    "deployment_version",
    metadata,
    Column("adapter_sha256", String(64), primary_key=True),
    Column("deployment", String(64), nullable=False),
    Column("major", Integer, nullable=False),
    Column("minor", Integer, nullable=False),
    Column("stage", String(64), nullable=False),
    Column("parent_sha256", String(64)),
    Column("base_model", String(256), nullable=False),
    Column("asset_key", String(256), nullable=False),
    Column("materialization_run", String(64)),
    Column("mlflow_run", String(64)),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("deployment", "major", "minor"),
)

message_blob = Table(
    "message_blob",
    metadata,
    Column("id", String(64), primary_key=True, comment="SHA-256 of the text; of a comment, salted with its vote"),
    Column("body", Text, comment="NULL once erased"),
)

battle = Table(
    "battle",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("deployment", String(64), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("source", String(64), nullable=False),
    Column("prompt_blob", ForeignKey("message_blob.id"), nullable=False),
    Column("response_left", ForeignKey("message_blob.id"), nullable=False),
    Column("response_right", ForeignKey("message_blob.id"), nullable=False),
    Column("version_left", ForeignKey("deployment_version.adapter_sha256"), nullable=False),
    Column("version_right", ForeignKey("deployment_version.adapter_sha256"), nullable=False),
    Column("prompt_hash", String(64), nullable=False),
    Column("text_hash_left", String(64), nullable=False),
    Column("text_hash_right", String(64), nullable=False),
    Column("comparison_key", String(64), nullable=False, comment="prompt and both texts, in no order of sides"),
    Column("chars_left", Integer, nullable=False),
    Column("chars_right", Integer, nullable=False),
    Column("finish_left", String(8), nullable=False),
    Column("finish_right", String(8), nullable=False),
    Column("tokens_left", Integer),
    Column("tokens_right", Integer),
    Column("total_ms_left", Float(53)),
    Column("total_ms_right", Float(53)),
    Column("seed", BigInteger),
    Column("gen_params_json", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("kind IN ('cross', 'self')", name="kind"),
    CheckConstraint("finish_left IN ('stop', 'length', 'error')", name="finish_left"),
    CheckConstraint("finish_right IN ('stop', 'length', 'error')", name="finish_right"),
    Index(None, "deployment", "comparison_key"),
)

vote = Table(
    "vote",
    metadata,
    Column(
        "seq", sequence_type, primary_key=True, autoincrement=False, comment="order of commit; the watermark's unit"
    ),
    Column("id", String(64), nullable=False, unique=True),
    Column("deployment", String(64), nullable=False, comment="that of the battle, for the index"),
    Column("battle_id", ForeignKey("battle.id"), nullable=False),
    Column("rater_id", ForeignKey("rater.id"), nullable=False),
    Column("verdict", String(8), nullable=False),
    Column("reason_tags_json", Text, nullable=False),
    Column("comment_blob", ForeignKey("message_blob.id")),
    Column("shown_at", UtcDateTime),
    Column("voted_at", UtcDateTime, nullable=False),
    Column("dwell_ms", BigInteger),
    # Unique here and for first votes below: the edits of one rater on one battle form a chain, never a tree.
    Column("supersedes_vote_id", ForeignKey("vote.id"), unique=True),
    Column("retracted", Boolean, nullable=False),
    Column("idempotency_key", String(128)),
    CheckConstraint("verdict IN ('left', 'right', 'tie', 'both_bad', 'skip')", name="verdict"),
    UniqueConstraint("rater_id", "idempotency_key"),
    Index(None, "deployment", "seq"),
    Index(None, "battle_id", "rater_id", "seq"),
)
Index(
    "uq_vote_first_of_rater",
    vote.c.battle_id,
    vote.c.rater_id,
    unique=True,
    sqlite_where=vote.c.supersedes_vote_id.is_(None),
    postgresql_where=vote.c.supersedes_vote_id.is_(None),
)
