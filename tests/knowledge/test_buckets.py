"""Knowledge whose parsed documents, chunks and sources are all in buckets."""

from __future__ import annotations

from pathlib import Path

import obstore
import pytest
from obstore.store import from_url

from baigong.errors import NotFound
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.connectors.s3 import Bucket
from baigong.knowledge.ingest import ingest
from baigong.knowledge.reindex import prepare
from baigong.knowledge.stores.lance import LanceStores
from baigong.store.blobs import Blobs
from baigong.store.database import Database
from tests.knowledge.bases import search
from tests.knowledge.files import HashEmbedder


@pytest.fixture
def sources(bucket: str) -> str:
    store = from_url(bucket, client_options={"allow_http": True})
    for number in range(12):
        text = f"# Pump {number}\n\nThe pump {number} runs at {70 + number} degrees."
        obstore.put(store, f"manuals/{number}/pump {number}.md", text.encode())
    return f"{bucket}/manuals"


def opened(bucket: str, home: Path) -> KnowledgeBases:
    return KnowledgeBases(
        Database.in_folder(home), Blobs(f"{bucket}/blobs"), LanceStores(f"{bucket}/vectors")
    )


def test_a_bucket_is_read_into_buckets_searched_and_followed(
    bucket: str, sources: str, tmp_path: Path
) -> None:
    bases, embed = opened(bucket, tmp_path), HashEmbedder()
    prepare(bases, "base", embed)
    assert ingest(bases, "base", [Bucket(sources)], embed).chunks == 12
    kept = bases.pin("base")
    store = from_url(bucket, client_options={"allow_http": True})
    obstore.put(store, "manuals/3/pump 3.md", b"The valve opens at forty.")
    obstore.delete(store, "manuals/4/pump 4.md")
    ingest(bases, "base", [Bucket(sources)], embed)
    other = opened(bucket, tmp_path)  # as another process would
    [valve] = search(other, "base", "valve", 1, embed=embed)
    assert (valve.document, valve.text) == ("3/pump 3.md", "The valve opens at forty.")
    assert "valve" in other.text("base", "3/pump 3.md")
    assert len(search(other, "base", "pump", 99, embed=embed)) == 11
    found = search(other, kept.ref, "pump", 99, embed=embed)
    assert {passage.document for passage in found} == {f"{n}/pump {n}.md" for n in range(12)}


def test_a_bucket_that_is_not_there_is_not_found(bucket: str) -> None:
    with pytest.raises(NotFound):
        Bucket(f"{bucket}-other").list()
