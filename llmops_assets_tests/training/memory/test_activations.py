"""Activation bytes against what autograd really keeps, counted with saved-tensor hooks on tiny real models."""

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor

from llmops_assets.training.memory.activations import (
    HEAD_TOKENS,
    HEAD_VOCABULARY,
    Batch,
    batch_of,
    busiest_moment_bytes,
    head_bytes,
    kept_bytes,
)
from llmops_assets.training.specs import AnyStageSpec

from .models import dpo, model, sft, shape, with_lora

SMALL = {"rows": 2, "length": 32}
WIDER = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 8}


def kept_by_autograd(spec: AnyStageSpec, batch: Batch, dimensions: dict[str, Any]) -> int:
    """Bytes of the different storages that the backward pass of the blocks needs, parameters left out."""
    base = model(dtype=torch.bfloat16 if spec.precision == "bf16" else torch.float32, **dimensions)
    engine_casts = spec.backend.startswith("zero")
    wrapped = with_lora(base, spec, fp32=not engine_casts)
    if spec.activation_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
        base.enable_input_require_grads()
    parameters = {p.data_ptr() for p in wrapped.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if (where := tensor.untyped_storage().data_ptr()) not in parameters:
            kept[where] = tensor
        return tensor

    tokens = torch.zeros(batch.rows, batch.length, dtype=torch.long)
    mask = torch.ones_like(tokens)
    if batch.masked:
        mask[0, batch.length // 2 :] = 0
    autocast = spec.precision == "bf16" and not engine_casts
    context = torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), context:
        base.model(input_ids=tokens, attention_mask=mask, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("dimensions", [{}, WIDER], ids=["grouped", "all heads"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "fp32"},
        {"precision": "bf16"},
        {"precision": "bf16", "backend": "plain"},
        {"precision": "bf16", "lora_targets": ["q_proj", "v_proj"]},
        {"precision": "bf16", "activation_checkpointing": True},
    ],
    ids=["fp32", "cast by the engine", "autocast", "two targets", "checkpointing"],
)
def test_kept_activations_are_those_of_autograd(
    settings: dict[str, object], masked: bool, dimensions: dict[str, Any]
) -> None:
    spec, batch = sft(lora_r=4, **settings), Batch(**SMALL, masked=masked)
    assert kept_bytes(shape(**dimensions), spec, batch) == kept_by_autograd(spec, batch, dimensions)


def test_targets_without_attention_inputs_are_an_upper_bound() -> None:
    """The attention of the first block needs no backward pass then; the estimate counts it all the same."""
    spec, batch = sft(precision="fp32", lora_r=4, lora_targets=["o_proj", "down_proj"]), Batch(**SMALL, masked=False)
    deep: dict[str, Any] = {"num_hidden_layers": 12}
    kept, estimated = kept_by_autograd(spec, batch, deep), kept_bytes(shape(**deep), spec, batch)
    assert kept < estimated < 1.05 * kept


def test_cpt_attends_over_one_long_row_and_dpo_has_two_rows_per_pair() -> None:
    cpt_like = batch_of(sft(batch_size=4, max_length=100))
    assert (cpt_like.rows, cpt_like.tokens, cpt_like.masked) == (4, 400, True)
    assert batch_of(sft(batch_size=1)).masked is False
    assert batch_of(dpo(batch_size=3)).rows == 6
    from llmops_assets.training.specs import CptSpec

    packed = batch_of(CptSpec(max_steps=1, learning_rate=0.1, batch_size=4, max_length=100))
    assert (packed.rows, packed.length, packed.masked) == (1, 400, True)


def test_head_holds_one_tile_of_logits_however_many_tokens() -> None:
    few, many = Batch(1, HEAD_TOKENS, False), Batch(4, HEAD_TOKENS, False)
    spec = sft(precision="bf16")
    per_token = 48 * (2 * 2 + 4) + 7 * 4
    assert head_bytes(shape(), spec, many) - head_bytes(shape(), spec, few) == 3 * HEAD_TOKENS * per_token
    assert head_bytes(shape(), spec, few) == 2 * HEAD_TOKENS * HEAD_VOCABULARY + HEAD_TOKENS * per_token


def test_tile_is_that_of_the_installed_trl() -> None:
    from trl.kernels import chunked_logprob
    from trl.trainer import utils

    assert (chunked_logprob.TOKEN_CHUNK_SIZE, utils._CHUNKED_LOGPROB_CHUNK_SIZE) == (HEAD_TOKENS, HEAD_VOCABULARY)


def test_checkpointing_recomputes_one_block_in_the_busiest_moment() -> None:
    wide = shape(hidden_size=4096, intermediate_size=14336, num_attention_heads=32, num_key_value_heads=8)
    batch = Batch(8, 2048, True)
    plain, again = sft(), sft(activation_checkpointing=True)
    assert busiest_moment_bytes(wide, again, batch) > busiest_moment_bytes(wide, plain, batch)
    assert kept_bytes(wide, again, batch) < 0.1 * kept_bytes(wide, plain, batch)
