"""LLaMA-Factory configs: every key is honoured to the value, reported, or refused with its line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops_assets.config_import.llama_factory_keys import LLAMA_FACTORY
from llmops_assets.config_import.rules import Goes, Joint, Only, Refused, Rule, Unneeded
from llmops_assets.recipe import Recipe
from llmops_assets.training.specs import LORA_TARGETS
from llmops_assets_tests.config_import.conftest import BASE, Desk

Make = Callable[..., dict[str, Any]]

PIN = "7ae557604adf67be50417f59c2c2f167def9a775"
# Key -> a value, keys beside it, and what the recipe must hold then (dotted; None: what is there without the key).
HONOURED: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "model_name_or_path": ("Qwen/Qwen3-4B", {}, {"base_model.name": "Qwen/Qwen3-4B"}),
    "model_revision": (PIN, {}, {"base_model.revision": PIN}),
    "stage": ("sft", {}, {"sft.stage": "sft"}),
    "output_dir": ("saves/else", {}, {}),
    "dataset": ("messages", {}, {"sft_set.max_tokens": 2048}),
    "dataset_dir": ("data", {}, {}),
    "max_samples": (1, {}, {}),
    "template": ("qwen", {}, {}),
    "default_system": ("Be brief.", {}, {"sft_set.system_prompt": "Be brief."}),
    "cutoff_len": (64, {}, {"sft.max_length": 64, "sft_set.max_tokens": 64}),
    "packing": (True, {"neat_packing": True}, {"sft.batching": "packed"}),
    "neat_packing": (True, {}, {"sft.batching": "packed"}),
    "val_size": (0.1, {}, {"sft.validation_share": 0.1, "sft.eval_every": 0}),
    "data_seed": (42, {}, {"sft.seed": 42}),
    "learning_rate": ("1e-4", {}, {"sft.learning_rate": 1e-4}),
    "num_train_epochs": (2, {}, {"sft.epochs": 2.0, "sft.max_steps": None}),
    "max_steps": (7, {"num_train_epochs": 2}, {"sft.max_steps": 7, "sft.epochs": None}),
    "per_device_train_batch_size": (2, {}, {"sft.batch_size": 2}),
    "gradient_accumulation_steps": (3, {}, {"sft.gradient_accumulation": 3}),
    "lr_scheduler_type": ("constant_with_warmup", {"warmup_steps": 3}, {"sft.lr_scheduler": "constant"}),
    "warmup_ratio": (0.1, {}, {"sft.warmup_ratio": 0.1, "sft.warmup_steps": 0}),
    "warmup_steps": (3, {"warmup_ratio": 0.1}, {"sft.warmup_ratio": 0.0, "sft.warmup_steps": 3}),
    "weight_decay": (0.01, {}, {"sft.weight_decay": 0.01}),
    "max_grad_norm": (0.5, {}, {"sft.max_grad_norm": 0.5}),
    "seed": (5, {}, {"sft.seed": 5}),
    "finetuning_type": ("full", {}, {"sft.finetuning": "full"}),
    "lora_rank": (4, {}, {"sft.lora_r": 4, "sft.lora_alpha": 8}),
    "lora_alpha": (9, {}, {"sft.lora_r": 8, "sft.lora_alpha": 9}),
    "lora_dropout": (0.05, {}, {"sft.lora_dropout": 0.05}),
    "lora_target": ("q_proj, v_proj", {}, {"sft.lora_targets": ["q_proj", "v_proj"]}),
    "bf16": (True, {}, {"sft.precision": "bf16"}),
    "pure_bf16": (True, {}, {"sft.precision": "bf16"}),
    "fp16": (True, {}, {"sft.precision": "bf16"}),
    "quantization_bit": (4, {}, {"sft.quantization": "4bit"}),
    "disable_gradient_checkpointing": (True, {}, {"sft.activation_checkpointing": False}),
    "gradient_checkpointing": (False, {}, {"sft.activation_checkpointing": False}),
    "flash_attn": ("fa2", {}, {"sft.attention": "flash_attention_2"}),
    "torch_compile": (True, {}, {"sft.compile": "layers"}),
    "deepspeed": ("examples/deepspeed/ds_z3_config.json", {}, {"sft.backend": "zero3"}),
    "ray_num_workers": (4, {}, {"sft.num_processes": 4, "sft.placement": "ray"}),
    "num_processes": (2, {}, {"sft.num_processes": 2, "sft.placement": "local"}),
    "use_cpu": (True, {}, {"sft.device": "cpu"}),
    "eval_strategy": ("steps", {"val_size": 0.1, "eval_steps": 5}, {"sft.eval_every": 5}),
    "evaluation_strategy": ("steps", {"val_size": 0.1, "logging_steps": 9}, {"sft.eval_every": 9}),
    "eval_steps": (5, {"val_size": 0.1, "eval_strategy": "steps"}, {"sft.eval_every": 5}),
    "early_stopping_steps": (
        2,
        {"val_size": 0.1, "eval_strategy": "steps", "eval_steps": 5},
        {"sft.early_stop_evaluations": 2},
    ),
    "load_best_model_at_end": (
        True,
        {"val_size": 0.1, "eval_strategy": "steps", "eval_steps": 5, "early_stopping_steps": 2},
        {"sft.early_stop_evaluations": 2},
    ),
    "dataloader_num_workers": (4, {}, {"sft.prefetch": "on"}),
    "logging_steps": (3, {}, {"sft.logging_steps": 3}),
    "save_steps": (4, {}, {"sft.checkpoint_every": 4}),
    "save_strategy": ("epoch", {"save_steps": 4}, {"sft.checkpoint_every": 50}),
    "save_total_limit": (1, {}, {"sft.keep_checkpoints": 1}),
    "report_to": ("wandb", {}, {"sft.report_to": ["wandb"]}),
    "adapter_name_or_path": ("saves/sft/", {}, {"dpo.adapter_mode": "continue"}),
    "create_new_adapter": (True, {}, {"dpo.adapter_mode": "merge_then_new"}),
    "pref_beta": (0.2, {}, {"dpo.beta": 0.2}),
    "pref_loss": ("ipo", {}, {"dpo.loss_type": "ipo"}),
    "pref_ftx": (0.3, {}, {"dpo.sft_weight": 0.3}),
    "ref_model": (BASE, {"ref_model_adapters": "saves/sft"}, {"dpo.reference": "previous"}),
    "ref_model_adapters": ("saves/sft", {"ref_model": BASE}, {"dpo.reference": "previous"}),
}
IN_DPO = {"adapter_name_or_path", "create_new_adapter"}
KTO_ONLY = {key for key, rule in LLAMA_FACTORY.keys.items() if getattr(rule, "read_by", None) == {"kto"}}


def of_kind(*kinds: type) -> dict[str, Rule]:
    return {key: rule for key, rule in LLAMA_FACTORY.keys.items() if isinstance(rule, kinds) and key not in KTO_ONLY}


def chain(desk: Desk, make: Make, keys: dict[str, Any]) -> list[Path]:
    """Write an SFT and, if a key is read by preference stages alone, a DPO config; `keys` go to the last one."""
    rules = [LLAMA_FACTORY.rule(key) for key in keys]
    only_dpo = any(not isinstance(rule, Unneeded | None) and "sft" not in rule.read_by for rule in rules)
    if not only_dpo and not IN_DPO & keys.keys():
        return [desk.write("sft.yaml", make("sft", **keys))]
    dpo = desk.write("dpo.yaml", make("dpo", **{"adapter_name_or_path": "saves/sft", **keys}))
    return [desk.write("sft.yaml", make("sft")), dpo]


def value_of(recipe: Recipe, dotted: str) -> Any:
    value: Any = recipe
    for part in dotted.split("."):
        value = getattr(value, part)
    return value


def test_every_key_that_has_a_counterpart_has_an_example_here() -> None:
    assert of_kind(Goes, Joint).keys() == HONOURED.keys()


@pytest.mark.parametrize("key", HONOURED)
def test_a_key_is_honoured_to_the_value_and_reported(desk: Desk, llama_factory: Make, key: str) -> None:
    value, beside, expected = HONOURED[key]
    recipe, result = desk.bring(*chain(desk, llama_factory, {**beside, key: value}))
    assert {dotted: value_of(recipe, dotted) for dotted in expected} == expected
    assert key in {line.key for line in result.report}


def test_keys_that_change_nothing_are_all_reported_and_leave_the_recipe_as_it_is(
    desk: Desk, llama_factory: Make
) -> None:
    plain, _ = desk.bring(desk.write("sft.yaml", llama_factory()))
    rules = {key: rule for key, rule in of_kind(Unneeded, Only).items() if getattr(rule, "read_by", {"sft"}) >= {"sft"}}
    values = {key: rule.values[0] if isinstance(rule, Only) else "any" for key, rule in rules.items()}
    families = {f"{prefix}x": "any" for prefix, rule in LLAMA_FACTORY.families.items() if isinstance(rule, Unneeded)}
    recipe, result = desk.bring(desk.write("sft.yaml", llama_factory(**values, **families)))
    assert recipe == plain
    assert values.keys() | families.keys() <= {line.key for line in result.report}


@pytest.mark.parametrize("key", of_kind(Only))
def test_a_method_that_a_lane_does_not_have_is_refused(desk: Desk, llama_factory: Make, key: str) -> None:
    message = desk.complaint(*chain(desk, llama_factory, {key: "another"}))
    rule = LLAMA_FACTORY.keys[key]
    assert isinstance(rule, Only)
    assert f"{key}: 'another' cannot be honoured: {rule.advice}" in message


@pytest.mark.parametrize("key", of_kind(Refused))
def test_a_key_without_counterpart_that_changes_the_result_is_refused(
    desk: Desk, llama_factory: Make, key: str
) -> None:
    paths = chain(desk, llama_factory, {key: "x"})
    line = next(n for n, text in enumerate(paths[-1].read_text().splitlines(), 1) if text.startswith(f"{key}:"))
    rule = LLAMA_FACTORY.keys[key]
    assert isinstance(rule, Refused)
    assert f"{paths[-1]}:{line}: {key}: {rule.advice}" in desk.complaint(*paths)


def test_where_the_config_is_silent_its_own_defaults_are_written(desk: Desk, llama_factory: Make) -> None:
    recipe, _ = desk.bring(desk.write("sft.yaml", llama_factory()))
    sft = recipe.sft
    assert sft is not None
    assert (sft.learning_rate, sft.epochs, sft.lr_scheduler, sft.seed) == (5e-5, 3.0, "linear", 42)
    assert (sft.batch_size, sft.gradient_accumulation, sft.max_length) == (8, 1, 2048)
    assert (sft.lora_r, sft.lora_alpha, sft.lora_targets) == (8, 16, list(LORA_TARGETS))
    assert (sft.weight_decay, sft.warmup_ratio, sft.activation_checkpointing) == (0.0, 0.0, True)


def test_the_first_stage_of_a_chain_has_no_adapter_to_merge(desk: Desk, llama_factory: Make) -> None:
    recipe, result = desk.bring(desk.write("sft.yaml", llama_factory(create_new_adapter=True)))
    assert recipe.sft is not None
    assert recipe.sft.adapter_mode == "continue"
    assert [line.outcome for line in result.report if line.key == "create_new_adapter"] == ["unread"]


def test_three_configs_of_a_chain_become_one_lane(desk: Desk, llama_factory: Make) -> None:
    paths = [
        desk.write("dpo.yaml", llama_factory("dpo", adapter_name_or_path="saves/sft")),
        desk.write("sft.yaml", llama_factory("sft", adapter_name_or_path="saves/pt")),
        desk.write("pt.yaml", llama_factory("pt")),
    ]
    recipe, result = desk.bring(*paths, "--num_processes=2")
    assert recipe.cpt is not None
    assert recipe.sft is not None
    assert recipe.dpo is not None
    assert recipe.cpt.num_processes == recipe.sft.num_processes == recipe.dpo.num_processes == 2
    assert recipe.corpus is not None
    assert (recipe.corpus.chunk_tokens, recipe.corpus.min_words) == (2047, 0)
    looks = [line.text for line in result.report if line.outcome == "look"]
    assert any("votes alone start a run" in text for text in looks)
    assert any("bare base model" in text for text in looks)


@pytest.mark.parametrize(
    ("dpo", "sentence"),
    [
        ({"adapter_name_or_path": "saves/other"}, "saves/other: {sft} makes saves/sft"),
        ({}, "adapter_name_or_path: is not set, and in a lane dpo starts from the adapter of sft"),
        ({"adapter_name_or_path": "saves/sft", "model_name_or_path": "Qwen/Qwen3-4B"}, "a lane has one base model"),
        ({"adapter_name_or_path": "saves/sft", "ref_model": "Qwen/Qwen3-4B"}, "a lane's reference is the base with"),
        ({"adapter_name_or_path": "saves/sft", "lora_dropout": 0.1}, "DPO compares policy and reference without"),
    ],
)
def test_configs_that_are_no_chain_are_refused(
    desk: Desk, llama_factory: Make, dpo: dict[str, Any], sentence: str
) -> None:
    sft = desk.write("sft.yaml", llama_factory())
    assert sentence.format(sft=sft) in desk.complaint(sft, desk.write("dpo.yaml", llama_factory("dpo", **dpo)))


def test_an_adapter_that_no_config_makes_is_refused(desk: Desk, llama_factory: Make) -> None:
    lone = desk.write("dpo.yaml", llama_factory("dpo", adapter_name_or_path="saves/sft"))
    assert "saves/sft: no given config makes it" in desk.complaint(lone)
    bare = desk.write("dpo.yaml", llama_factory("dpo"))
    assert "give the SFT config too" in desk.complaint(bare)


@pytest.mark.parametrize("stage", ["rm", "ppo"])
def test_stages_that_lanes_do_not_have_are_refused(desk: Desk, llama_factory: Make, stage: str) -> None:
    config = desk.write("x.yaml", llama_factory() | {"stage": stage})
    assert f"{config}:2: stage: '{stage}' cannot be honoured" in desk.complaint(config)


def test_all_problems_are_named_at_once_with_their_lines(desk: Desk, llama_factory: Make) -> None:
    keys = {"learning_rte": 1, "use_dora": True, "learning_rate": "fast", "val_size": 500, "lora_dropout": 2}
    file = desk.write("sft.yaml", llama_factory(**keys, dataset="nowhere"))
    lines = {text.partition(":")[0]: n for n, text in enumerate(file.read_text().splitlines(), 1)}
    message = desk.complaint(file)
    for key in (*keys, "dataset"):
        assert f"{file}:{lines[key]}: {key}: " in message
    assert "has no such key" in message


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"template": "alpaca"}, "'alpaca' is not known to be the chat template of Qwen/Qwen2.5-0.5B-Instruct"),
        ({"packing": True}, "set neat_packing: true as well"),
        ({"save_steps": 0.1}, "0.1 is a share of all steps"),
        ({"deepspeed": "ds_z3_offload_config.json"}, "moves state to the CPU"),
        ({"deepspeed": {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}}, "to the CPU"),
        ({"data_seed": 1}, "is 1 where seed is 42"),
        ({"eval_strategy": "steps", "eval_steps": 5}, "eval_every needs validation_share"),
        ({"pref_loss": "orpo"}, None),
        ({"quantization_bit": 3}, "8 or 4 bits"),
        ({"lr_scheduler_type": "polynomial"}, "schedules are cosine, linear"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_a_sentence(
    desk: Desk, llama_factory: Make, keys: dict[str, Any], sentence: str | None
) -> None:
    file = desk.write("sft.yaml", llama_factory(**keys))
    if sentence is None:  # not read in this stage by LLaMA-Factory either
        assert "is not read by stage sft" in desk.bring(file)[1].report_text()
    else:
        assert sentence in desk.complaint(file)


def test_a_constant_schedule_has_no_warm_up_as_in_transformers(desk: Desk, llama_factory: Make) -> None:
    recipe, _ = desk.bring(desk.write("sft.yaml", llama_factory(lr_scheduler_type="constant", warmup_ratio=0.1)))
    assert recipe.sft is not None
    assert (recipe.sft.lr_scheduler, recipe.sft.warmup_ratio) == ("constant", 0.0)


def test_thumbs_of_a_kto_config_are_converted_with_their_weights(desk: Desk, llama_factory: Make) -> None:
    keys = {"adapter_name_or_path": "saves/sft", "pref_beta": 0.3, "kto_chosen_weight": 2, "kto_rejected_weight": 0.5}
    sft = desk.write("sft.yaml", llama_factory())
    recipe, result = desk.bring(sft, desk.write("kto.yaml", llama_factory("kto", **keys)))
    kto = recipe.kto
    assert kto is not None
    assert (kto.beta, kto.desirable_weight, kto.undesirable_weight) == (0.3, 2.0, 0.5)
    [file] = result.data_files
    turns = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]
    assert json.loads(file.read_text()) == {"messages": turns, "label": True}
