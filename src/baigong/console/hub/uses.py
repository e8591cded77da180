"""How to use a repository: programs and commands that run as they stand."""

from __future__ import annotations

from baigong.console.calls import Call
from baigong.hub.names import MAIN, Kind
from baigong.hub.reader import At
from baigong.hub.repositories import Repository

_ENDPOINT = "export HF_ENDPOINT={url}/hf{token}\n\n"
_CLASSES = {  # by how the name of an architecture ends, the class of transformers that loads it
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForQuestionAnswering": "AutoModelForQuestionAnswering",
    "ForMaskedLM": "AutoModelForMaskedLM",
    "ForImageTextToText": "AutoModelForImageTextToText",
    "ForImageClassification": "AutoModelForImageClassification",
    "ForSpeechSeq2Seq": "AutoModelForSpeechSeq2Seq",
}
_TRANSFORMERS = """\
from transformers import AutoTokenizer, {cls}

tokenizer = AutoTokenizer.from_pretrained({name})
model = {cls}.from_pretrained({name})"""
_PEFT = """\
from peft import AutoPeftModel{ending}

model = AutoPeftModel{ending}.from_pretrained({name})"""
_SENTENCES = """\
from sentence_transformers import SentenceTransformer

model = SentenceTransformer({name})
vectors = model.encode(["Hello"])"""
_DATASETS = """\
from datasets import load_dataset

rows = load_dataset({name})"""


def uploading(kind: Kind, name: str, what: str, base_url: str) -> str:
    """The command that sends a file or a folder."""
    words = {"model": "", "dataset": " --repo-type dataset", "recipe": " --repo-type space"}
    return f"export HF_ENDPOINT={base_url}/hf\nhf upload {name} {what}{words[kind]}"


def uses_of(at: At, base_url: str, *, has_key: bool) -> list[Call]:
    """The ways for a repository of its kind; `has_key` is whether the server asks for one."""
    one = at.repository
    endpoint = _ENDPOINT.format(url=base_url, token=" HF_TOKEN=YOUR_KEY" if has_key else "")
    token = "export MODELSCOPE_API_TOKEN=YOUR_KEY\n" if has_key else ""
    modelscope = f"export MODELSCOPE_ENDPOINT={base_url}/modelscope\n{token}\nmodelscope download"
    wanted = "" if at.revision == MAIN else f" --revision {at.revision}"
    ref = one.name if at.revision == MAIN else f"{one.name}@{at.revision}"
    if one.kind == "recipe":
        folder = one.name.partition("/")[2]
        get = f"hf download {one.name} --repo-type space --local-dir {folder}{wanted}"
        build = f"baigong build {folder}/recipe.yaml"
        return [Call("Hugging Face", f"{endpoint}{get}\n{build}")]
    if one.kind == "dataset":
        get = f"hf download {one.name} --repo-type dataset{wanted}"
        return [
            Call("datasets", endpoint + _python(_DATASETS, at)),
            Call("Hugging Face", endpoint + get),
            Call("ModelScope", f"{modelscope} --dataset {one.name}{wanted}"),
        ]
    calls = [_loading(at, endpoint), Call("ModelScope", f"{modelscope} --model {one.name}{wanted}")]
    if one.about.is_model:
        if one.about.task == "text-generation":
            calls.append(Call("baigong chat", f"baigong chat {ref}"))
        calls.append(Call("recipe.yaml", f"base: {ref}"))
    return calls


def _loading(at: At, endpoint: str) -> Call:
    one = at.repository
    if one.about.library == "sentence-transformers":
        return Call("sentence-transformers", endpoint + _python(_SENTENCES, at))
    if one.about.is_adapter:
        ending = "ForCausalLM" if one.about.task == "text-generation" else ""
        return Call("peft", endpoint + _python(_PEFT, at, ending=ending))
    if one.about.is_model:
        return Call("transformers", endpoint + _python(_TRANSFORMERS, at, cls=_class(one)))
    wanted = "" if at.revision == MAIN else f" --revision {at.revision}"
    return Call("Hugging Face", f"{endpoint}hf download {one.name}{wanted}")


def _class(one: Repository) -> str:
    architecture = one.about.architecture
    return next((c for end, c in _CLASSES.items() if architecture.endswith(end)), "AutoModel")


def _python(text: str, at: At, **holds: str) -> str:
    """A program for the shell that knows the endpoint; names have no character to escape."""
    revision = "" if at.revision == MAIN else f', revision="{at.revision}"'
    program = text.format(name=f'"{at.repository.name}"{revision}', **holds)
    return f"python - <<'END'\n{program}\nEND"
