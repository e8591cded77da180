"""Repositories get owners, commits, branches and tags; what was kept before becomes their history."""

import hashlib
import time
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "keys",
        sa.Column(
            "user",
            sa.String(length=96),
            nullable=True,
            comment="of the hub, who holds it; null is an operator",
        ),
    )
    _give_owners()
    op.rename_table("repositories", "kept_before")
    _create_owners()
    _create_repositories()
    _create_history()
    _create_xet()
    _create_admissions()
    _create_discussions()
    _create_scans()
    _move_over()
    op.drop_table("kept_before")


def _give_owners() -> None:
    """What was uploaded and made before there were users is the operators'."""
    for table in ("files", "vector_stores", "fine_tunings"):
        owner = sa.Column(
            "owner",
            sa.String(length=96),
            nullable=True,
            comment="folded name of a user; null is the operators'",
        )
        op.add_column(table, owner)
    op.drop_column("fine_tunings", "key")


def _create_owners() -> None:
    op.create_table(
        "namespaces",
        sa.Column("folded", sa.String(length=96), nullable=False),
        sa.Column("name", sa.String(length=96), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="user | organisation"),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("folded", name=op.f("pk_namespaces")),
    )
    op.create_table(
        "members",
        sa.Column("organisation", sa.String(length=96), nullable=False),
        sa.Column("user", sa.String(length=96), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["namespaces.folded"],
            name=op.f("fk_members_organisation"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user"], ["namespaces.folded"], name=op.f("fk_members_user"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organisation", "user", name=op.f("pk_members")),
    )


def _create_repositories() -> None:
    op.create_table(
        "repositories",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="model | dataset | recipe"),
        sa.Column("name", sa.String(length=200), nullable=False, comment="owner/name"),
        sa.Column("folded", sa.String(length=220), nullable=False),
        sa.Column("private", sa.Boolean(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False, comment="see hub.repositories.Settings"),
        sa.Column(
            "about", sa.JSON(), nullable=False, comment="of the newest files: see hub.about.About"
        ),
        sa.Column("head", sa.String(length=40), nullable=True, comment="commit of the branch main"),
        sa.Column("downloads", sa.Integer(), nullable=False),
        sa.Column("likes", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("modified_at", sa.Float(), nullable=False, comment="when its files changed"),
        sa.Column(
            "changed_at", sa.Float(), nullable=False, comment="when anything of this row changed"
        ),
        sa.Column("deleted_at", sa.Float(), nullable=True),
        # The table that is moved over still holds the plain name of the key in PostgreSQL.
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hub_repositories")),
        sa.UniqueConstraint("kind", "folded", name=op.f("uq_repositories_kind")),
    )
    op.create_index("ix_repositories_changed_at", "repositories", ["changed_at"])
    _create_below(
        "moves",
        ["kind", "folded"],
        [
            sa.Column("kind", sa.String(length=16), nullable=False),
            sa.Column("folded", sa.String(length=220), nullable=False),
        ],
        is_keyed=False,
    )
    op.create_index(op.f("ix_moves_repository"), "moves", ["repository"])
    _create_below(
        "likes",
        ["repository", "user"],
        [
            sa.Column("user", sa.String(length=96), nullable=False),
            sa.Column("at", sa.Float(), nullable=False),
        ],
    )


def _create_history() -> None:
    _create_below(
        "commits",
        ["repository", "id"],
        [
            sa.Column("id", sa.String(length=40), nullable=False),
            sa.Column(
                "number",
                sa.Integer(),
                nullable=False,
                comment="of the repository's, as they were made",
            ),
            sa.Column("parent", sa.String(length=40), nullable=True),
            sa.Column("manifest", sa.String(length=64), nullable=False, comment="see hub.manifest"),
            sa.Column(
                "digest",
                sa.String(length=64),
                nullable=False,
                comment="sha256 of paths, digests and sizes",
            ),
            sa.Column("title", sa.Text(), nullable=False),
            sa.Column("message", sa.Text(), nullable=False),
            sa.Column("author", sa.String(length=96), nullable=False),
            sa.Column(
                "facts",
                sa.JSON(),
                nullable=False,
                comment="what whoever made the files says of them",
            ),
            sa.Column("created_at", sa.Float(), nullable=False),
        ],
    )
    op.create_index("ix_commits_digest", "commits", ["digest"])
    _create_below(
        "refs",
        ["repository", "kind", "name"],
        [
            sa.Column("kind", sa.String(length=8), nullable=False, comment="branch | tag | pull"),
            sa.Column("name", sa.String(length=250), nullable=False),
            sa.Column("commit", sa.String(length=40), nullable=False),
            sa.Column("message", sa.Text(), nullable=False),
        ],
    )
    op.create_table(
        "manifests",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_manifests")),
    )
    op.create_table(
        "awaited",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_awaited")),
    )


def _create_xet() -> None:
    op.create_table(
        "holdings",
        sa.Column("namespace", sa.String(length=96), nullable=False, comment="folded"),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "digest", name=op.f("pk_holdings")),
    )
    op.create_index(op.f("ix_holdings_digest"), "holdings", ["digest"])
    op.create_table(
        "xorbs",
        sa.Column("namespace", sa.String(length=96), nullable=False, comment="folded"),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column(
            "sizes",
            sa.LargeBinary(),
            nullable=False,
            comment="of its chunks, uint32 little-endian",
        ),
        sa.Column(
            "waiting",
            sa.Boolean(),
            nullable=False,
            comment="its bytes lie aside, no file has them yet",
        ),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "hash", name=op.f("pk_xorbs")),
    )
    op.create_table(
        "xorb_spans",
        sa.Column("namespace", sa.String(length=96), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("first", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace", "hash"],
            ["xorbs.namespace", "xorbs.hash"],
            name=op.f("fk_xorb_spans_namespace"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("namespace", "hash", "first", name=op.f("pk_xorb_spans")),
    )
    op.create_index(op.f("ix_xorb_spans_digest"), "xorb_spans", ["digest"])
    op.create_table(
        "xorb_losses",
        sa.Column("namespace", sa.String(length=96), nullable=False, comment="folded"),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", name=op.f("pk_xorb_losses")),
    )


def _create_admissions() -> None:
    _create_below(
        "admissions",
        ["repository", "user"],
        [
            sa.Column("user", sa.String(length=96), nullable=False),
            sa.Column(
                "status",
                sa.String(length=8),
                nullable=False,
                comment="pending | accepted | rejected",
            ),
            sa.Column("reason", sa.Text(), nullable=False),
            sa.Column("at", sa.Float(), nullable=False),
        ],
    )


def _create_discussions() -> None:
    _create_below(
        "discussions",
        ["repository", "number"],
        [
            sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("title", sa.Text(), nullable=False),
            sa.Column("author", sa.String(length=96), nullable=False),
            sa.Column(
                "status",
                sa.String(length=8),
                nullable=False,
                comment="draft | open | closed | merged",
            ),
            sa.Column(
                "target",
                sa.String(length=250),
                nullable=False,
                comment="branch to merge into, or empty",
            ),
            sa.Column(
                "base",
                sa.String(length=40),
                nullable=False,
                comment="commit that it began at, or empty",
            ),
            sa.Column(
                "merged",
                sa.String(length=40),
                nullable=False,
                comment="commit that merged it, or empty",
            ),
            sa.Column("created_at", sa.Float(), nullable=False),
        ],
    )
    _create_below(
        "remarks",
        ["id"],
        [
            sa.Column("discussion", sa.Integer(), nullable=False),
            sa.Column(
                "kind", sa.String(length=8), nullable=False, comment="comment | status | title"
            ),
            sa.Column("author", sa.String(length=96), nullable=False),
            sa.Column("content", sa.JSON(), nullable=False, comment="see hub.discussions.Remark"),
            sa.Column("at", sa.Float(), nullable=False),
            sa.Column("id", sa.String(length=24), nullable=False),
        ],
    )
    op.create_index("ix_remarks_discussion", "remarks", ["repository", "discussion"])


def _create_scans() -> None:
    op.create_table(
        "scans",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("suffix", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, comment="of what was looked for"),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "suffix", "version", name=op.f("pk_scans")),
    )


def _create_below(
    name: str, key: list[str], columns: list[sa.Column[Any]], *, is_keyed: bool = True
) -> None:
    """A table whose rows go with their repository."""
    op.create_table(
        name,
        *([] if is_keyed else columns),
        sa.Column("repository", sa.Integer(), nullable=False),
        *(columns if is_keyed else []),
        sa.ForeignKeyConstraint(
            ["repository"],
            ["repositories.id"],
            name=op.f(f"fk_{name}_repository"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{name}")),
    )


def _move_over() -> None:
    """Each name becomes a repository, each revision a commit; adapters are models from here on."""
    connection, tables = op.get_bind(), sa.MetaData()
    names = ("kept_before", "repositories", "commits", "refs", "manifests")
    before, repositories, commits, refs, manifests = (
        sa.Table(name, tables, autoload_with=connection) for name in names
    )
    rows = connection.execute(sa.select(before).order_by(before.c.created_at)).mappings().all()
    history: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        kind = "model" if row["kind"] == "adapter" else row["kind"]
        history.setdefault((kind, row["name"].lower()), []).append(row)
    known: set[str] = set()
    for (kind, folded), revisions in history.items():
        newest = revisions[-1]
        about = {"is_adapter": True} if newest["kind"] == "adapter" else {}
        values = {
            "kind": kind,
            "name": newest["name"],
            "folded": folded,
            "private": folded.startswith("recipes/"),
            "settings": {},
            "about": about,
            "downloads": 0,
            "likes": 0,
            "created_at": revisions[0]["created_at"],
            "modified_at": newest["created_at"],
            "changed_at": time.time(),
        }
        made = connection.execute(repositories.insert().values(values))
        id = made.inserted_primary_key[0]  # type: ignore[index]
        parent = None
        for number, row in enumerate(revisions, 1):
            id_of_commit = _commit_id(id, number, row["revision"])
            pages = _manifest(row["manifest"], id_of_commit)
            for digest, content in pages.items():
                if digest not in known:
                    known.add(digest)
                    connection.execute(manifests.insert().values(digest=digest, content=content))
            commit = {
                "repository": id,
                "id": id_of_commit,
                "number": number,
                "parent": parent,
                "manifest": next(reversed(pages)),
                "digest": row["revision"],
                "title": f"Keep {row['name']}",
                "message": "",
                "author": "local",
                "facts": row["facts"],
                "created_at": row["created_at"],
            }
            connection.execute(commits.insert().values(commit))
            parent = id_of_commit
        branch = {"repository": id, "kind": "branch", "name": "main", "commit": parent}
        connection.execute(refs.insert().values(**branch, message=""))
        connection.execute(repositories.update().where(repositories.c.id == id).values(head=parent))


def _commit_id(repository: int, number: int, revision: str) -> str:
    return hashlib.sha256(f"{repository} {number} {revision}".encode()).hexdigest()[:40]


def _manifest(files: dict[str, list[Any]], commit: str) -> dict[str, bytes]:
    """Its pages by their digests, the list of pages last, as hub.manifest reads them."""
    folders: dict[str, dict[str, list[Any]]] = {}
    for path, (digest, size) in sorted(files.items()):
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, {})[name] = [digest, size, "", commit]
    pages, listed = {}, {}
    for folder, page in sorted(folders.items()):
        content = msgspec.msgpack.encode(page)
        listed[folder] = hashlib.sha256(content).hexdigest()
        pages[listed[folder]] = content
    root = msgspec.msgpack.encode(listed)
    pages[hashlib.sha256(root).hexdigest()] = root
    return pages
