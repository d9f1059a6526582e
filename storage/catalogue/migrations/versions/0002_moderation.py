"""Moderation: posts, decisions, labels, authors, reactions, reports, review, lists, policies, sweeps, audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "posts",
        sa.Column("post_id", sa.String, nullable=False),
        sa.Column("author_id", sa.String, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("media_ids", sa.JSON, nullable=False),
        sa.Column("links", sa.JSON, nullable=False),
        sa.Column("item_ids", sa.JSON, nullable=False),
        sa.Column("language", sa.String, nullable=False),
        sa.Column("device", sa.String),
        sa.Column("posted_at", TIME, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("version_time_us", sa.BigInteger, nullable=False),
        sa.Column("version_seq", sa.BigInteger, nullable=False),
        sa.Column("event_id", sa.String, nullable=False),
        sa.Column("words", sa.Integer, nullable=False),
        sa.Column("profane_words", sa.Integer, nullable=False),
        sa.Column("decision_id", sa.String),
        sa.Column("label", sa.String),
        sa.Column("label_harm", sa.String),
        sa.PrimaryKeyConstraint("post_id", name="pk_posts"),
        sa.CheckConstraint("state IN ('active', 'deleted')", name=op.f("ck_posts_state")),
    )
    op.create_index("ix_posts_author_id", "posts", ["author_id"])
    op.create_index("ix_posts_posted_at_post_id", "posts", ["posted_at", "post_id"])
    op.create_table(
        "decisions",
        sa.Column("decision_id", sa.String, nullable=False),
        sa.Column("post_id", sa.String, nullable=False),
        sa.Column("author_id", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("harm", sa.String),
        sa.Column("factor", sa.Double, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("actor_id", sa.String, nullable=False),
        sa.Column("policy_version", sa.String, nullable=False),
        sa.Column("model_version", sa.String, nullable=False),
        sa.Column("version_time_us", sa.BigInteger, nullable=False),
        sa.Column("version_seq", sa.BigInteger, nullable=False),
        sa.Column("of_time_us", sa.BigInteger, nullable=False),
        sa.Column("of_seq", sa.BigInteger, nullable=False),
        sa.Column("supersedes", sa.String),
        sa.Column("decided_at", TIME, nullable=False),
        sa.Column("scan", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("words", sa.LargeBinary, nullable=False),
        sa.Column("erased_by", sa.BigInteger),
        sa.PrimaryKeyConstraint("decision_id", name="pk_decisions"),
    )
    op.create_index("ix_decisions_actor_id_decision_id", "decisions", ["actor_id", "decision_id"])
    op.create_index("ix_decisions_author_id", "decisions", ["author_id"])
    op.create_index("ix_decisions_decided_at", "decisions", ["decided_at"])
    op.create_index("ix_decisions_post_id_version", "decisions", ["post_id", "version_time_us", "version_seq"])
    op.create_table(
        "labels",
        sa.Column("label_id", sa.String, nullable=False),
        sa.Column("post_id", sa.String, nullable=False),
        sa.Column("labelled_at", TIME, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("label_id", name="pk_labels"),
    )
    op.create_index("ix_labels_labelled_at", "labels", ["labelled_at"])
    op.create_index("ix_labels_post_id", "labels", ["post_id"])
    op.create_table(
        "authors",
        sa.Column("author_id", sa.String, nullable=False),
        sa.Column("posts", sa.Integer, nullable=False),
        sa.Column("words", sa.BigInteger, nullable=False),
        sa.Column("profane_words", sa.BigInteger, nullable=False),
        sa.Column("reports", sa.Integer, nullable=False),
        sa.Column("followers", sa.Integer, nullable=False),
        sa.Column("first_seen", TIME),
        sa.Column("joined_at", TIME),
        sa.Column("age_band", sa.String),
        sa.Column("gender", sa.String),
        sa.Column("city", sa.String),
        sa.Column("country", sa.String),
        sa.Column("language", sa.String),
        sa.Column("profile_time_us", sa.BigInteger),
        sa.Column("profile_seq", sa.BigInteger),
        sa.PrimaryKeyConstraint("author_id", name="pk_authors"),
    )
    op.create_table(
        "strikes",
        sa.Column("post_id", sa.String, nullable=False),
        sa.Column("author_id", sa.String, nullable=False),
        sa.Column("decision_id", sa.String, nullable=False),
        sa.Column("harm", sa.String),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("post_id", name="pk_strikes"),
    )
    op.create_index("ix_strikes_author_id", "strikes", ["author_id"])
    op.create_table(
        "post_reactions",
        sa.Column("post_id", sa.String, nullable=False),
        sa.Column("impressions", sa.BigInteger, nullable=False),
        sa.Column("likes", sa.BigInteger, nullable=False),
        sa.Column("shares", sa.BigInteger, nullable=False),
        sa.Column("comments", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("post_id", name="pk_post_reactions"),
    )
    op.create_table(
        "post_comments",
        sa.Column("event_id", sa.String, nullable=False),
        sa.Column("post_id", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_post_comments"),
    )
    op.create_index("ix_post_comments_post_id_at", "post_comments", ["post_id", "at"])
    op.create_index("ix_post_comments_user_id", "post_comments", ["user_id"])
    op.create_table(
        "reports",
        sa.Column("post_id", sa.String, nullable=False),
        sa.Column("reporter_id", sa.String, nullable=False),
        sa.Column("harm", sa.String, nullable=False),
        sa.Column("reported_at", TIME, nullable=False),
        sa.Column("event_id", sa.String, nullable=False),
        sa.Column("note", sa.String, nullable=False),
        sa.Column("shared", sa.JSON, nullable=False),
        sa.Column("outcome", sa.String),
        sa.PrimaryKeyConstraint("post_id", "reporter_id", "harm", name="pk_reports"),
    )
    op.create_index("ix_reports_reporter_id", "reports", ["reporter_id"])
    op.create_table(
        "review_jobs",
        sa.Column("job_id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("post_id", sa.String, nullable=False),
        sa.Column("decision_id", sa.String, nullable=False),
        sa.Column("appeal_id", sa.String),
        sa.Column("rank", sa.Double, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("harm", sa.String),
        sa.Column("sample_rate", sa.Double),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reviewer", sa.String),
        sa.Column("leased_until", TIME),
        sa.Column("seen_time_us", sa.BigInteger),
        sa.Column("seen_seq", sa.BigInteger),
        sa.Column("closed_at", TIME),
        sa.Column("closed_because", sa.String, nullable=False),
        sa.Column("outcome_id", sa.String),
        sa.PrimaryKeyConstraint("job_id", name="pk_review_jobs"),
        sa.CheckConstraint("state IN ('open', 'leased', 'done', 'moot')", name=op.f("ck_review_jobs_state")),
    )
    op.create_index("ix_review_jobs_post_id_created_at", "review_jobs", ["post_id", "created_at"])
    op.create_index(
        "ix_review_jobs_state_rank_created_at_job_id", "review_jobs", ["state", "rank", "created_at", "job_id"]
    )
    op.create_index(
        "uq_review_jobs_post_id_kind",
        "review_jobs",
        ["post_id", "kind"],
        unique=True,
        sqlite_where=sa.text("state IN ('open', 'leased')"),
        postgresql_where=sa.text("state IN ('open', 'leased')"),
    )
    op.create_table(
        "appeals",
        sa.Column("appeal_id", sa.String, nullable=False),
        sa.Column("decision_id", sa.String, nullable=False),
        sa.Column("post_id", sa.String, nullable=False),
        sa.Column("author_id", sa.String, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("closed_at", TIME),
        sa.Column("reviewer", sa.String),
        sa.Column("outcome_id", sa.String),
        sa.PrimaryKeyConstraint("appeal_id", name="pk_appeals"),
        sa.CheckConstraint("state IN ('open', 'upheld', 'reversed', 'moot')", name=op.f("ck_appeals_state")),
    )
    op.create_index("ix_appeals_author_id", "appeals", ["author_id"])
    op.create_index("ix_appeals_decision_id", "appeals", ["decision_id"])
    op.create_index("ix_appeals_post_id", "appeals", ["post_id"])
    op.create_index(
        "uq_appeals_decision_id",
        "appeals",
        ["decision_id"],
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "known_harm",
        sa.Column("list_name", sa.String, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
        sa.Column("harm", sa.String, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("added_by", sa.String, nullable=False),
        sa.Column("added_at", TIME, nullable=False),
        sa.Column("removed_at", TIME),
        sa.PrimaryKeyConstraint("list_name", "hash", name="pk_known_harm"),
    )
    op.create_index("ix_known_harm_seq", "known_harm", ["seq"])
    op.create_table(
        "policies",
        sa.Column("version", sa.String, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_policies"),
    )
    op.create_index("ix_policies_seen_at", "policies", ["seen_at"])
    op.create_table(
        "sweeps",
        sa.Column("sweep_id", sa.String, nullable=False),
        sa.Column("policy_version", sa.String, nullable=False),
        sa.Column("stages", sa.JSON, nullable=False),
        sa.Column("stage", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("started_by", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("decisions", sa.Integer, nullable=False),
        sa.Column("undone", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("sweep_id", name="pk_sweeps"),
        sa.CheckConstraint("state IN ('running', 'paused', 'done', 'undoing', 'undone')", name=op.f("ck_sweeps_state")),
    )
    op.create_index("ix_sweeps_started_at", "sweeps", ["started_at"])
    op.create_table(
        "audit_log",
        sa.Column("seq", SERIAL, autoincrement=False, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("prev_hash", sa.String, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_subject", "audit_log", ["subject"])


def downgrade() -> None:
    for table in (
        "audit_log",
        "sweeps",
        "policies",
        "known_harm",
        "appeals",
        "review_jobs",
        "reports",
        "post_comments",
        "post_reactions",
        "strikes",
        "authors",
        "labels",
        "decisions",
        "posts",
    ):
        op.drop_table(table)
