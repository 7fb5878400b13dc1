"""The implementation "segments" against sdpa with the mask that keeps documents apart."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from llmops_assets.training.speed import segment_attention
from llmops_assets.training.speed.segment_attention import register_segment_attention

LENGTHS = [7, 19, 19, 1, 12]


def decoder(**options: Any) -> Qwen2ForCausalLM:
    register_segment_attention()
    torch.manual_seed(1)
    sizes = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Qwen2Config(**{"vocab_size": 97, "num_key_value_heads": 2, "pad_token_id": 0, **sizes, **options})
    model = Qwen2ForCausalLM(config)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def copy_with(model: Qwen2ForCausalLM, attention: str) -> Qwen2ForCausalLM:
    other = copy.deepcopy(model)
    other.set_attn_implementation(attention)
    return other


def packed(lengths: list[int], *, boundaries: bool) -> dict[str, Any]:
    """One row as TRL's collator makes it; without `boundaries` only positions tell where documents begin."""
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    ids = torch.randint(3, 97, positions.shape, generator=torch.Generator().manual_seed(4))
    batch: dict[str, Any] = {
        "input_ids": ids,
        "position_ids": positions,
        "labels": ids.masked_fill(positions == 0, -100),
    }
    if boundaries:
        ends = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
        batch |= {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": max(lengths)}
    return batch


def padded(lengths: list[int], side: str) -> dict[str, Tensor]:
    longest = max(lengths)
    ids = torch.randint(3, 97, (len(lengths), longest), generator=torch.Generator().manual_seed(4))
    real = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    if side == "left":
        real = real.flip(1)
    ids = ids.masked_fill(~real, 0)
    return {"input_ids": ids, "attention_mask": real.long(), "labels": ids.masked_fill(~real, -100)}


def step(model: Qwen2ForCausalLM, batch: dict[str, Any]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    model.zero_grad()
    output = model(**batch, use_cache=False)
    output.loss.backward()
    return output.logits, output.loss, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same_step(model: Qwen2ForCausalLM, batch: dict[str, Any]) -> None:
    logits, loss, gradients = step(copy_with(model, "sdpa"), batch)
    our_logits, our_loss, our_gradients = step(copy_with(model, "segments"), batch)
    counted = batch["labels"] != -100
    torch.testing.assert_close(our_logits[counted], logits[counted], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(our_loss, loss, rtol=1e-6, atol=1e-6)
    assert our_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(our_gradients[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("boundaries", [True, False])
@pytest.mark.parametrize("lengths", [LENGTHS, [16, 16, 16], [30]])
def test_packed_rows_give_the_values_and_gradients_of_sdpa(lengths: list[int], boundaries: bool) -> None:
    assert_same_step(decoder(), packed(lengths, boundaries=boundaries))


def test_a_packed_row_gives_each_document_what_it_gets_alone() -> None:
    model = copy_with(decoder(), "segments").eval()
    batch = packed(LENGTHS, boundaries=True)
    together = model(**batch, use_cache=False).logits.split(LENGTHS, dim=1)
    for ids, found in zip(batch["input_ids"].split(LENGTHS, dim=1), together, strict=True):
        torch.testing.assert_close(found, model(input_ids=ids, use_cache=False).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows_give_the_values_and_gradients_of_sdpa(side: str) -> None:
    assert_same_step(decoder(), padded(LENGTHS, side))


def test_rows_without_padding_give_the_values_and_gradients_of_sdpa() -> None:
    assert_same_step(decoder(), padded([9, 9], "right"))


def test_several_packed_rows_give_the_values_and_gradients_of_sdpa() -> None:
    rows = packed([5, 8, 7, 10], boundaries=False)
    assert_same_step(decoder(), {name: tensor.view(2, 15) for name, tensor in rows.items()})


def test_a_sliding_window_is_kept() -> None:
    window = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}
    model = decoder(**window)
    assert set(model.config.layer_types or ()) == {"sliding_attention"}
    assert_same_step(model, padded([9, 20], "right"))
    assert_same_step(model, packed([20, 11], boundaries=False))


def test_no_mask_over_pairs_of_tokens_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise AssertionError("a mask was built")

    monkeypatch.setattr(segment_attention, "sdpa_mask", refuse)
    model = copy_with(decoder(), "segments")
    step(model, packed(LENGTHS, boundaries=True))
    step(model, padded(LENGTHS, "right"))
    with pytest.raises(AssertionError, match="a mask was built"):
        step(model, padded(LENGTHS, "left"))


@pytest.mark.parametrize("side", ["left", "right"])
def test_generation_with_a_cache_is_that_of_sdpa(side: str) -> None:
    model = decoder()
    batch = padded([5, 9], side)
    del batch["labels"]
    texts = [
        copy_with(model, attention).generate(**batch, max_new_tokens=6, do_sample=False)  # pyright: ignore
        for attention in ("sdpa", "segments")
    ]
    assert torch.equal(texts[0], texts[1])


def test_activation_checkpointing_gives_the_same_gradients() -> None:
    model = copy_with(decoder(), "segments").train()
    batch = packed(LENGTHS, boundaries=True)
    expected = {name: gradient.clone() for name, gradient in step(model, batch)[2].items()}
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for name, gradient in step(model, batch)[2].items():
        assert torch.equal(gradient, expected[name]), name
