import pytest
from transformers.models.auto import modeling_auto as auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from baigong.errors import InvalidInput
from baigong.hub.catalogue import models, read
from baigong.model.families import FAMILIES

ONE = """
- family: Tiny
  owner: alice
  modelscope: alice
  task: text-generation
  architecture: LlamaForCausalLM
  type: llama
  license: mit
  models:
    - {names: [tiny, small], billions: 0.1}
    - {names: [other], license: apache-2.0, modelscope_name: bob/other}
"""

BY_NAME = {model.name: model for model in models()}


def test_every_architecture_is_one_that_transformers_knows_unless_the_files_bring_it():
    tables = [getattr(auto, name) for name in dir(auto) if name.endswith("_MAPPING_NAMES")]
    classes = set()
    for table in tables:
        for value in table.values():
            classes |= {value} if isinstance(value, str) else set(value)
    for model in models():
        if model.type and not model.code:
            assert model.type in CONFIG_MAPPING_NAMES, model.name
            assert model.architecture in classes, model.name


def test_every_family_of_the_decoder_is_in_the_catalogue_by_a_model_that_it_serves():
    served = {model.fields["model_type"] for model in models() if model.is_native}
    assert FAMILIES.keys() - {"ministral", "ministral3"} <= served | {"gemma3_text"}


@pytest.mark.parametrize(
    ("name", "uses"),
    [
        ("Qwen/Qwen3-0.6B", ("serve", "tune", "adapters")),
        ("ibm-granite/granite-3.3-2b-instruct", ("serve", "tune", "adapters")),
        ("Qwen/Qwen3-Embedding-0.6B", ("serve", "tune")),
        ("BAAI/bge-m3", ("serve", "tune")),
        ("Qwen/Qwen3-Reranker-0.6B", ("serve", "tune")),
        ("BAAI/bge-reranker-v2-m3", ("serve", "tune")),
        ("google-bert/bert-base-uncased", ("tune",)),
        ("google/vit-base-patch16-224", ("serve", "tune")),
        ("google/embeddinggemma-300m", ("serve", "tune")),
        ("openai/whisper-small", ()),
        ("black-forest-labs/FLUX.1-schnell", ()),
        ("baichuan-inc/Baichuan2-7B-Chat", ()),  # its class is among its files
        ("deepseek-ai/DeepSeek-R1", ()),  # published in 8 bits
    ],
)
def test_what_can_be_done_follows_from_the_code(name, uses):
    assert BY_NAME[name].uses == uses


def test_a_family_gives_its_models_what_they_do_not_say():
    tiny, small, other = read(ONE)
    assert (tiny.name, small.modelscope) == ("alice/tiny", "alice/small")
    assert (other.license, other.modelscope, other.billions) == ("apache-2.0", "bob/other", 0)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("license: mit", "license: free", "license 'free'"),
        ("task: text-generation", "task: talk", "task 'talk'"),
        ("small]", "tiny]", "twice"),
        ("billions: 0.1", "billions: few", "billions"),
        ("billions: 0.1", "bilions: 0.1", "bilions"),
        ("owner: alice", "owner: a b", "not a name"),
    ],
)
def test_a_mistake_in_the_file_is_named(right, wrong, said):
    with pytest.raises(InvalidInput, match=said):
        read(ONE.replace(right, wrong, 1))
