"""The tables, as SQLAlchemy Core. Times are seconds since the epoch, UTC; `JSON` columns are small."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("digest", String(64), nullable=False, comment="HMAC-SHA256 of the secret"),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
    Column("user", String(96), comment="of the hub, who holds it; null is an operator"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("name", String(200), nullable=False),
    Column("digest", String(64), nullable=False, comment="of everything the job depends on"),
    Column("state", String(16), nullable=False, comment="see jobs.Job"),
    Column("spec", JSON, nullable=False),
    Column("error", Text),
    Column("error_code", String(64)),
    Column("wish", String(16), comment="pause | cancel: for whoever runs it to obey"),
    Column("owner", String(96), comment="folded name of a user; null is the operators'"),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Index("ix_jobs_digest", "digest"),
)

steps = Table(
    "steps",
    metadata,
    Column("job", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(32), primary_key=True),
    Column("state", String(16), nullable=False, comment="running | done | failed"),
    Column("attempts", Integer, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("progress", JSON),
    Column("output", JSON),
)

# Of a step that learns: how it stood after each of some steps of training.
job_points = Table(
    "job_points",
    metadata,
    Column("job", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("progress", JSON, nullable=False),
)

# Who works on what right now. A lease outlives its holder by seconds, so a kill never blocks.
leases = Table(
    "leases",
    metadata,
    Column("resource", String(250), primary_key=True),
    Column("owner", String(200), nullable=False, comment="host:pid:process start"),
    Column("until", Float, nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("job", String(32), nullable=False, unique=True),
    Column("content", JSON, nullable=False, comment="what is served, and its lineage"),
    Column("report", JSON, nullable=False),
    Column("verdict", JSON, nullable=False),
    Column("digest", String(64), nullable=False, comment="sha256 of content, report and verdict"),
    Column("signature", String(128), nullable=False, comment="Ed25519 over the digest, hex"),
    Column("created_at", Float, nullable=False),
)

live = Table(
    "live",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("number", Integer, nullable=False),
)

live_history = Table(
    "live_history",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String(100), nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("previous", Integer),
    Column("reason", String(200), nullable=False),
    Column("at", Float, nullable=False),
)

# Other names that models are called by: a release's, or an adapter's on the base that it was made for.
aliases = Table(
    "aliases",
    metadata,
    Column("name", String(250), primary_key=True),
    Column("release", String(120), comment="name@number"),
    Column("adapter", String(300), comment="owner/name@revision, where it is no release"),
    Column("created_at", Float, nullable=False),
)

# What OpenAI's clients call a fine-tuning job: a build, and what they want to know of it.
fine_tunings = Table(
    "fine_tunings",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", String(96), comment="folded name of a user; null is the operators'"),
    Column("job", String(32), comment="the build; null where it could not begin"),
    Column("name", String(100), nullable=False, comment="of the recipe and its release"),
    Column("called", String(250), nullable=False, comment="ft:BASE:ORG:SUFFIX:ID"),
    Column("asked", JSON, nullable=False, comment="what the job was made from"),
    Column("metadata", JSON(none_as_null=True)),
    Column("status", String(24), nullable=False, comment="the last that an event told of"),
    Column("error", JSON, comment="code, message and param"),
    Column("results", JSON, nullable=False, comment="ids of files"),
    Column("tokens", BigInteger, comment="trained on, all epochs together"),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
)

fine_tuning_events = Table(
    "fine_tuning_events",
    metadata,
    Column("id", String(80), primary_key=True),
    Column(
        "fine_tuning",
        String(40),
        ForeignKey("fine_tunings.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("created_at", Float, nullable=False),
    Column("level", String(8), nullable=False, comment="info | warn | error"),
    Column("message", Text, nullable=False),
    Column("type", String(16), nullable=False, comment="message | metrics"),
    Column("data", JSON),
)

# Documents that are searched together. `generation` names the chunks' place in the vector store.
knowledge_bases = Table(
    "knowledge_bases",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("generation", String(32), nullable=False),
    Column("embedder", String(250)),
    Column("vector_size", Integer),
    Column("chunking", JSON, nullable=False),
    Column("head", Integer, nullable=False, comment="number of the version that is searched now"),
    Column("created_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
)

# A content of a document, which never changes: what replaces it is another row. It belongs to the
# versions from `born` on and before `died`; one that is not born yet is being written.
documents = Table(
    "documents",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column(
        "knowledge",
        String(100),
        ForeignKey("knowledge_bases.name", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("path", Text, nullable=False),
    Column("source", Text, nullable=False, comment="the connector's name for it"),
    Column("title", Text, nullable=False),
    Column("digest", String(64), nullable=False, comment="of what was parsed, and with what"),
    Column("blob", String(64), nullable=False, comment="the parsed document, by sha256"),
    Column("size", BigInteger, nullable=False, comment="bytes of the source"),
    Column("bytes", BigInteger, nullable=False, comment="of the parsed text"),
    Column("pages", Integer, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("url", Text),
    Column("metadata", JSON, nullable=False),
    Column("access", JSON, comment="who may read it; null is everybody"),
    Column("published_at", Float),
    Column("expires_at", Float),
    Column("born", Integer),
    Column("died", Integer),
    Column("withdrawn", Boolean, nullable=False, default=False, comment="from all versions"),
    Index("ix_documents_knowledge_path", "knowledge", "path"),
    Index("ix_documents_knowledge_born", "knowledge", "born"),
    Index("ix_documents_knowledge_died", "knowledge", "died"),
    Index("ix_documents_knowledge_withdrawn", "knowledge", "withdrawn"),
    Index("ix_documents_knowledge_expires_at", "knowledge", "expires_at"),
)

# What each source held when it was read last, so that only what changed is read again.
knowledge_entries = Table(
    "knowledge_entries",
    metadata,
    Column(
        "knowledge",
        String(100),
        ForeignKey("knowledge_bases.name", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("source", Text, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("stamp", Text),
    Column("document", Text, comment="path of the document that was made of it"),
    Column("problem", Text, comment="why there is none"),
)

# Documents that are gone from the head, and whose chunks leave the store when it is not tended.
knowledge_leaving = Table(
    "knowledge_leaving",
    metadata,
    Column(
        "knowledge",
        String(100),
        ForeignKey("knowledge_bases.name", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("document", Integer, primary_key=True, autoincrement=False),
)

# Versions that are kept for ever unchanged, e.g. for a release.
knowledge_pins = Table(
    "knowledge_pins",
    metadata,
    Column(
        "knowledge",
        String(100),
        ForeignKey("knowledge_bases.name", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("number", Integer, primary_key=True),
    Column("generation", String(32), nullable=False),
    Column("embedder", String(250)),
    Column("vector_size", Integer),
    Column("made_at", Float, nullable=False),
)

# Files that callers upload, for whatever purpose they say.
files = Table(
    "files",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("filename", Text, nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("size", BigInteger, nullable=False, comment="bytes"),
    Column("blob", String(64), nullable=False, comment="by sha256"),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("owner", String(96), comment="folded name of a user; null is the operators'"),
)

# What OpenAI's clients call a knowledge base. `label` is their name for it, and not the only one.
vector_stores = Table(
    "vector_stores",
    metadata,
    Column("id", String(40), primary_key=True),
    Column(
        "knowledge",
        String(100),
        ForeignKey("knowledge_bases.name", ondelete="CASCADE"),
        nullable=False,
        unique=True,
    ),
    Column("label", Text, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("expires_days", Integer, comment="after it was last used"),
    Column("created_at", Float, nullable=False),
    Column("active_at", Float, nullable=False),
    Column("owner", String(96), comment="folded name of a user; null is the operators'"),
)

vector_store_batches = Table(
    "vector_store_batches",
    metadata,
    Column("id", String(40), primary_key=True),
    Column(
        "store",
        String(40),
        ForeignKey("vector_stores.id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("created_at", Float, nullable=False),
    Column("cancelled", Boolean, nullable=False),
)

vector_store_files = Table(
    "vector_store_files",
    metadata,
    Column(
        "store",
        String(40),
        ForeignKey("vector_stores.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("file", String(40), ForeignKey("files.id", ondelete="CASCADE"), primary_key=True),
    Column("batch", String(40)),
    Column(
        "state", String(16), nullable=False, comment="in_progress | completed | cancelled | failed"
    ),
    Column("error_code", String(32)),
    Column("error", Text),
    Column("attributes", JSON, nullable=False),
    Column("tokens", Integer, comment="of a chunk; null as the knowledge base has it"),
    Column("created_at", Float, nullable=False),
    Index("ix_vector_store_files_batch", "batch"),
)
