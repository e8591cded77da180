import ollama
import pytest

from baigong.app import Platform
from baigong.config import Settings
from tests.servers import MODEL, open_platform, serving


@pytest.fixture
def elsewhere(tmp_path):
    """A hub with a model."""
    with serving(open_platform(tmp_path / "elsewhere")) as url:
        yield url


@pytest.mark.parametrize("name", [MODEL, f"hf.co/{MODEL}:main"])
def test_a_model_comes_from_a_mirrored_hub_and_answers(elsewhere, tmp_path, name):
    mirrors = (f"hf+{elsewhere}/hf",)
    here = Platform.open(Settings(home=tmp_path / "here", cache_mb=64, threads=1, mirrors=mirrors))
    with serving(here) as url, ollama.Client(host=f"{url}/ollama") as client:
        steps = list(client.pull(name, stream=True))
        assert steps[-1].status == "success"
        told = [step for step in steps if step.total]
        assert told[-1].completed == told[-1].total > 100_000
        assert client.chat(MODEL, [{"role": "user", "content": "hi"}], options={"num_predict": 2})
        assert [step.status for step in client.pull(MODEL, stream=True)][-1] == "success"
