"""What was in the hub before repositories had commits."""

import json

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from baigong.hub.hub import Hub
from baigong.store.database import Database
from baigong.store.migrate import upgrade
from baigong.store.tables import metadata

pytestmark = pytest.mark.postgres


def test_old_revisions_become_a_history_and_keep_their_digests(empty, blobs, tmp_path):
    engine = create_engine(empty)
    upgrade(engine, "0004")
    old = [
        ("model", "acme/tiny", "1" * 64, {"config.json": "{}", "deep/weights": "one"}, 1.0),
        ("model", "acme/tiny", "2" * 64, {"config.json": "{}", "deep/weights": "two"}, 2.0),
        ("adapter", "recipes/support", "3" * 64, {"adapter_config.json": "{}"}, 3.0),
    ]
    with engine.begin() as connection:
        for kind, name, revision, files, at in old:
            manifest = {p: [blobs.put(t.encode()), len(t)] for p, t in files.items()}
            facts = json.dumps({"base": "acme/tiny"})
            connection.execute(
                text("INSERT INTO repositories VALUES (:k, :n, :r, :m, :f, :at)"),
                dict(k=kind, n=name, r=revision, m=json.dumps(manifest), f=facts, at=at),
            )
    engine.dispose()
    database = Database(empty)
    hub = Hub(database, blobs, tmp_path / "cache")
    assert hub.get("model", "acme/tiny").revision == "2" * 64
    kept = hub.get("model", f"acme/tiny@{'1' * 12}")
    assert (kept.folder / "deep" / "weights").read_text() == "one"
    assert hub.get("model", "recipes/support").base == "acme/tiny"
    assert [one.name for one in hub.repositories.all() if one.private] == ["recipes/support"]
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.close()
