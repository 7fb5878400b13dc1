"""Rows without padding: where their tokens go, and that the fused head says of each what it says of padded rows."""

import pytest
import torch
from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM
from trl.trainer.utils import add_fused_lm_head

from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.speed.padding_free_pairs import run_packed, without_padding
from llmops_assets.training.speed.segment_attention import register_segment_attention
from llmops_assets_tests.training.speed.pairs import collated, core_of, pairs, small_lora


def test_rows_follow_each_other_and_begin_at_position_0() -> None:
    ids = torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0], [6, 7, 8, 9]])
    row = without_padding(ids, (ids > 0).long())
    assert row.input_ids.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9]]
    assert row.position_ids.tolist() == [[0, 1, 2, 0, 1, 0, 1, 2, 3]]
    assert row.attention["cu_seq_lens_q"].tolist() == [0, 3, 5, 9]
    assert row.attention["max_length_k"] == 4
    assert torch.equal(row.input_ids[0][row.places[ids > 0]], ids[ids > 0])


@pytest.mark.parametrize("attention", ["eager", "sdpa", "segments"])
def test_the_fused_head_says_of_each_token_what_it_says_of_padded_rows(base: BaseModelRef, attention: str) -> None:
    register_segment_attention()
    model = small_lora(base.name)
    core = core_of(model)
    batch = collated(pairs(5))
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels}
    outputs = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
    add_fused_lm_head(core, outputs=outputs)
    padded = model(**inputs, use_cache=False, fused_lm_head=True)
    core.set_attn_implementation(attention)
    run_packed(core, without_padding)
    packed = model(**inputs, use_cache=False, fused_lm_head=True)
    for name in (*outputs, "loss", "label_mask"):
        torch.testing.assert_close(packed[name], padded[name], rtol=1e-5, atol=1e-6, msg=lambda text, n=name: n + text)
    assert packed.aux_loss is None


def test_calls_without_the_fused_head_are_left_alone(base: BaseModelRef) -> None:
    model = small_lora(base.name).eval()
    batch = collated(pairs(2))
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    before = model(**inputs).logits
    core = core_of(model)
    add_fused_lm_head(core)
    run_packed(core, without_padding)
    assert torch.equal(model(**inputs).logits, before)
    model.generate(**inputs, max_new_tokens=2, do_sample=False)


def test_the_load_balancing_loss_of_experts_is_that_of_padded_rows() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "moe_intermediate_size": 16, "num_hidden_layers": 2}
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "output_router_logits": True}
    config = Qwen2MoeConfig(vocab_size=300, num_attention_heads=2, num_key_value_heads=1, **sizes, **experts)
    model = Qwen2MoeForCausalLM(config)
    add_fused_lm_head(model)
    batch = collated(pairs(3))
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels}
    padded = model(**inputs, fused_lm_head=True)
    run_packed(model, without_padding)
    packed = model(**inputs, fused_lm_head=True)
    assert padded.aux_loss is not None
    torch.testing.assert_close(packed.aux_loss, padded.aux_loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(packed.loss, padded.loss, rtol=1e-6, atol=0)
