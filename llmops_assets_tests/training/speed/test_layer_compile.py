"""Compiled decoder layers against plain ones; needs a C++ compiler, as the product does."""

import copy
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from llmops_assets.training.speed.fused_lora import fuse_lora
from llmops_assets.training.speed.layer_compile import CompilerUnavailable, compile_layers
from llmops_assets.training.speed.segment_attention import register_segment_attention

LENGTHS = ([9, 14], [30], [5, 5, 21], [40, 7])


def decoder(attention: str) -> PeftModel:
    register_segment_attention()
    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
    )
    base = Qwen2ForCausalLM(config)
    base.set_attn_implementation(attention)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"]))
    assert isinstance(model, PeftModel)
    return model


def train(model: PeftModel) -> list[float]:
    """Train on packed rows, each of another length, and return the losses."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-2)
    losses = []
    for lengths in LENGTHS:
        positions = torch.cat([torch.arange(length) for length in lengths])[None]
        ids = 3 + positions % 5
        loss = model(input_ids=ids, position_ids=positions, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++")
@pytest.mark.parametrize("attention", ["sdpa", "segments"])
def test_compiled_layers_give_the_same_losses(attention: str) -> None:
    plain = decoder(attention)
    compiled = copy.deepcopy(plain)
    names = set(plain.state_dict())
    assert fuse_lora(compiled) == 6
    assert compile_layers(compiled) == 2
    expected = train(plain)
    assert expected[-1] < expected[0] - 0.3
    assert train(compiled) == pytest.approx(expected, abs=1e-4)
    assert set(compiled.state_dict()) == names


def test_no_compiler_is_refused_before_anything_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(CompilerUnavailable, match=r"no-such-compiler on the PATH.*compile: none"):
        compile_layers(decoder("sdpa"))


@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler is looked for first")
def test_a_model_without_decoder_layers_is_refused() -> None:
    with pytest.raises(CompilerUnavailable, match="no list of decoder layers in Linear"):
        compile_layers(nn.Linear(2, 2))
