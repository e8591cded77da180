"""Vectors of a base for knowledge: unit ones, of what the gateway would embed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from baigong.hub.hub import Revision
from baigong.industry.embedder import MAX_TOKENS, EngineEmbed
from baigong.inference.client import EngineConfig
from baigong.inference.engines import Engines
from baigong.model.chat import ChatTokenizer
from tests.models import END, make_model, wrap_model

pytestmark = pytest.mark.anyio


def revision(folder: Path) -> Revision:
    return Revision("model", "local/m", "0" * 64, folder, {}, 0.0)


def close_texts(folder: Path) -> None:
    """Let the tokenizer put a mark behind each document."""
    path = str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    mark = "<|im_end|>"
    tokenizer.post_processor = TemplateProcessing(single=f"$A {mark}", special_tokens=[(mark, END)])
    tokenizer.save(path)


async def test_texts_have_their_marks_and_vectors_have_length_one(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "qwen3", max_position_embeddings=2048)
    close_texts(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": ["lasttoken", "mean"]}')
    modules = [
        {"type": f"st.{name}", "path": path}
        for name, path in (("Transformer", ""), ("Pooling", "1_Pooling"))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    engines = Engines(EngineConfig(threads=1, cache_mb=16))
    embed = EngineEmbed(engines, revision(folder))
    texts = ["kettle", "", "x" * 3 * MAX_TOKENS]
    vectors = await embed(texts)
    engine = await engines.get(folder)
    ids = [ChatTokenizer(folder).encode_text(text, special=True) for text in ("kettle", " ")]
    ids.append([*ChatTokenizer(folder).encode_text("x" * (MAX_TOKENS - 1)), END])
    raw = await engine.embed(ids)
    await engines.close()
    assert [one[-1] for one in ids] == [END] * 3
    for vector, plain in zip(vectors, raw, strict=True):
        length = math.hypot(*plain)
        assert len(vector) == embed.size == 128
        assert abs(length - 1) > 0.1  # the folder asks for no unit vectors
        assert vector == pytest.approx([x / length for x in plain], abs=1e-5)


async def test_a_model_that_sees_as_well_has_its_decoders_size(tmp_path: Path) -> None:
    folder = wrap_model(make_model(tmp_path / "m", "gemma3_text"), "gemma3")
    assert EngineEmbed(Engines(), revision(folder)).size == 64
