"""Measures of moderation: impressions drawn by chance, and what a post was shown before it was taken down."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "impression_draws",
        sa.Column("event_id", sa.String, nullable=False),
        sa.Column("post_id", sa.String, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("rate", sa.Double, nullable=False),
        sa.Column("seen_time_us", sa.BigInteger, nullable=False),
        sa.Column("seen_seq", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_impression_draws"),
    )
    op.create_index("ix_impression_draws_at_post_id", "impression_draws", ["at", "post_id"])
    op.add_column("strikes", sa.Column("impressions", sa.BigInteger))
    op.create_index("ix_strikes_at", "strikes", ["at"])
    op.create_index("ix_reports_reported_at", "reports", ["reported_at"])
    op.drop_column("reports", "shared")  # nothing ever filled it
    # A post that is down is shown to nobody: what was counted since it came down is what came late.
    op.execute(
        "UPDATE strikes SET impressions = coalesce("
        "(SELECT impressions FROM post_reactions WHERE post_reactions.post_id = strikes.post_id), 0)"
    )


def downgrade() -> None:
    op.add_column("reports", sa.Column("shared", sa.JSON, nullable=False, server_default="[]"))
    op.drop_index("ix_reports_reported_at", "reports")
    op.drop_index("ix_strikes_at", "strikes")
    op.drop_column("strikes", "impressions")
    op.drop_table("impression_draws")
