"""FLOPs per token in the shapes of real models, against a roofline computed apart from this code."""

import pytest

from llmops_assets.training.memory.shapes import ModelShape, shape_of_config
from llmops_assets.training.specs import DpoSpec, SftSpec
from llmops_assets.training.speed.flops import flops_per_seen_token, mfu, peak_bf16_flops, training_flops

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


def test_attention_is_counted_on_the_texts_and_not_on_the_rows_that_they_are_packed_into() -> None:
    """Eight texts of 100 tokens in one row of 800: a token attends to half of its own text."""
    packed = spec(batching="packed", max_length=800)
    counts = {"train_text_tokens": 800, "train_tokens_with_loss": 800, "train_squared_lengths": 8 * 100**2}
    expected = training_flops(shape(SMALL), packed, tokens=1, labelled_tokens=1, context=100)
    assert flops_per_seen_token(shape(SMALL), packed, counts) == pytest.approx(expected.useful)
    assert expected.attention == training_flops(shape(SMALL), packed, tokens=1, labelled_tokens=1).attention / 8


def test_shared_prompts_are_computed_once_and_seen_twice() -> None:
    """A pair with a prompt of 60 tokens, answers of 20 and 40: texts of 80 and 100 tokens."""
    counts = {
        "train_text_tokens": 180,
        "train_tokens_with_loss": 60,
        "train_squared_lengths": 80**2 + 100**2,
        "train_shared_tokens": 60,
        "train_squared_shared_lengths": 60**2,
    }
    padded, sharing = (
        DpoSpec(max_steps=1, learning_rate=0.1, batching=batching) for batching in ("padded", "prefix_sharing")
    )
    whole = flops_per_seen_token(shape(QWEN_1_5B), padded, counts)
    shared = flops_per_seen_token(shape(QWEN_1_5B), sharing, counts)
    assert whole is not None and shared is not None
    qwen, lora = shape(QWEN_1_5B), {"tokens": 60, "labelled_tokens": 0}
    # The prompt attends to itself alone: half of its length on average.
    assert 180 * (whole - shared) == pytest.approx(training_flops(qwen, padded, **lora, context=60).useful)
    # Its labels are those of the answers.
    head = training_flops(qwen, padded, tokens=0, labelled_tokens=60, context=0).head
    assert 180 * whole == pytest.approx(
        training_flops(qwen, padded, tokens=180, labelled_tokens=0, context=16400 / 180).useful + head
    )


def test_rows_whose_texts_were_not_counted_give_no_flops() -> None:
    assert flops_per_seen_token(shape(SMALL), spec(), {"train_rows": 1, "train_tokens": 100}) is None


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
