"""Pictures: learnt from nothing, served by the engine, the same bits after a kill."""

from __future__ import annotations

import io
from array import array
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from baigong.errors import InvalidInput
from baigong.inference.engine.messages import Look, Rows
from baigong.model.data_url import data_url, image_of
from baigong.tuning.augment import augment
from baigong.tuning.fresh import make_fresh
from baigong.tuning.plan import plan_tuning
from baigong.tuning.spec import TuneSpec
from baigong.tuning.tune import TuneResult, tune
from baigong.types import Row, Split
from tests.inference.local import LocalEngine
from tests.tuning.conftest import make_row
from tests.tuning.killing import durable, killed_at, same_bits
from tests.tuning.test_heads import as_fields, ignore

pytestmark = pytest.mark.anyio

SPEC = TuneSpec(
    objective="images", method="full", epochs=4, learning_rate=3e-3, batch_size=8, threads=1
)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def picture(seed: int, *, is_red: bool) -> bytes:
    """Noise, red or blue."""
    pixels = np.random.default_rng(seed).integers(0, 90, (16, 16, 3), dtype=np.uint8)
    pixels[:, :, 0 if is_red else 2] += 150
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def pictured() -> list[Row]:
    splits: list[Split] = ["train"] * 17 + ["validation"] * 4
    return [
        make_row(data_url(picture(2 * n + is_red, is_red=is_red), "png"), label, split)
        for n, split in enumerate(splits)
        for is_red, label in ((True, "red"), (False, "blue"))
    ][:-1]


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_fresh(tmp_path_factory.mktemp("resnet") / "resnet", "resnet", 16)


@pytest.fixture(scope="module")
async def tuned(resnet: Path, tmp_path_factory: pytest.TempPathFactory) -> TuneResult:
    return await tune(pictured(), resnet, SPEC, tmp_path_factory.mktemp("i") / "work", ignore)


def looked(folder: Path, images: list[bytes]) -> list[str]:
    engine = LocalEngine(folder)
    engine.tell(Look(1, images))
    engine.finish(1)
    reply = engine.done[1]
    assert isinstance(reply, Rows)
    shares = torch.tensor(array("f", reply.data)).view(-1, reply.size)
    return [engine.facts.labels[n] for n in shares.argmax(-1)]


async def test_what_was_learnt_is_what_the_engine_sees(tuned: TuneResult) -> None:
    assert tuned.validation_accuracy == 1
    assert tuned.curve[-1].figures == {"top5": 1.0}
    images = [picture(90, is_red=True), picture(91, is_red=False)]
    assert looked(tuned.folder, images) == ["red", "blue"]


async def test_a_killed_run_ends_with_the_same_bits(
    tuned: TuneResult, resnet: Path, tmp_path: Path
) -> None:
    """Also what batch normalisation remembers, which is no parameter."""
    work = tmp_path / "work"

    await killed_at(7, pictured(), resnet, SPEC, work)
    same_bits(tuned, await tune(pictured(), resnet, durable(SPEC), work, ignore))


async def test_an_adapter_teaches_a_vision_transformer(tmp_path: Path) -> None:
    vit = make_fresh(tmp_path / "vit", "vit", 16)
    spec = TuneSpec(**{**as_fields(SPEC), "method": "lora", "rank": 4})
    result = await tune(pictured(), vit, spec, tmp_path / "work", ignore)
    assert result.validation_accuracy == 1
    assert looked(result.folder, [picture(92, is_red=True)]) == ["red"]


def test_a_convolutional_network_takes_no_adapter(resnet: Path) -> None:
    spec = TuneSpec(**{**as_fields(SPEC), "method": "lora"})
    with pytest.raises(InvalidInput, match="no linear layers") as caught:
        plan_tuning(pictured(), resnet, spec)
    assert caught.value.param == "tune.method"


def test_augmented_pictures_follow_from_the_seed_and_are_mirrored_only_where_asked() -> None:
    pictures = torch.zeros(64, 3, 8, 8)
    pictures[:, :, :, :4] = 1.0  # the left half is bright
    torch.manual_seed(5)
    first = augment(pictures, flip=False)
    torch.manual_seed(5)
    assert torch.equal(first, augment(pictures, flip=False))
    brighter = first[..., :4].mean((1, 2, 3)) > first[..., 4:].mean((1, 2, 3))
    assert brighter.all()
    mirrored = augment(pictures, flip=True)
    brighter = mirrored[..., :4].mean((1, 2, 3)) > mirrored[..., 4:].mean((1, 2, 3))
    assert 8 < int(brighter.sum()) < 56


def test_text_that_is_no_picture_is_refused() -> None:
    with pytest.raises(InvalidInput, match="looks at images"):
        image_of("a red house")
    with pytest.raises(InvalidInput, match="not base64"):
        image_of("data:image/png;base64,*")
