"""LlamaIndex's pipeline as its guide has it: read a folder, cut by sentences, embed, index in memory.

`python llamaindex.py FOLDER MODEL` prints seconds, those of the processor, and chunks. It embeds
with our own model, which the library that knows its layout reads.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from model2vec import StaticModel
from pydantic import PrivateAttr

BATCH = 256


class Static(BaseEmbedding):
    """The same vectors that we make."""

    _model: Any = PrivateAttr()

    def __init__(self, folder: str) -> None:
        super().__init__(embed_batch_size=BATCH)
        self._model = StaticModel.from_pretrained(folder)

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._model.encode(texts).tolist()
        return vectors

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def main() -> None:
    folder, model = sys.argv[1:]
    embed = Static(model)
    pipeline = IngestionPipeline(transformations=[SentenceSplitter(), embed])
    began, used = time.perf_counter(), time.process_time()
    documents = SimpleDirectoryReader(folder).load_data()
    nodes = pipeline.run(documents=documents)
    VectorStoreIndex(nodes, embed_model=embed)
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    print(json.dumps({"seconds": seconds, "processor": processor, "chunks": len(nodes)}))


if __name__ == "__main__":
    main()
