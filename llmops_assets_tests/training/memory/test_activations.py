"""Activation bytes against what autograd really keeps, counted with saved-tensor hooks on tiny real models."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from llmops_assets.training.memory.activations import (
    HEAD_TOKENS,
    HEAD_VOCABULARY,
    block_backward_bytes,
    busiest_moment_bytes,
    head_bytes,
    kept_bytes,
)
from llmops_assets.training.memory.attention import attention_bytes, mask_bytes
from llmops_assets.training.memory.micro_batch import Batch
from llmops_assets.training.specs import AnyStageSpec
from llmops_assets.training.speed.fused_lora import fuse_lora
from llmops_assets.training.speed.prefix_sharing import attend_to_shared_prefixes, with_shared_prefixes
from llmops_assets.training.speed.segment_attention import SEGMENTS, register_segment_attention

from .models import model, sft, shape, with_lora

ROWS, LENGTH = 2, 32
WIDER: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 8}
PADDED = Batch(ROWS, LENGTH)
PADDED_WITH_MASK = Batch(ROWS, LENGTH, "masked")
IN_ONE_ROW = Batch(1, ROWS * LENGTH, "documents")
PAIR = Batch(1, ROWS * LENGTH, "prefixes", pairs=1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The models are too small for more, and threads that wait for each other take seconds beside a busy process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def kept_by_autograd(
    spec: AnyStageSpec, batch: Batch, dimensions: dict[str, Any], attention: str = "sdpa", family: str = "qwen2"
) -> int:
    """Bytes of the different storages that the backward pass of the blocks needs, parameters left out."""
    base = model(family, dtype=torch.bfloat16 if spec.precision == "bf16" else torch.float32, **dimensions)
    base.train()
    engine_casts = spec.backend.startswith("zero")
    if spec.finetuning == "full":
        wrapped = base if engine_casts else base.float()
    else:
        wrapped = with_lora(base, spec, fp32=not engine_casts)
        if spec.fused_lora:
            fuse_lora(wrapped)
    if spec.activation_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
        base.enable_input_require_grads()
    inputs = model_inputs(base, batch, attention)
    parameters = {p.data_ptr() for p in wrapped.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if (where := tensor.untyped_storage().data_ptr()) not in parameters:
            kept[where] = tensor
        return tensor

    autocast = spec.precision == "bf16" and not engine_casts
    context = torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), context:
        base.model(use_cache=False, **inputs)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def model_inputs(base: PreTrainedModel, batch: Batch, attention: str) -> dict[str, Any]:
    """Switch `base` to `attention` and return a batch for it: padded, two documents in a row, or a pair that differs
    from its first token on."""
    if batch.pairs:
        attend_to_shared_prefixes(base)
        texts = torch.arange(batch.tokens).view(2 * batch.pairs, -1)
        row = with_shared_prefixes(texts, torch.ones_like(texts))
        return {"input_ids": row.input_ids, "position_ids": row.position_ids, **row.attention}
    register_segment_attention()
    base.set_attn_implementation(attention)
    tokens = torch.zeros(batch.rows, batch.length, dtype=torch.long)
    if batch.rows == 1:
        return {"input_ids": tokens, "position_ids": (torch.arange(batch.length) % LENGTH)[None]}
    mask = torch.ones_like(tokens)
    if batch.attention != "causal" or attention == SEGMENTS:
        mask[0, batch.length // 2 :] = 0
    return {"input_ids": tokens, "attention_mask": mask}


EVERY_ATTENTION = pytest.mark.parametrize(
    ("batch", "attention"),
    [
        (PADDED, "sdpa"),
        (PADDED_WITH_MASK, "sdpa"),
        (PADDED, SEGMENTS),
        (Batch(ROWS, LENGTH, "scores"), "eager"),
        (IN_ONE_ROW, SEGMENTS),
        (Batch(1, ROWS * LENGTH, "masked"), "sdpa"),
        (Batch(1, ROWS * LENGTH, "scores"), "eager"),
        (PAIR, "shared prefixes"),
    ],
    ids=["equal rows", "padded", "padded, segments", "eager", "one row, segments", "one row", "one row, eager", "pair"],
)


@EVERY_ATTENTION
@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "fp32"},
        {"precision": "bf16"},
        {"precision": "bf16", "backend": "plain"},
        {"precision": "bf16", "backend": "plain", "fused_lora": False},
    ],
    ids=["fp32", "cast by the engine", "autocast", "autocast, not fused"],
)
def test_kept_activations_are_those_of_autograd(settings: dict[str, object], batch: Batch, attention: str) -> None:
    spec = sft(lora_r=4, **settings)
    assert kept_bytes(shape(), spec, batch) == kept_by_autograd(spec, batch, {}, attention)


@EVERY_ATTENTION
def test_heads_without_groups_are_not_repeated(batch: Batch, attention: str) -> None:
    spec = sft(lora_r=4, precision="bf16")
    assert kept_bytes(shape(**WIDER), spec, batch) == kept_by_autograd(spec, batch, WIDER, attention)


@pytest.mark.parametrize(("batch", "attention"), [(PADDED, "sdpa"), (PADDED_WITH_MASK, "sdpa"), (IN_ONE_ROW, SEGMENTS)])
@pytest.mark.parametrize(
    "settings",
    [
        {"lora_targets": ["q_proj", "v_proj"]},
        {"lora_targets": ["q_proj", "v_proj"], "backend": "plain"},
        {"activation_checkpointing": True},
    ],
    ids=["two targets", "two targets, autocast", "checkpointing"],
)
def test_fewer_targets_and_checkpointing_keep_less(settings: dict[str, object], batch: Batch, attention: str) -> None:
    spec = sft(lora_r=4, **settings)
    assert kept_bytes(shape(), spec, batch) == kept_by_autograd(spec, batch, {}, attention)
    assert kept_bytes(shape(), spec, batch) < kept_bytes(shape(), sft(lora_r=4), batch)


@pytest.mark.parametrize(("batch", "attention"), [(PADDED, "sdpa"), (IN_ONE_ROW, SEGMENTS)])
@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "fp32"},
        {"precision": "bf16"},
        {"precision": "bf16", "backend": "plain"},
        {"precision": "bf16", "activation_checkpointing": True},
    ],
    ids=["fp32", "cast by the engine", "autocast", "checkpointing"],
)
def test_full_fine_tuning_keeps_what_every_weight_needs(
    settings: dict[str, object], batch: Batch, attention: str
) -> None:
    spec = sft(finetuning="full", **settings)
    assert kept_bytes(shape(), spec, batch) == kept_by_autograd(spec, batch, {}, attention)


def test_fused_lora_keeps_less_under_autocast_alone() -> None:
    def saved(**settings: Any) -> float:
        peft, fused = (kept_bytes(shape(), sft(fused_lora=on, **settings), PADDED) for on in (False, True))
        return peft - fused

    assert saved(backend="plain") > 0
    assert saved(backend="zero2") == saved(precision="fp32", backend="plain") == 0
    # PEFT computes what the fused layer does not.
    assert saved(backend="plain", lora_dropout=0.1) == saved(backend="plain", quantization="4bit") == 0


def test_targets_without_attention_inputs_are_an_upper_bound() -> None:
    """The attention of the first block needs no backward pass then; the estimate counts it all the same."""
    spec, batch = sft(precision="fp32", lora_r=4, lora_targets=["o_proj", "down_proj"]), PADDED
    deep: dict[str, Any] = {"num_hidden_layers": 12}
    kept, estimated = kept_by_autograd(spec, batch, deep), kept_bytes(shape(**deep), spec, batch)
    assert kept < estimated < 1.05 * kept


@pytest.mark.parametrize("prefix", [1, LENGTH // 2, LENGTH - 1])
def test_pairs_that_share_a_prefix_keep_less_than_the_estimate(prefix: int) -> None:
    base = model()
    attend_to_shared_prefixes(base)
    texts = torch.arange(2 * LENGTH).view(2, LENGTH)
    texts[1, :prefix] = texts[0, :prefix]
    row = with_shared_prefixes(texts, torch.ones_like(texts))
    assert row.input_ids.shape[1] == 2 * LENGTH - prefix < PAIR.tokens
    assert sum(mask.numel() for mask in row.attention["shared_prefixes"].masks) < mask_bytes(sft(), PAIR)


def test_mask_over_one_row_has_the_square_of_its_tokens_and_documents_have_none() -> None:
    spec = sft(precision="bf16")
    rows, one_row = Batch(4, 100, "masked"), Batch(1, 400, "masked")
    assert mask_bytes(spec, one_row) == 4 * mask_bytes(spec, rows) == 400**2
    assert mask_bytes(spec, Batch(1, 400, "documents")) == mask_bytes(spec, Batch(4, 100)) == 0
    # Eager adds numbers: 2 bytes each beside the boolean.
    assert mask_bytes(spec, Batch(1, 400, "scores")) == 3 * 400**2


def test_eager_scores_outgrow_everything_else_in_both_passes() -> None:
    spec, kernel, eager = sft(precision="bf16"), Batch(1, 4096, "causal"), Batch(1, 4096, "scores")
    assert attention_bytes(shape(), spec, eager) > 6 * 4 * 4096**2
    assert block_backward_bytes(shape(), spec, eager) > 6 * 4 * 4096**2
    assert block_backward_bytes(shape(), spec, kernel) < 0.1 * block_backward_bytes(shape(), spec, eager)


def test_head_holds_one_tile_of_logits_however_many_tokens() -> None:
    few, many = Batch(1, HEAD_TOKENS), Batch(4, HEAD_TOKENS)
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
    batch = Batch(8, 2048, "masked")
    plain, again = sft(), sft(activation_checkpointing=True)
    assert busiest_moment_bytes(wide, again, batch) > busiest_moment_bytes(wide, plain, batch)
    assert kept_bytes(wide, again, batch) < 0.1 * kept_bytes(wide, plain, batch)
