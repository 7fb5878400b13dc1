"""A tiny pretraining run from a wheel to weights: reproducible, resumable, and refused when it cannot be right."""

import math
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmops_assets.training.bits_per_byte import bits_per_byte
from llmops_assets.training.pretrain_base import PretrainingError, pretrain_base
from llmops_assets.training.pretraining_loop import BaseModelRecipe
from llmops_assets.training.pretraining_optimizer import warmup_stable_decay
from llmops_assets.training.pretraining_sources import SourcePackage

PACKAGES = (SourcePackage("tinydocs", "1.0", "MIT", ("tinydocs",)),)
RECIPE = BaseModelRecipe(
    vocab_size=320,
    hidden_size=32,
    intermediate_size=48,
    layers=1,
    heads=2,
    key_value_heads=1,
    context_length=64,
    row_length=32,
    batch_rows=4,
    micro_batch_rows=2,
    workers=1,
    steps=12,
    warmup_steps=2,
    decay_steps=4,
    learning_rate=1e-2,
    seed=3,
    checkpoint_every=5,
)
SENTENCE = "Return the {} part of the value as a new object."


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("downloads")
    words = [f"{first}{second}" for first in ("up", "down", "in", "out", "on") for second in ("ward", "side", "line")]
    functions = [f'def {word}(value):\n    """{SENTENCE.format(word)}"""\n' for word in words]
    with zipfile.ZipFile(folder / "tinydocs-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tinydocs/__init__.py", "\n".join(functions))
        wheel.writestr("tinydocs-1.0.dist-info/METADATA", "Name: tinydocs\n\n" + SENTENCE.format("first"))
    return folder


@pytest.fixture(scope="module")
def uninterrupted(downloads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    figures = pretrain_base(out, packages=PACKAGES, recipe=RECIPE, downloads=downloads)
    assert figures["tokens_seen"] == 12 * 4 * 32
    return out


def test_the_written_model_loads_in_bfloat16_and_has_learned_its_text(uninterrupted: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(uninterrupted), AutoModelForCausalLM.from_pretrained(uninterrupted)
    texts = [f"tinydocs.upward(value)\n\n{SENTENCE.format('upward')}"]
    bytes_per_token = len(texts[0]) / len(tokenizer(texts[0])["input_ids"])

    assert model.dtype == torch.bfloat16
    assert bits_per_byte(model, tokenizer, texts, window=32) < 0.8 * math.log2(320) / bytes_per_token


def test_a_run_that_was_interrupted_ends_with_the_same_bytes(
    uninterrupted: Path, downloads: Path, tmp_path: Path
) -> None:
    pretrain_base(tmp_path, packages=PACKAGES, recipe=RECIPE, downloads=downloads, stop_after=7)
    partial = (tmp_path / "model.safetensors").read_bytes()
    pretrain_base(tmp_path, packages=PACKAGES, recipe=RECIPE, downloads=downloads)

    whole = (uninterrupted / "model.safetensors").read_bytes()
    assert (tmp_path / "model.safetensors").read_bytes() == whole
    assert partial != whole
    assert (tmp_path / "tokenizer.json").read_bytes() == (uninterrupted / "tokenizer.json").read_bytes()


@pytest.mark.slow
def test_two_workers_take_the_same_steps_as_one(uninterrupted: Path, downloads: Path, tmp_path: Path) -> None:
    pretrain_base(tmp_path, packages=PACKAGES, recipe=replace(RECIPE, workers=2), downloads=downloads)

    alone, together = load_file(uninterrupted / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    # Not bit for bit: the sum over the batch is taken in another order, before it is rounded to bfloat16.
    for name, weight in alone.items():
        torch.testing.assert_close(together[name], weight, atol=3e-2, rtol=3e-2)


def test_a_folder_of_a_run_with_another_recipe_is_left_alone(uninterrupted: Path, downloads: Path) -> None:
    before = (uninterrupted / "model.safetensors").read_bytes()
    with pytest.raises(PretrainingError, match="another recipe"):
        pretrain_base(uninterrupted, packages=PACKAGES, recipe=replace(RECIPE, seed=4), downloads=downloads)
    assert (uninterrupted / "model.safetensors").read_bytes() == before


def test_a_batch_that_does_not_divide_among_the_workers_is_refused(downloads: Path, tmp_path: Path) -> None:
    with pytest.raises(PretrainingError, match="batch_rows 4 is no multiple of workers 3"):
        pretrain_base(tmp_path, packages=PACKAGES, recipe=replace(RECIPE, workers=3), downloads=downloads)


def test_less_text_than_one_batch_is_refused(downloads: Path, tmp_path: Path) -> None:
    with pytest.raises(PretrainingError, match="less than a batch of 400"):
        pretrain_base(tmp_path, packages=PACKAGES, recipe=replace(RECIPE, batch_rows=400), downloads=downloads)


def test_the_learning_rate_warms_up_stays_and_decays_to_zero() -> None:
    scales = [warmup_stable_decay(step, steps=10, warmup_steps=2, decay_steps=4) for step in range(11)]
    assert scales == [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
