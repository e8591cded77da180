import io
import json
import xml.etree.ElementTree as ET

import pytest
from PIL import Image

from baigong.errors import InvalidInput
from baigong.model.chat import ChatTokenizer
from baigong.tuning.curve import Point
from baigong.tuning.drawing import svg
from baigong.tuning.picture import draw
from baigong.tuning.plan import plan_tuning
from baigong.tuning.probe import probe
from baigong.tuning.raster import png
from baigong.tuning.reasons import SHOWN, reasons_of
from baigong.tuning.spec import TuneSpec
from baigong.tuning.template import check_template
from tests.models import make_model


@pytest.mark.anyio
async def test_ten_steps_say_what_the_whole_takes(base, rows):
    spec = TuneSpec(epochs=4, rank=4, batch_size=4, threads=1)
    plan = plan_tuning(rows, base, spec)
    tried = await probe(rows, base, spec)
    assert tried.memory_bytes > 50 << 20
    assert tried.tokens_per_second > 0
    training = plan.tokens * 4 / tried.tokens_per_second
    assert tried.start_seconds + training < tried.seconds(plan) < tried.start_seconds + 2 * training


def test_every_setting_has_its_reason_and_a_wish_is_known_as_one(base, rows):
    spec = TuneSpec(rank=4)
    why = reasons_of(spec, plan_tuning(rows, base, spec))
    assert set(why) == set(SHOWN)
    assert why["rank"] == ("as you say", "按你的设置")
    assert "20 rows" in why["batch_size"].en and "20 条数据" in why["batch_size"].zh


def test_a_rank_that_no_layer_is_wide_enough_for_is_refused(base, rows):
    assert plan_tuning(rows, base, TuneSpec(rank=64)).settings.rank == 64
    with pytest.raises(InvalidInput, match="no layer of the base is wider than 64") as caught:
        plan_tuning(rows, base, TuneSpec(rank=65))
    assert caught.value.param == "tune.rank"


def test_a_base_without_a_chat_template_is_refused_with_what_to_choose(tmp_path):
    folder = make_model(tmp_path / "plain")
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidInput, match=r"local/plain has no chat template.*-Instruct"):
        check_template(ChatTokenizer(folder), "local/plain")


def test_a_template_whose_marks_are_no_tokens_is_refused(tmp_path):
    folder = make_model(tmp_path / "odd")
    check_template(ChatTokenizer(folder), "local/odd")
    said = "{% for m in messages %}<|turn|>{{ m.content }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(said)
    with pytest.raises(InvalidInput, match=r"writes <\|turn\|>, which its tokenizer does not know"):
        check_template(ChatTokenizer(folder), "local/odd")


def test_a_curve_is_drawn_within_its_picture():
    points = [Point(n, 10 * n, n, 3.0 / n, 4.0 / n if n % 5 == 0 else None) for n in range(1, 21)]
    picture = ET.fromstring(svg(draw(points)))
    dots = [tag for tag in picture.iter() if tag.tag.endswith("circle")]
    assert len(dots) == 4
    assert all(0 < float(dot.get("cx")) < 640 and 0 < float(dot.get("cy")) < 320 for dot in dots)
    heights = [float(dot.get("cy")) for dot in dots]
    assert heights == sorted(heights)  # a falling loss goes down the page


def test_a_curve_of_nothing_is_an_empty_picture():
    assert ET.fromstring(svg(draw([]))) is not None


@pytest.mark.parametrize("count", [0, 1, 20])
def test_a_curve_is_a_png_file_too(count):
    points = [Point(n, 10 * n, n, 3.0 / n, 4.0 / n) for n in range(1, count + 1)]
    image = Image.open(io.BytesIO(png(draw(points)))).convert("RGB")
    assert image.size == (1280, 640)
    colours = {colour for _, colour in image.getcolors(1 << 20)}
    assert {(255, 255, 255), (221, 221, 221)} <= colours  # paper and lines across
    assert ((220, 38, 38) in colours) is (count > 0)
