"""Raters, versions, battles and votes; votes and battles can be added, never changed or deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("battle", "vote")


def upgrade() -> None:
    """Build the five tables, their indexes and the triggers that keep two of them append-only."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "rater",
        sa.Column("id", sa.String(16), nullable=False, comment="HMAC-SHA256(pepper, kind, trust, subject)[:16]"),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("trust", sa.String(16), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("erased_at", moment),
        sa.PrimaryKeyConstraint("id", name="pk_rater"),
        sa.CheckConstraint("kind IN ('human', 'service', 'llm_judge', 'simulated')", name=op.f("ck_rater_kind")),
        sa.CheckConstraint("trust IN ('authenticated', 'anonymous')", name=op.f("ck_rater_trust")),
    )
    op.create_table(
        "deployment_version",
        sa.Column("adapter_sha256", sa.String(64), nullable=False),
        sa.Column("deployment", sa.String(64), nullable=False),
        sa.Column("major", sa.Integer, nullable=False),
        sa.Column("minor", sa.Integer, nullable=False),
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("parent_sha256", sa.String(64)),
        sa.Column("base_model", sa.String(256), nullable=False),
        sa.Column("asset_key", sa.String(256), nullable=False),
        sa.Column("materialization_run", sa.String(64)),
        sa.Column("mlflow_run", sa.String(64)),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("adapter_sha256", name="pk_deployment_version"),
        sa.UniqueConstraint("deployment", "major", "minor", name="uq_deployment_version_deployment_major_minor"),
    )
    op.create_table(
        "message_blob",
        sa.Column(
            "id", sa.String(64), nullable=False, comment="SHA-256 of the text; of a comment, salted with its vote"
        ),
        sa.Column("body", sa.Text, comment="NULL once erased"),
        sa.PrimaryKeyConstraint("id", name="pk_message_blob"),
    )
    op.create_table(
        "battle",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("deployment", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        *(_text_reference("battle", name) for name in ("prompt_blob", "response_left", "response_right")),
        *(_version_reference("battle", name) for name in ("version_left", "version_right")),
        sa.Column("prompt_hash", sa.String(64), nullable=False),
        sa.Column("text_hash_left", sa.String(64), nullable=False),
        sa.Column("text_hash_right", sa.String(64), nullable=False),
        sa.Column(
            "comparison_key", sa.String(64), nullable=False, comment="prompt and both texts, in no order of sides"
        ),
        sa.Column("chars_left", sa.Integer, nullable=False),
        sa.Column("chars_right", sa.Integer, nullable=False),
        sa.Column("finish_left", sa.String(8), nullable=False),
        sa.Column("finish_right", sa.String(8), nullable=False),
        sa.Column("tokens_left", sa.Integer),
        sa.Column("tokens_right", sa.Integer),
        sa.Column("total_ms_left", sa.Float(53)),
        sa.Column("total_ms_right", sa.Float(53)),
        sa.Column("seed", sa.BigInteger),
        sa.Column("gen_params_json", sa.Text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_battle"),
        sa.CheckConstraint("kind IN ('cross', 'self')", name=op.f("ck_battle_kind")),
        sa.CheckConstraint("finish_left IN ('stop', 'length', 'error')", name=op.f("ck_battle_finish_left")),
        sa.CheckConstraint("finish_right IN ('stop', 'length', 'error')", name=op.f("ck_battle_finish_right")),
    )
    op.create_index("ix_battle_deployment_comparison_key", "battle", ["deployment", "comparison_key"])
    op.create_table(
        "vote",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            autoincrement=False,
            nullable=False,
            comment="order of commit; the watermark's unit",
        ),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("deployment", sa.String(64), nullable=False, comment="that of the battle, for the index"),
        sa.Column("battle_id", sa.String(64), sa.ForeignKey("battle.id", name="fk_vote_battle_id"), nullable=False),
        sa.Column("rater_id", sa.String(16), sa.ForeignKey("rater.id", name="fk_vote_rater_id"), nullable=False),
        sa.Column("verdict", sa.String(8), nullable=False),
        sa.Column("reason_tags_json", sa.Text, nullable=False),
        sa.Column("comment_blob", sa.String(64), sa.ForeignKey("message_blob.id", name="fk_vote_comment_blob")),
        sa.Column("shown_at", moment),
        sa.Column("voted_at", moment, nullable=False),
        sa.Column("dwell_ms", sa.BigInteger),
        sa.Column("supersedes_vote_id", sa.String(64)),
        sa.Column("retracted", sa.Boolean, nullable=False),
        sa.Column("idempotency_key", sa.String(128)),
        sa.PrimaryKeyConstraint("seq", name="pk_vote"),
        sa.UniqueConstraint("id", name="uq_vote_id"),
        sa.UniqueConstraint("supersedes_vote_id", name="uq_vote_supersedes_vote_id"),
        sa.UniqueConstraint("rater_id", "idempotency_key", name="uq_vote_rater_id_idempotency_key"),
        sa.ForeignKeyConstraint(["supersedes_vote_id"], ["vote.id"], name="fk_vote_supersedes_vote_id"),
        sa.CheckConstraint("verdict IN ('left', 'right', 'tie', 'both_bad', 'skip')", name=op.f("ck_vote_verdict")),
    )
    op.create_index("ix_vote_deployment_seq", "vote", ["deployment", "seq"])
    op.create_index("ix_vote_battle_id_rater_id_seq", "vote", ["battle_id", "rater_id", "seq"])
    first_of_rater = sa.text("supersedes_vote_id IS NULL")
    op.create_index(
        "uq_vote_first_of_rater",
        "vote",
        ["battle_id", "rater_id"],
        unique=True,
        sqlite_where=first_of_rater,
        postgresql_where=first_of_rater,
    )
    _make_append_only()


def downgrade() -> None:
    """Drop everything that `upgrade` built, votes included."""
    for table in ("vote", "battle", "message_blob", "deployment_version", "rater"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION feedback_refuse_change()")


def _text_reference(table: str, name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(64), sa.ForeignKey("message_blob.id", name=f"fk_{table}_{name}"), nullable=False)


def _version_reference(table: str, name: str) -> sa.Column[str]:
    target = sa.ForeignKey("deployment_version.adapter_sha256", name=f"fk_{table}_{name}")
    return sa.Column(name, sa.String(64), target, nullable=False)


def _make_append_only() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in APPEND_ONLY:
            for change in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_refuses_{change.lower()} BEFORE {change} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                )
        return
    op.execute(
        "CREATE FUNCTION feedback_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_refuses_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION feedback_refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_refuses_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION feedback_refuse_change()"
        )
