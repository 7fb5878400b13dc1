"""A prompt that both answers share: what is packed, what each answer sees, and that nothing else changes."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl.trainer.utils import FusedCausalLMOutput, add_fused_lm_head

from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.speed.padding_free_pairs import run_packed
from llmops_assets.training.speed.prefix_sharing import (
    PrefixNotSharable,
    attend_to_shared_prefixes,
    with_shared_prefixes,
)
from llmops_assets_tests.training.speed.pairs import collated, core_of, pair, pairs, small_lora

CASES = {
    "many": pairs(6),
    "one pair": [pair(9, 5, 7)],
    "a prompt longer than its answers": [pair(40, 2, 3), pair(3, 20, 1)],
    "answers of one token": [pair(6, 1, 1), pair(1, 1, 1, seed=1)],
    "answers that begin alike": [pair(5, 8, 12, common=6), pair(7, 9, 9, common=8, seed=1)],
    "one answer begins the other": [pair(5, 4, 9, common=4), pair(5, 4, 9, seed=1)],
    "equal answers": [pair(5, 6, 6, common=6), pair(4, 3, 8, seed=1)],
}


def test_a_pair_is_prefix_chosen_rejected() -> None:
    rows = [
        {"prompt_ids": [1, 2], "chosen_ids": [3, 4, 5], "rejected_ids": [3, 6]},
        {"prompt_ids": [7], "chosen_ids": [8], "rejected_ids": [9, 10, 11]},
    ]
    batch = collated(rows)
    row = with_shared_prefixes(batch["input_ids"], batch["attention_mask"])
    assert row.input_ids.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]]
    assert row.position_ids.tolist() == [[0, 1, 2, 3, 4, 3, 0, 1, 1, 2, 3]]
    assert row.attention["shared_prefixes"].lengths == [(3, 2, 1), (1, 1, 3)]
    attended = batch["attention_mask"].bool()
    assert torch.equal(row.input_ids[0][row.places[attended]], batch["input_ids"][attended])


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_those_of_padded_rows(base: BaseModelRef, name: str) -> None:
    batch = collated(CASES[name])
    padded, padded_gradients = run(base, batch, shared=False)
    packed, packed_gradients = run(base, batch, shared=True)
    for field in ("log_probs", "entropy", "mean_logits", "is_top1", "label_mask", "loss"):
        torch.testing.assert_close(packed[field], padded[field], rtol=1e-5, atol=1e-6)
    for parameter, gradient in padded_gradients.items():
        torch.testing.assert_close(packed_gradients[parameter], gradient, rtol=1e-4, atol=2e-6)


def test_batches_that_are_padded_on_the_left_share_no_less(base: BaseModelRef) -> None:
    right = collated([pair(9, 5, 5), pair(6, 3, 3, seed=1)])
    shift = (right["attention_mask"] == 0).sum(dim=1)
    left = {key: torch.stack([r.roll(int(s)) for r, s in zip(v, shift, strict=True)]) for key, v in right.items()}
    packed = with_shared_prefixes(left["input_ids"], left["attention_mask"])
    assert packed.attention["shared_prefixes"].lengths == [(9, 5, 5), (0, 9, 9)]
    scored = log_probs_of(base, left, shared=True).sum(dim=1)
    torch.testing.assert_close(scored, log_probs_of(base, right, shared=False).sum(dim=1), rtol=1e-6, atol=1e-5)


def test_a_rejected_answer_does_not_see_the_chosen_one(base: BaseModelRef) -> None:
    rows = [pair(9, 6, 7), pair(4, 5, 6, seed=1)]
    other = [{**row, "chosen_ids": [id_ + 7 for id_ in row["chosen_ids"]]} for row in rows]
    first, second = (log_probs_of(base, collated(each), shared=True).chunk(2) for each in (rows, other))
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_recomputed_activations_have_the_same_gradients(base: BaseModelRef) -> None:
    batch = collated(pairs(4))
    kept = run(base, batch, shared=True)[1]
    recomputed = run(base, batch, shared=True, checkpointing=True)[1]
    assert all(torch.equal(recomputed[name], gradient) for name, gradient in kept.items())


def test_other_calls_of_the_model_get_their_causal_mask(base: BaseModelRef) -> None:
    model = small_lora(base.name).eval()
    batch = collated(pairs(3))
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    before = model(**inputs).logits
    attend_to_shared_prefixes(core_of(model))
    assert torch.equal(model(**inputs).logits, before)


def test_sliding_windows_are_refused() -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    config = Qwen2Config(
        vocab_size=50, num_hidden_layers=2, use_sliding_window=True, sliding_window=4, max_window_layers=1, **sizes
    )
    with pytest.raises(PrefixNotSharable, match=r"full_attention, sliding_attention\); set batching: padding_free"):
        attend_to_shared_prefixes(Qwen2ForCausalLM(config))


def log_probs_of(base: BaseModelRef, batch: dict[str, Tensor], *, shared: bool) -> Tensor:
    log_probs = run(base, batch, shared=shared)[0].log_probs
    assert log_probs is not None
    return log_probs


def run(
    base: BaseModelRef, batch: dict[str, Tensor], *, shared: bool, checkpointing: bool = False
) -> tuple[FusedCausalLMOutput, dict[str, Tensor]]:
    """The fused head's output on the batch, and the LoRA's gradients of a weighted sum of its log-probs."""
    model = small_lora(base.name)
    core = core_of(model)
    add_fused_lm_head(core, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    if checkpointing:
        model.enable_input_require_grads()
        core.gradient_checkpointing_enable()
        model.train()
    if shared:
        attend_to_shared_prefixes(core)
        run_packed(core, with_shared_prefixes)
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    output = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        labels=labels,
        use_cache=False,
        fused_lm_head=True,
    )
    log_probs = output.log_probs.sum(dim=1)
    (log_probs * torch.linspace(-1, 2, len(log_probs))).mean().backward()
    return output, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
