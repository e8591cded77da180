"""Files that callers upload, the vector stores that they are attached to, and chunks that leave later."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "knowledge_leaving",
        sa.Column("knowledge", sa.String(length=100), nullable=False),
        sa.Column("document", sa.Integer(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["knowledge"],
            ["knowledge_bases.name"],
            name=op.f("fk_knowledge_leaving_knowledge"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("knowledge", "document", name=op.f("pk_knowledge_leaving")),
    )
    op.create_table(
        "files",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False, comment="bytes"),
        sa.Column("blob", sa.String(length=64), nullable=False, comment="by sha256"),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_files")),
    )
    op.create_table(
        "vector_stores",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("knowledge", sa.String(length=100), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("expires_days", sa.Integer(), nullable=True, comment="after it was last used"),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("active_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["knowledge"],
            ["knowledge_bases.name"],
            name=op.f("fk_vector_stores_knowledge"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vector_stores")),
        sa.UniqueConstraint("knowledge", name=op.f("uq_vector_stores_knowledge")),
    )
    op.create_table(
        "vector_store_batches",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("store", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["store"],
            ["vector_stores.id"],
            name=op.f("fk_vector_store_batches_store"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vector_store_batches")),
    )
    op.create_table(
        "vector_store_files",
        sa.Column("store", sa.String(length=40), nullable=False),
        sa.Column("file", sa.String(length=40), nullable=False),
        sa.Column("batch", sa.String(length=40), nullable=True),
        sa.Column(
            "state",
            sa.String(length=16),
            nullable=False,
            comment="in_progress | completed | cancelled | failed",
        ),
        sa.Column("error_code", sa.String(length=32), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column(
            "tokens",
            sa.Integer(),
            nullable=True,
            comment="of a chunk; null as the knowledge base has it",
        ),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["store"],
            ["vector_stores.id"],
            name=op.f("fk_vector_store_files_store"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["file"], ["files.id"], name=op.f("fk_vector_store_files_file"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("store", "file", name=op.f("pk_vector_store_files")),
    )
    op.create_index("ix_vector_store_files_batch", "vector_store_files", ["batch"], unique=False)
