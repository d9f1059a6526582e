"""Items, media, inbox, outbox, traces, and model aliases with their history."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "items",
        sa.Column("item_id", sa.String, nullable=False),
        sa.Column("owner_id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("media_id", sa.String, nullable=False),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("language", sa.String, nullable=False),
        sa.Column("category", sa.String, nullable=False),
        sa.Column("visibility", sa.String, nullable=False),
        sa.Column("blocked_regions", sa.JSON, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("unsafe", sa.Boolean, nullable=False),
        sa.Column("version_time_us", sa.BigInteger, nullable=False),
        sa.Column("version_seq", sa.BigInteger, nullable=False),
        sa.Column("event_id", sa.String, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("item_id", name="pk_items"),
        sa.CheckConstraint("state IN ('active', 'hidden', 'deleted')", name=op.f("ck_items_state")),
    )
    op.create_index("ix_items_owner_id", "items", ["owner_id"])
    op.create_index("ix_items_media_id", "items", ["media_id"])
    op.create_table(
        "media",
        sa.Column("media_id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("mime", sa.String, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("duration_s", sa.Double),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("media_id", name="pk_media"),
    )
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.String, nullable=False),
        sa.Column("event_id", sa.String, nullable=False),
        sa.Column("applied_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("consumer", "event_id", name="pk_inbox"),
    )
    op.create_index("ix_inbox_applied_at", "inbox", ["applied_at"])
    op.create_table(
        "outbox",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("topic", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("value", sa.LargeBinary),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("partition", sa.Integer),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "traces",
        sa.Column("trace_id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("trace_id", name="pk_traces"),
    )
    op.create_index("ix_traces_created_at", "traces", ["created_at"])
    op.create_table(
        "aliases",
        sa.Column("model", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("model", "name", name="pk_aliases"),
    )
    op.create_table(
        "alias_history",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("previous", sa.String),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alias_history"),
    )
    op.create_index("ix_alias_history_model", "alias_history", ["model"])


def downgrade() -> None:
    for table in ("alias_history", "aliases", "traces", "outbox", "inbox", "media", "items"):
        op.drop_table(table)
