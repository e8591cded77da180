from __future__ import annotations

from pathlib import Path

import numpy as np

from baigong.knowledge.tables import (
    append,
    chunks_schema,
    connect,
    find_near,
    find_words,
    index_chunks,
)


def test_the_graph_agrees_with_comparing_all_vectors(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(3000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = connect(str(tmp_path)).create_table("t", schema=chunks_schema(16))
    rows = [
        {"document": "d", "title": "", "text": f"t{n}", "terms": f"t{n}", "start": n, "end": n}
        for n in range(len(vectors))
    ]
    append(table, [{**row, "vector": vector} for row, vector in zip(rows, vectors, strict=True)])
    index_chunks(table, has_vectors=True, graph_from_rows=3000)
    assert {index.index_type for index in table.list_indices()} == {"FTS", "IvfHnswSq"}
    recalls = []
    for query in rng.normal(size=(20, 16)):
        nearest = set(np.argsort(-(vectors @ query))[:50].tolist())
        found = [row["start"] for row in find_near(table, query.tolist(), 50)]
        assert len(found) == 50
        recalls.append(len(nearest.intersection(found)) / 50)
    assert np.mean(recalls) > 0.97
    assert [row["start"] for row in find_words(table, ["t1234"], 5)] == [1234]
