"""FLOPs per token in the shapes of real models, against a roofline computed apart from this code."""

import pytest

from llmops_assets.training.memory.shapes import ModelShape, shape_of_config
from llmops_assets.training.specs import SftSpec
from llmops_assets.training.speed.flops import mfu, peak_bf16_flops, training_flops

QWEN_1_5B = {
    "model_type": "qwen2",
    "hidden_size": 1536,
    "num_hidden_layers": 28,
    "intermediate_size": 8960,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
QWEN_7B = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
}
# One layer whose sizes can be worked out by hand: 36 weights in each linear layer, 12 in those of keys and values.
SMALL = {
    "model_type": "qwen2",
    "hidden_size": 6,
    "num_hidden_layers": 1,
    "intermediate_size": 6,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "vocab_size": 10,
}


def spec(**values: object) -> SftSpec:
    return SftSpec.model_validate({"max_steps": 1, "learning_rate": 1e-3, "max_length": 4096} | values)


def shape(config: dict[str, object]) -> ModelShape:
    return shape_of_config(config, "test")


@pytest.mark.parametrize(("config", "giga"), [(QWEN_1_5B, 7.2), (QWEN_7B, 30.75)])
def test_lora_needs_four_flops_per_weight(config: dict[str, object], giga: float) -> None:
    flops = training_flops(shape(config), spec(), tokens=1, labelled_tokens=1)
    assert (flops.useful - flops.lora) / 1e9 == pytest.approx(giga, abs=0.05)
    assert 0 < flops.lora < 0.02 * flops.useful


def test_each_part_of_a_small_model() -> None:
    lora = spec(lora_r=2, lora_targets=["q_proj", "k_proj"])
    flops = training_flops(shape(SMALL), lora, tokens=100, labelled_tokens=10, context=8)
    assert flops.body == 4 * (5 * 36 + 2 * 12) * 100
    assert flops.lora == 6 * 2 * ((6 + 6) + (6 + 2)) * 100
    assert flops.attention == 3 * (2 * 2 * 4 * 6) * 100
    assert flops.head == 4 * 60 * 10
    assert flops.recomputed == 0


def test_full_fine_tuning_needs_six_flops_per_weight() -> None:
    flops = training_flops(shape(SMALL), spec(finetuning="full"), tokens=100, labelled_tokens=10)
    assert flops.body == 6 * 204 * 100
    assert flops.lora == 0
    assert flops.head == 6 * 60 * 10


def test_activation_checkpointing_recomputes_the_blocks_and_is_no_progress() -> None:
    plain = training_flops(shape(QWEN_7B), spec(), tokens=1, labelled_tokens=1)
    kept = training_flops(shape(QWEN_7B), spec(activation_checkpointing=True), tokens=1, labelled_tokens=1)
    assert kept.useful == plain.useful
    assert kept.recomputed == pytest.approx(plain.body / 2 + plain.lora / 3 + plain.attention / 3)
    assert 0.4 < kept.executed / plain.executed - 1 < 0.5


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA B200", 2250),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("AMD Instinct MI300X", 1307),
    ],
)
def test_peak_by_the_name_of_the_device(name: str, tera: float) -> None:
    assert peak_bf16_flops(name) == tera * 1e12


@pytest.mark.parametrize("name", ["cpu", "AMD EPYC 9B14", "Tesla T4", ""])
def test_no_peak_for_cpus_and_unknown_gpus(name: str) -> None:
    assert peak_bf16_flops(name) is None


def test_utilisation_is_the_share_of_the_peak() -> None:
    assert mfu(flops=2e15, seconds=4.0, peak=1e15) == 0.5
    assert mfu(flops=2e15, seconds=4.0, peak=None) is None
