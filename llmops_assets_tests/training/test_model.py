"""A fresh LoRA covers every layer that the recipe names, or there is none."""

from typing import Any

import pytest
from transformers import Phi3Config, Phi3ForCausalLM, Qwen2Config, Qwen2ForCausalLM

from llmops_assets.training.model import UnknownLoraTargets, new_adapter
from llmops_assets.training.specs import LORA_TARGETS, SftSpec

TINY: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def spec(*targets: str) -> SftSpec:
    return SftSpec(max_steps=1, learning_rate=0.1, lora_targets=list(targets))


def test_targets_that_match_no_layer_are_named_beside_the_layers_that_there_are() -> None:
    fused = Phi3ForCausalLM(Phi3Config(**TINY))
    with pytest.raises(UnknownLoraTargets) as caught:
        new_adapter(fused, spec(*LORA_TARGETS))
    message = str(caught.value)
    assert "lora_targets: q_proj, k_proj, v_proj, gate_proj, up_proj matches no layer of Phi3ForCausalLM" in message
    assert "its linear layers are down_proj, gate_up_proj, o_proj, qkv_proj." in message


def test_a_lora_without_any_match_is_refused_in_the_same_way() -> None:
    with pytest.raises(UnknownLoraTargets, match="c_attn matches no layer of Qwen2ForCausalLM"):
        new_adapter(Qwen2ForCausalLM(Qwen2Config(**TINY)), spec("c_attn"))


@pytest.mark.parametrize("targets", [("qkv_proj", "o_proj"), ("self_attn.qkv_proj",)])
def test_every_layer_that_is_named_gets_a_lora(targets: tuple[str, ...]) -> None:
    policy = new_adapter(Phi3ForCausalLM(Phi3Config(**TINY)), spec(*targets))
    trained = [name for name, weights in policy.named_parameters() if weights.requires_grad]
    assert all(any(f".{target}.lora_A" in name for name in trained) for target in targets)
