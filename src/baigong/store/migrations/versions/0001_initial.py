"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column(
            "digest",
            sa.String(length=64),
            nullable=False,
            comment="of everything the job depends on",
        ),
        sa.Column(
            "state",
            sa.String(length=16),
            nullable=False,
            comment="see jobs.Job",
        ),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_digest", "jobs", ["digest"], unique=False)
    op.create_table(
        "keys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column(
            "digest", sa.String(length=64), nullable=False, comment="HMAC-SHA256 of the secret"
        ),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keys")),
    )
    op.create_table(
        "leases",
        sa.Column("resource", sa.String(length=250), nullable=False),
        sa.Column("owner", sa.String(length=200), nullable=False, comment="host:pid:process start"),
        sa.Column("until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("resource", name=op.f("pk_leases")),
    )
    op.create_table(
        "live",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_live")),
    )
    op.create_table(
        "live_history",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("previous", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_history")),
    )
    op.create_index(op.f("ix_live_history_name"), "live_history", ["name"], unique=False)
    op.create_table(
        "releases",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False, comment="what is served, and its lineage"),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("verdict", sa.JSON(), nullable=False),
        sa.Column(
            "digest",
            sa.String(length=64),
            nullable=False,
            comment="sha256 of content, report and verdict",
        ),
        sa.Column(
            "signature",
            sa.String(length=128),
            nullable=False,
            comment="Ed25519 over the digest, hex",
        ),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", "number", name=op.f("pk_releases")),
        sa.UniqueConstraint("job", name=op.f("uq_releases_job")),
    )
    op.create_table(
        "repositories",
        sa.Column(
            "kind", sa.String(length=16), nullable=False, comment="model | dataset | adapter"
        ),
        sa.Column("name", sa.String(length=200), nullable=False, comment="owner/name"),
        sa.Column(
            "revision", sa.String(length=64), nullable=False, comment="sha256 of the manifest"
        ),
        sa.Column("manifest", sa.JSON(), nullable=False, comment="path -> [sha256, bytes]"),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", "revision", name=op.f("pk_repositories")),
    )
    op.create_table(
        "steps",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="running | done | failed"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("progress", sa.JSON(), nullable=True),
        sa.Column("output", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name=op.f("fk_steps_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", "name", name=op.f("pk_steps")),
    )


def downgrade() -> None:
    op.drop_table("steps")
    op.drop_table("repositories")
    op.drop_table("releases")
    op.drop_index(op.f("ix_live_history_name"), table_name="live_history")
    op.drop_table("live_history")
    op.drop_table("live")
    op.drop_table("leases")
    op.drop_table("keys")
    op.drop_index("ix_jobs_digest", table_name="jobs")
    op.drop_table("jobs")
