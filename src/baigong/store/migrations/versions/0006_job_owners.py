"""Jobs have owners, and what a tuning tells on its way is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column(
            "owner",
            sa.String(length=96),
            nullable=True,
            comment="folded name of a user; null is the operators'",
        ),
    )
    op.execute(
        "UPDATE jobs SET owner ="
        " (SELECT fine_tunings.owner FROM fine_tunings WHERE fine_tunings.job = jobs.id)"
    )
    op.create_table(
        "job_points",
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("trial", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name=op.f("fk_job_points_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", "trial", "step", name=op.f("pk_job_points")),
    )
