"""LLaMA-Factory's settings about the training itself that only make sense together, or with the base model."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from transformers import TrainingArguments

from llmops_assets.config_import.llama_factory_keys import LLAMA_FACTORY
from llmops_assets.config_import.lora_layers import linear_layers
from llmops_assets.training.specs import LORA_TARGETS
from llmops_assets_tests.config_import.conftest import Desk

Make = Callable[..., dict[str, Any]]

EVALUATED = {"val_size": 0.1, "eval_strategy": "steps", "eval_steps": 5}
FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
# Younger than the transformers 5.6 that LLaMA-Factory 0.9.5 stops at.
YOUNGER = {
    "activation_checkpointing",
    "activation_checkpointing_kwargs",
    "dataloader_multiprocessing_context",
    "dataloader_in_order",
}


def test_every_training_argument_of_transformers_is_in_the_table() -> None:
    names = {field.name for field in dataclasses.fields(TrainingArguments) if field.init}
    assert {name for name in names if LLAMA_FACTORY.rule(name) is None} <= YOUNGER


def test_stopping_early_alone_is_honoured_with_a_word_on_the_weights(desk: Desk, llama_factory: Make) -> None:
    config = llama_factory(**EVALUATED, early_stopping_steps=2)
    recipe, result = desk.bring(desk.write("sft.yaml", config))
    assert recipe.sft is not None
    assert recipe.sft.early_stop_evaluations == 2
    looks = [line.text for line in result.report if line.outcome == "look" and line.key == "early_stopping_steps"]
    assert any("LLaMA-Factory keeps the last weights" in text for text in looks)
    both = desk.bring(desk.write("sft.yaml", {**config, "load_best_model_at_end": True}))[1]
    assert "LLaMA-Factory keeps the last weights" not in both.report_text()


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"load_best_model_at_end": True}, "load_best_model_at_end: a lane publishes the weights of its best"),
        ({"early_stopping_steps": 0}, "early_stopping_steps: must be 1 or more"),
    ],
)
def test_what_a_lane_would_publish_otherwise_is_refused(
    desk: Desk, llama_factory: Make, keys: dict[str, Any], sentence: str
) -> None:
    assert sentence in desk.complaint(desk.write("sft.yaml", llama_factory(**EVALUATED, **keys)))


def test_the_last_weights_are_published_without_either(desk: Desk, llama_factory: Make) -> None:
    recipe, _ = desk.bring(desk.write("sft.yaml", llama_factory(load_best_model_at_end=False)))
    assert recipe.sft is not None
    assert recipe.sft.early_stop_evaluations == 0


def test_no_loader_process_leaves_prefetch_to_the_lane(desk: Desk, llama_factory: Make) -> None:
    recipe, _ = desk.bring(desk.write("sft.yaml", llama_factory(dataloader_num_workers=0)))
    assert recipe.sft is not None
    assert recipe.sft.prefetch == "auto"


@pytest.mark.parametrize(
    ("base", "layers", "known"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", list(LORA_TARGETS), True),
        ("Qwen/Qwen3-4B", list(LORA_TARGETS), True),
        ("meta-llama/Meta-Llama-3-8B-Instruct", list(LORA_TARGETS), True),
        ("deepseek-ai/deepseek-llm-7b-chat", list(LORA_TARGETS), True),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", list(LORA_TARGETS), True),
        ("microsoft/phi-4", FUSED, True),
        ("microsoft/Phi-4-mini-instruct", FUSED, True),
        ("Qwen/Qwen3-30B-A3B", ["q_proj", "k_proj", "v_proj", "o_proj"], True),
        ("Qwen/Qwen2-57B-A14B-Instruct", list(LORA_TARGETS), False),
        ("owner/own-model", list(LORA_TARGETS), False),
    ],
)
def test_all_means_the_layers_of_the_family(base: str, layers: list[str], known: bool) -> None:
    assert linear_layers(base) == (layers, known)


def test_a_model_in_a_folder_is_known_by_its_config(desk: Desk, llama_factory: Make) -> None:
    folder = desk.folder / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "phi3"}))
    recipe, _ = desk.bring(desk.write("sft.yaml", llama_factory(model_name_or_path=str(folder), lora_target="all")))
    assert recipe.sft is not None
    assert recipe.sft.lora_targets == FUSED


def test_a_family_that_the_import_does_not_know_is_to_be_looked_at(desk: Desk, llama_factory: Make) -> None:
    _, result = desk.bring(desk.write("sft.yaml", llama_factory(model_name_or_path="owner/own-model")))
    assert any(line.outcome == "look" and "owner/own-model is of no family" in line.text for line in result.report)


@pytest.mark.parametrize("keys", [{}, {"lora_target": "all"}])
def test_all_layers_of_latent_attention_are_to_be_named(desk: Desk, llama_factory: Make, keys: dict[str, Any]) -> None:
    config = llama_factory(model_name_or_path="deepseek-ai/DeepSeek-V2-Lite-Chat", **keys)
    message = desk.complaint(desk.write("sft.yaml", config))
    assert "lora_target: " in message
    assert "`all` means layers of latent attention" in message
