"""What is wished of jobs, other names of models, and fine-tuning jobs with their events."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("error_code", sa.String(length=64), nullable=True))
    op.add_column(
        "jobs",
        sa.Column(
            "wish",
            sa.String(length=16),
            nullable=True,
            comment="pause | cancel: for whoever runs it to obey",
        ),
    )
    op.create_table(
        "aliases",
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("release", sa.String(length=120), nullable=True, comment="name@number"),
        sa.Column(
            "adapter",
            sa.String(length=300),
            nullable=True,
            comment="owner/name@revision, where it is no release",
        ),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_aliases")),
    )
    op.create_table(
        "fine_tunings",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column(
            "key",
            sa.String(length=16),
            nullable=False,
            comment="whose it is; empty where no key was needed",
        ),
        sa.Column(
            "job",
            sa.String(length=32),
            nullable=True,
            comment="the build; null where it could not begin",
        ),
        sa.Column(
            "name", sa.String(length=100), nullable=False, comment="of the recipe and its release"
        ),
        sa.Column("called", sa.String(length=250), nullable=False, comment="ft:BASE:ORG:SUFFIX:ID"),
        sa.Column("asked", sa.JSON(), nullable=False, comment="what the job was made from"),
        sa.Column("metadata", sa.JSON(), nullable=True),
        sa.Column(
            "status",
            sa.String(length=24),
            nullable=False,
            comment="the last that an event told of",
        ),
        sa.Column("error", sa.JSON(), nullable=True, comment="code, message and param"),
        sa.Column("results", sa.JSON(), nullable=False, comment="ids of files"),
        sa.Column(
            "tokens", sa.BigInteger(), nullable=True, comment="trained on, all epochs together"
        ),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fine_tunings")),
    )
    op.create_table(
        "fine_tuning_events",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("fine_tuning", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False, comment="info | warn | error"),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False, comment="message | metrics"),
        sa.Column("data", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["fine_tuning"],
            ["fine_tunings.id"],
            name=op.f("fk_fine_tuning_events_fine_tuning"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fine_tuning_events")),
    )
    op.create_index(
        "ix_fine_tuning_events_fine_tuning", "fine_tuning_events", ["fine_tuning"], unique=False
    )
