"""Models that end in a head, or in none: classes, scores, vectors, instead of the next token.

What comes out is a whole model folder, an adapter merged into it, which every engine that serves such
models takes as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoConfig
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging
from typing_extensions import override

from baigong.errors import InvalidInput
from baigong.tuning.examples.rows import Exemplar
from baigong.tuning.job import TuneJob
from baigong.tuning.told import FILE, MOST, Told
from baigong.tuning.weights import WEIGHT_FILES, Weights, is_turned, stored_dtype, suiting
from baigong.tuning.workers import device_here

_LINEAR = (torch.nn.Linear, Conv1D)
POOLER = "pooler"  # of BERT and its kin: used by heads that were trained with it, and by no vector


@dataclass(slots=True)
class Headed(Weights):
    """Weights that are saved as a model folder.

    `finish` adds what else belongs to it; `probe` is what the model says of some rows.
    """

    probe: Callable[[], list[Told]] = list
    finish: Callable[[Path], None] = lambda _: None

    @override
    def save(self, folder: Path) -> None:
        """Write the model, its own config.json, and what else the base's folder holds."""
        model = self.model.eval()
        with torch.no_grad():
            told = msgspec.json.encode(self.probe())
        (folder.parent / FILE).write_bytes(told)
        if hasattr(model, "peft_config"):
            model = model.merge_and_unload()
        model.to(stored_dtype(self.base)).save_pretrained(folder)
        for file in self.base.iterdir():
            is_kept = file.name.endswith(WEIGHT_FILES) or (folder / file.name).exists()
            if file.is_dir():
                shutil.copytree(file, folder / file.name)
            elif not is_kept:
                shutil.copyfile(file, folder / file.name)
        self.finish(folder)


def load_headed(job: TuneJob, kind: Any, **fields: Any) -> Headed:
    """The base through transformers' automatic class `kind`, with what is to be trained.

    An adapter covers every linear layer of the body; a head, and what else the base lacked, is trained
    whole beside it.

    Args:
        job: the run.
        kind: such as AutoModelForSequenceClassification.
        **fields: of the configuration, such as `id2label`.

    Raises:
        InvalidInput: there is no linear layer that an adapter could cover.
    """
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.settings.seed)
    base, device = Path(job.base), device_here()
    config = _config(base)
    config.update(fields)  # from_pretrained would pass over what it does not know
    with suiting(base):
        model, found = kind.from_pretrained(
            base,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # a head of other classes is begun anew
            output_loading_info=True,
        )
    model = model.to(device)
    if job.settings.is_adapter:
        missing = {name.rpartition(".")[0] for name in found["missing_keys"]}
        model = get_peft_model(model, _lora(job, model, missing))
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    changing = {name: b for name, b in model.named_buffers() if name.endswith(_RUNNING)}
    return Headed(model, trained, base, device, changing)


# What a normalisation over batches remembers: no parameter, and yet it changes with every step.
_RUNNING = ("running_mean", "running_var", "num_batches_tracked")


def _lora(job: TuneJob, model: Any, missing: set[str]) -> LoraConfig:
    body = model.base_model_prefix
    parts = dict(model.named_children())
    heads = [
        name
        for name, part in parts.items()
        if name != body and body in parts and any(True for _ in part.parameters())
    ]
    whole = sorted({*heads, *(name for name in missing if name.partition(".")[0] not in heads)})
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, _LINEAR)
        and name.partition(".")[0] not in heads
        and name not in whole
        and POOLER not in name
    ]
    if not targets:
        raise InvalidInput(
            f"{Path(job.base).name} has no linear layers that an adapter could cover.",
            hint="Use tune.method: full.",
            param="tune.method",
        )
    return LoraConfig(
        r=job.settings.rank,
        lora_alpha=job.settings.alpha,
        lora_dropout=job.settings.dropout,
        use_dora=job.settings.method == "dora",
        target_modules=targets,
        modules_to_save=whole or None,
        fan_in_fan_out=is_turned(model),
        bias="none",
    )


class Batch:
    """Texts side by side as a model reads them: filled up on the right, and masked."""

    def __init__(self, weights: Weights) -> None:
        fields = weights.model.config.get_text_config()
        self._pad = getattr(fields, "pad_token_id", None) or 0
        self._has_types = (getattr(fields, "type_vocab_size", None) or 0) > 1
        self._device = weights.device

    def __call__(
        self, texts: Sequence[Sequence[int]], seconds: Sequence[int] = ()
    ) -> dict[str, Tensor]:
        """The model's arguments, each (texts, columns); a second text begins at its place in `seconds`."""
        longest = max(map(len, texts))
        rows = [[*text, *[self._pad] * (longest - len(text))] for text in texts]
        lengths = torch.tensor([len(text) for text in texts], device=self._device).unsqueeze(1)
        places = torch.arange(longest, device=self._device)
        inputs = {
            "input_ids": torch.tensor(rows, device=self._device),
            "attention_mask": (places < lengths).long(),
        }
        if self._has_types and len(seconds):
            begin = torch.tensor(seconds, device=self._device).unsqueeze(1)
            inputs["token_type_ids"] = ((places >= begin) & (places < lengths)).long()
        return inputs


E = TypeVar("E", bound=Exemplar)


def shortest(examples: Sequence[E]) -> list[E]:
    """A few examples, the shortest, to be read again where the model serves."""
    return sorted(examples, key=lambda example: example.length)[:MOST]


def label_fields(job: TuneJob, labels: Sequence[str]) -> dict[str, Any]:
    """What the configuration of a model with these labels says."""
    fields = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
        "problem_type": "single_label_classification" if len(labels) > 1 else None,
    }
    pad = _pad_id(Path(job.base))
    return fields if pad is None else fields | {"pad_token_id": pad}


def _pad_id(base: Path) -> int | None:
    """The id that fills up texts: a decoder finds a text's end by it, and some name none."""
    config = _config(base).get_text_config()
    for name in ("pad_token_id", "eos_token_id"):
        found = getattr(config, name, None)
        found = found[0] if isinstance(found, list) else found
        if found is not None:
            return int(found)
    return None


def _config(base: Path) -> Any:
    with suiting(base):
        return AutoConfig.from_pretrained(base, local_files_only=True)
