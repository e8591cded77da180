"""The hub's tables: who owns what, repositories with their commits, and what of an upload is here.

Names are compared as their lower case (`folded`), and shown as they were written first.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from baigong.store.tables import metadata

# Owners of repositories. A user's is held by keys, an organisation's by its members.
namespaces = Table(
    "namespaces",
    metadata,
    Column("folded", String(96), primary_key=True),
    Column("name", String(96), nullable=False),
    Column("kind", String(16), nullable=False, comment="user | organisation"),
    Column("created_at", Float, nullable=False),
)

members = Table(
    "members",
    metadata,
    Column(
        "organisation",
        String(96),
        ForeignKey("namespaces.folded", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column(
        "user",
        String(96),
        ForeignKey("namespaces.folded", ondelete="CASCADE"),
        primary_key=True,
    ),
)

# One that is deleted keeps its row under another folded name until it is collected, so that
# whoever keeps a list of repositories in memory hears of it.
repositories = Table(
    "repositories",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False, comment="model | dataset | recipe"),
    Column("name", String(200), nullable=False, comment="owner/name"),
    Column("folded", String(220), nullable=False),
    Column("private", Boolean, nullable=False),
    Column("settings", JSON, nullable=False, comment="see hub.repositories.Settings"),
    Column("about", JSON, nullable=False, comment="of the newest files: see hub.about.About"),
    Column("head", String(40), comment="commit of the branch main"),
    Column("downloads", Integer, nullable=False),
    Column("likes", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("modified_at", Float, nullable=False, comment="when its files changed"),
    Column("changed_at", Float, nullable=False, comment="when anything of this row changed"),
    Column("deleted_at", Float),
    UniqueConstraint("kind", "folded"),
    Index("ix_repositories_changed_at", "changed_at"),
)


def _of_repository(*, primary_key: bool = False, index: bool = False) -> Column[int]:
    """Whose row it is, and with which it goes."""
    return Column(
        "repository",
        Integer,
        ForeignKey("repositories.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
        index=index,
    )


# Names that repositories had before they were moved.
moves = Table(
    "moves",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("folded", String(220), primary_key=True),
    _of_repository(index=True),
)

commits = Table(
    "commits",
    metadata,
    _of_repository(primary_key=True),
    Column("id", String(40), primary_key=True),
    Column("number", Integer, nullable=False, comment="of the repository's, as they were made"),
    Column("parent", String(40)),
    Column("manifest", String(64), nullable=False, comment="see hub.manifest"),
    Column("digest", String(64), nullable=False, comment="sha256 of paths, digests and sizes"),
    Column("title", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("author", String(96), nullable=False),
    Column("facts", JSON, nullable=False, comment="what whoever made the files says of them"),
    Column("created_at", Float, nullable=False),
    Index("ix_commits_digest", "digest"),
)

refs = Table(
    "refs",
    metadata,
    _of_repository(primary_key=True),
    Column("kind", String(8), primary_key=True, comment="branch | tag | pull"),
    Column("name", String(250), primary_key=True),
    Column("commit", String(40), nullable=False),
    Column("message", Text, nullable=False),
)

# Lists of files by the sha256 of their bytes: a page for each folder, and a list of pages.
manifests = Table(
    "manifests",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

likes = Table(
    "likes",
    metadata,
    _of_repository(primary_key=True),
    Column("user", String(96), primary_key=True),
    Column("at", Float, nullable=False),
)

# Who asked to read a gated repository, and what became of it.
admissions = Table(
    "admissions",
    metadata,
    _of_repository(primary_key=True),
    Column("user", String(96), primary_key=True),
    Column("status", String(8), nullable=False, comment="pending | accepted | rejected"),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
)

# Discussions and pull requests share their numbers; the branch of a pull request is `refs/pr/N`.
discussions = Table(
    "discussions",
    metadata,
    _of_repository(primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("title", Text, nullable=False),
    Column("author", String(96), nullable=False),
    Column("status", String(8), nullable=False, comment="draft | open | closed | merged"),
    Column("target", String(250), nullable=False, comment="branch to merge into, or empty"),
    Column("base", String(40), nullable=False, comment="commit that it began at, or empty"),
    Column("merged", String(40), nullable=False, comment="commit that merged it, or empty"),
    Column("created_at", Float, nullable=False),
)

remarks = Table(
    "remarks",
    metadata,
    Column("id", String(24), primary_key=True),
    _of_repository(),
    Column("discussion", Integer, nullable=False),
    Column("kind", String(8), nullable=False, comment="comment | status | title"),
    Column("author", String(96), nullable=False),
    Column("content", JSON, nullable=False, comment="see hub.discussions.Remark"),
    Column("at", Float, nullable=False),
    Index("ix_remarks_discussion", "repository", "discussion"),
)

# Blobs that a client was told are here, or has just sent, and that no commit names yet: what
# collects garbage spares them for a while.
awaited = Table(
    "awaited",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("at", Float, nullable=False),
)

# Whose large files are in the store: of bytes that it has not sent itself, a namespace is not told
# that they are here, whatever it knows of them.
holdings = Table(
    "holdings",
    metadata,
    Column("namespace", String(96), primary_key=True, comment="folded"),
    Column("digest", String(64), primary_key=True, index=True),
)

# Xorbs are what Hugging Face's clients send: chunks of files, which a list that comes after them
# puts together. Then only where each chunk lies in those files is kept, for later lists.
xorbs = Table(
    "xorbs",
    metadata,
    Column("namespace", String(96), primary_key=True, comment="folded"),
    Column("hash", String(64), primary_key=True),
    Column("sizes", LargeBinary, nullable=False, comment="of its chunks, uint32 little-endian"),
    Column("waiting", Boolean, nullable=False, comment="its bytes lie aside, no file has them yet"),
    Column("at", Float, nullable=False),
)

# From its chunk `first` on, until the next row's, a xorb's bytes are a blob's from `start` on, or
# those of what lies aside under that name.
xorb_spans = Table(
    "xorb_spans",
    metadata,
    Column("namespace", String(96), primary_key=True),
    Column("hash", String(64), primary_key=True),
    Column("first", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False, index=True),
    Column("start", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["namespace", "hash"], ["xorbs.namespace", "xorbs.hash"], ondelete="CASCADE"
    ),
)

# How often xorbs of a namespace were lost: clients keep their lists of what is here by that.
xorb_losses = Table(
    "xorb_losses",
    metadata,
    Column("namespace", String(96), primary_key=True, comment="folded"),
    Column("number", Integer, nullable=False),
)

# What was found in a blob under names that end so; see hub.safety.
scans = Table(
    "scans",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("suffix", String(16), primary_key=True),
    Column("version", Integer, primary_key=True, comment="of what was looked for"),
    Column("findings", JSON, nullable=False),
)
