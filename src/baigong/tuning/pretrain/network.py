"""The network: stock Qwen3 from transformers, its loss on packed rows, and its optimisers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from transformers import Qwen3Config, Qwen3ForCausalLM

from baigong.tuning.pretrain.batches import Batch
from baigong.tuning.pretrain.recipe import PretrainRecipe

LossFunction = Callable[..., torch.Tensor]


def build(recipe: PretrainRecipe, vocabulary: int, end_id: int, pad_id: int) -> Any:
    shape = recipe.shape
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.intermediate,
        max_position_embeddings=shape.context,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end_id,
        pad_token_id=pad_id,
        use_cache=False,
        attn_implementation="sdpa",
    )
    torch.manual_seed(recipe.seed)
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        # Every block starts as the identity: steadier first steps at a high learning rate.
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    return model.train().to(recipe.device)


def optimisers(model: Any, recipe: PretrainRecipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for the embedding and the norms."""
    schedule = recipe.schedule
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in inside]
    return [
        torch.optim.Muon(
            matrices, lr=schedule.matrix_lr, weight_decay=schedule.weight_decay, momentum=0.95
        ),
        torch.optim.AdamW(
            others, lr=schedule.embedding_lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0
        ),
    ]


def make_loss(model: Any, recipe: PretrainRecipe) -> LossFunction:
    """The weighted sum of cross entropies over one micro-batch; compiled where a compiler is."""
    device = torch.device(recipe.device).type

    def loss(
        inputs: torch.Tensor,
        targets: torch.Tensor,
        weights: torch.Tensor,
        segments: torch.Tensor,
        positions: torch.Tensor,
    ) -> torch.Tensor:
        mask = _mask(segments)
        with torch.autocast(device, dtype=torch.bfloat16):
            hidden = model.model(
                input_ids=inputs,
                attention_mask={"full_attention": mask},
                position_ids=positions,
                use_cache=False,
            ).last_hidden_state
            logits = model.lm_head(hidden)
        flat = logits.view(-1, logits.shape[-1]).float()
        each = F.cross_entropy(flat, targets.view(-1), reduction="none")
        return (each * weights.view(-1)).sum()

    if recipe.compile and (device != "cpu" or shutil.which("g++") is not None):
        return torch.compile(loss, dynamic=False)
    return loss


def _mask(segments: torch.Tensor) -> torch.Tensor:
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return ((segments[:, :, None] == segments[:, None, :]) & causal)[:, None]


def tensors(batch: Batch, rows: slice, device: str) -> tuple[torch.Tensor, ...]:
    arrays = (batch.inputs, batch.targets, batch.weights, batch.segments, batch.positions)
    return tuple(torch.from_numpy(array[rows]).to(device) for array in arrays)
