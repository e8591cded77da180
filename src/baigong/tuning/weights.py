"""The weights that are trained, in float32, and the base round them; saved in the formats of the field."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging
from typing_extensions import override

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
    of a language model do not tell. `takes_bfloat16` says whether its products may be in that at all,
    `is_halved` that its frozen matrices are held so.
    """

    model: Any
    trained: dict[str, torch.nn.Parameter]
    base: Path
    device: torch.device
    running: dict[str, Tensor] = field(default_factory=dict)
    kept: int = 0
    takes_bfloat16: bool = True
    is_halved: bool = False

    @property
    def causal(self) -> Any:
        """The language model itself; the layers of an adapter are inside it."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    @property
    def has_bfloat16(self) -> bool:
        """Whether products are in bfloat16: where the device has them faster than float32."""
        return self.takes_bfloat16 and has_bfloat16(self.device)

    def autocast(self) -> AbstractContextManager[object]:
        """Products in bfloat16 where there are instructions for them; what is trained stays float32.

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
    dtype = _frozen_dtype(job, base, device)
    model = load_base(base, dtype).to(device)
    if job.settings.is_adapter:
        with suiting(base):
            model = get_peft_model(model, _lora(job, model))
        # An adapter is named after its base and not after a folder on this machine.
        model.peft_config["default"].base_model_name_or_path = base.name
        _slim_dropout(model)
    # DoRA measures the base, and saves it with the adapter merged in: its bits count there.
    is_halved = job.settings.makes_adapter and has_bfloat16(device)
    if is_halved and dtype != torch.bfloat16:
        _halve(model)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    return Weights(model, trained, base, device, is_halved=is_halved)


class _SlimDropout(torch.nn.Dropout):
    """Keeps a byte of each number for the backward pass: torch's own keeps a number, on a processor."""

    @override
    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        if torch.is_autocast_enabled(input.device.type):
            input = input.to(torch.get_autocast_dtype(input.device.type))
        dropped: Tensor = torch.native_dropout(input, self.p, True)[0]
        return dropped


def _slim_dropout(model: Any) -> None:
    """Have an adapter's layers keep less of what they drop."""
    for module in model.modules():
        if isinstance(module, LoraLayer):
            for name, layer in module.lora_dropout.items():
                if type(layer) is torch.nn.Dropout:
                    module.lora_dropout[name] = _SlimDropout(layer.p)


def _frozen_dtype(job: TuneJob, base: Path, device: torch.device) -> torch.dtype:
    """What the base is held in: as it is stored where it stays as it is and products are bfloat16.

    That halves its memory. An adapter's own weights are float32 all the same: PEFT sees to it.
    """
    stored = stored_dtype(base)
    is_kept = job.settings.is_adapter and stored == torch.bfloat16 and has_bfloat16(device)
    return stored if is_kept else torch.float32


def _halve(model: Any) -> None:
    """Hold the matrices that stay as they are in bfloat16: autocast would make that of them in every
    pass, and keep it for the backward one. What else reads a matrix, such as an embedding, has it whole.
    """
    modules = list(model.modules())
    whole = {
        parameter
        for module in modules
        if type(module) is not torch.nn.Linear
        for parameter in module.parameters(recurse=False)
    }
    for parameter in model.parameters():
        if not parameter.requires_grad:
            # A copy of the others lets go of the file, which lies in memory as long as one is its view.
            data = parameter.data
            parameter.data = data.clone() if parameter in whole else data.bfloat16()


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


def is_turned(model: Any) -> bool:
    """Whether its matrices are kept the other way round, as GPT-2's are."""
    return any(isinstance(part, Conv1D) for part in model.modules())


def _lora(job: TuneJob, model: Any) -> LoraConfig:
    names = (name for name, _ in model.named_modules())
    return LoraConfig(
        r=job.settings.rank,
        lora_alpha=job.settings.alpha,
        lora_dropout=job.settings.dropout,
        use_dora=job.settings.method == "dora",
        target_modules=job.targets,
        exclude_modules=_OTHERS if any(map(re.compile(_OTHERS).match, names)) else None,
        fan_in_fan_out=is_turned(model),
        bias="none",
        task_type="CAUSAL_LM",
    )
