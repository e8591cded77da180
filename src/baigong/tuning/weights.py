"""The weights that are trained: loaded from the base in float32, saved in the formats of the field."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

from baigong.compute import multiplies_bfloat16
from baigong.errors import InvalidInput
from baigong.tuning.base import OTHER_SENSES
from baigong.tuning.job import TuneJob
from baigong.tuning.workers import device_here

# PEFT asks transformers by the attribute's old name; nothing here is to be changed.
warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is deprecated", FutureWarning)

_OTHERS = rf".*({OTHER_SENSES}).*"
WEIGHT_FILES = (".safetensors", ".safetensors.index.json")


@dataclass(slots=True)
class Weights:
    """A model under training. `trained` are the parameters that change, by name.

    `running` are tensors that change and have no gradient: what a normalisation over batches remembers.
    `kept` are the bytes that a backward pass keeps for each unit of an example's length, where the sizes
    of a language model do not tell. `takes_bfloat16` says whether its products may be in that at all.
    """

    model: Any
    trained: dict[str, torch.nn.Parameter]
    base: Path
    device: torch.device
    running: dict[str, Tensor] = field(default_factory=dict)
    kept: int = 0
    takes_bfloat16: bool = True

    @property
    def causal(self) -> Any:
        """The language model itself; the layers of an adapter are inside it."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    @property
    def has_bfloat16(self) -> bool:
        """Whether products are in bfloat16: where the device has them faster than float32."""
        return self.takes_bfloat16 and has_bfloat16(self.device)

    def autocast(self) -> AbstractContextManager[object]:
        """Products in bfloat16 where there are instructions for them; weights stay float32.

        With AVX-512 BF16 a step of 16 rows and a base of 6.5 M weights takes 0.62 of the time.
        """
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.has_bfloat16)

    def save(self, folder: Path) -> None:
        """Write the adapter as PEFT does, or the whole model with the base's tokenizer and template."""
        model = self.model
        if hasattr(model, "peft_config") and model.peft_config["default"].use_dora:
            model = model.merge_and_unload()
        elif hasattr(model, "peft_config"):
            # Embeddings are no part of it; to find out PEFT would look the base up on the internet.
            tensors: dict[str, Tensor] = get_peft_model_state_dict(
                self.model, save_embedding_layers=False
            )
            kept = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
            save_file(kept, folder / "adapter_model.safetensors", metadata={"format": "pt"})
            self.model.peft_config["default"].save_pretrained(folder)
            return
        model.to(stored_dtype(self.base)).save_pretrained(folder)
        for file in self.base.iterdir():
            if file.is_file() and not file.name.endswith(WEIGHT_FILES):
                shutil.copyfile(file, folder / file.name)


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return multiplies_bfloat16()


def stored_dtype(base: Path) -> torch.dtype:
    """What the base's own weights are in: a whole model is given back as it came."""
    file = sorted(base.glob("*.safetensors"))[0]
    with safe_open(str(file), framework="pt") as tensors:
        dtype: torch.dtype = tensors.get_tensor(next(iter(tensors.keys()))).dtype
    return dtype


def load_weights(job: TuneJob) -> Weights:
    """The base with what is to be trained, made the same way for the same job."""
    logging.disable_progress_bar()
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.settings.seed)
    base = Path(job.base)
    device = device_here()
    model = load_base(base, _frozen_dtype(job, base, device)).to(device)
    if job.settings.is_adapter:
        wanted = _lora(job, (name for name, _ in model.named_modules()))
        # GPT-2 keeps its matrices the other way round.
        wanted.fan_in_fan_out = any(isinstance(part, Conv1D) for part in model.modules())
        with suiting(base):
            model = get_peft_model(model, wanted)
        # An adapter is named after its base and not after a folder on this machine.
        model.peft_config["default"].base_model_name_or_path = base.name
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    return Weights(model, trained, base, device)


def _frozen_dtype(job: TuneJob, base: Path, device: torch.device) -> torch.dtype:
    """What the base is held in: as it is stored where it stays as it is and products are bfloat16.

    That halves its memory. An adapter's own weights are float32 all the same: PEFT sees to it.
    """
    stored = stored_dtype(base)
    is_kept = job.settings.is_adapter and stored == torch.bfloat16 and has_bfloat16(device)
    return stored if is_kept else torch.float32


def load_base(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """A model that writes by transformers, from this disk only.

    Raises:
        InvalidInput: transformers cannot.
    """
    with suiting(folder):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)


@contextmanager
def suiting(base: Path) -> Iterator[None]:
    """What transformers and PEFT say of a base that they cannot take, in one line.

    Raises:
        InvalidInput: they cannot.
    """
    try:
        yield
    except (ValueError, KeyError, ImportError) as error:
        first = str(error).strip().splitlines()[0]
        raise InvalidInput(
            f"{base.name} cannot be tuned so: {first[:400]}",
            hint="Choose another base.",
            param="base",
        ) from error


def _lora(job: TuneJob, names: Iterable[str]) -> LoraConfig:
    return LoraConfig(
        r=job.settings.rank,
        lora_alpha=job.settings.alpha,
        lora_dropout=job.settings.dropout,
        use_dora=job.settings.method == "dora",
        target_modules=job.targets,
        exclude_modules=_OTHERS if any(map(re.compile(_OTHERS).match, names)) else None,
        bias="none",
        task_type="CAUSAL_LM",
    )
