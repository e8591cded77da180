"""Knowledge bases: documents, what their sources held, and the versions that are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "knowledge_bases",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("generation", sa.String(length=32), nullable=False),
        sa.Column("embedder", sa.String(length=250), nullable=True),
        sa.Column("vector_size", sa.Integer(), nullable=True),
        sa.Column("chunking", sa.JSON(), nullable=False),
        sa.Column(
            "head",
            sa.Integer(),
            nullable=False,
            comment="number of the version that is searched now",
        ),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_knowledge_bases")),
    )
    op.create_table(
        "documents",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("knowledge", sa.String(length=100), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="the connector's name for it"),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column(
            "digest",
            sa.String(length=64),
            nullable=False,
            comment="of what was parsed, and with what",
        ),
        sa.Column(
            "blob", sa.String(length=64), nullable=False, comment="the parsed document, by sha256"
        ),
        sa.Column("size", sa.BigInteger(), nullable=False, comment="bytes of the source"),
        sa.Column("bytes", sa.BigInteger(), nullable=False, comment="of the parsed text"),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("access", sa.JSON(), nullable=True, comment="who may read it; null is everybody"),
        sa.Column("published_at", sa.Float(), nullable=True),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.Column("born", sa.Integer(), nullable=True),
        sa.Column("died", sa.Integer(), nullable=True),
        sa.Column("withdrawn", sa.Boolean(), nullable=False, comment="from all versions"),
        sa.ForeignKeyConstraint(
            ["knowledge"],
            ["knowledge_bases.name"],
            name=op.f("fk_documents_knowledge"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_documents")),
    )
    for column in ("died", "withdrawn", "expires_at"):
        name = f"ix_documents_knowledge_{column}"
        op.create_index(name, "documents", ["knowledge", column], unique=False)
    op.create_index("ix_documents_knowledge_born", "documents", ["knowledge", "born"], unique=False)
    op.create_index("ix_documents_knowledge_path", "documents", ["knowledge", "path"], unique=False)
    op.create_table(
        "knowledge_entries",
        sa.Column("knowledge", sa.String(length=100), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("stamp", sa.Text(), nullable=True),
        sa.Column(
            "document", sa.Text(), nullable=True, comment="path of the document that was made of it"
        ),
        sa.Column("problem", sa.Text(), nullable=True, comment="why there is none"),
        sa.ForeignKeyConstraint(
            ["knowledge"],
            ["knowledge_bases.name"],
            name=op.f("fk_knowledge_entries_knowledge"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("knowledge", "source", "path", name=op.f("pk_knowledge_entries")),
    )
    op.create_table(
        "knowledge_pins",
        sa.Column("knowledge", sa.String(length=100), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("generation", sa.String(length=32), nullable=False),
        sa.Column("embedder", sa.String(length=250), nullable=True),
        sa.Column("vector_size", sa.Integer(), nullable=True),
        sa.Column("made_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["knowledge"],
            ["knowledge_bases.name"],
            name=op.f("fk_knowledge_pins_knowledge"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("knowledge", "number", name=op.f("pk_knowledge_pins")),
    )
