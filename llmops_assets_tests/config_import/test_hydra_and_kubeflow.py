"""The Hydra workshop's configs and the Kubeflow pipeline's parameters, and telling the formats apart."""

import json
from typing import Any

import pytest

from llmops_assets.config_import.hydra_keys import HYDRA
from llmops_assets.config_import.kubeflow_keys import KUBEFLOW
from llmops_assets.config_import.rules import Only, Refused, Unneeded
from llmops_assets.data.records import Conversation
from llmops_assets.data.sources.file_sources import read_file_conversations
from llmops_assets.data.sources.specs import ConversationFilesSource
from llmops_assets_tests.config_import.conftest import Desk

WORKSHOP: dict[str, Any] = {
    "model_name": "meta-llama/Meta-Llama-3-8B",
    "dataset_path": "./data",
    "dataset_pattern": "messages.jsonl",
    "data_format": "messages",
    "data_source": {"type": "local"},
    "epochs": 16,
    "batch_size": 8,
    "lr": 0.0025,
    "max_length": 512,
    "gradient_accumulation_steps": 4,
    "warmup_ratio": 0.03,
    "weight_decay": 0,
    "lr_scheduler_type": "cosine",
    "bf16": True,
    "lora_r": 64,
    "lora_alpha": 128,
    "lora_dropout": 0.05,
    "lora_target_modules": ["q_proj", "v_proj"],
    "gradient_checkpointing": True,
    "cuda_visible_devices": "0,1",
}
PIPELINE: dict[str, Any] = {
    "student": "Qwen/Qwen2.5-3B-Instruct",
    "data": "data/messages.jsonl",
    "save_dir": "/models",
    "epochs": 3,
    "flow_type": "IDP",
    "train_type": "SFT",
    "schema": "",
    "document": "invoice.txt",
    "prompt": "",
    "eval_data": "",
    "val_per_class": 0,
    "use_logit_kd": False,
}


def test_the_workshop_config_keeps_its_values(desk: Desk) -> None:
    recipe, result = desk.bring(desk.write("train.yaml", WORKSHOP))
    sft = recipe.sft
    assert sft is not None
    assert recipe.base_model.name == "meta-llama/Meta-Llama-3-8B"
    assert (sft.epochs, sft.batch_size, sft.gradient_accumulation, sft.learning_rate) == (16.0, 8, 4, 0.0025)
    assert (sft.max_length, sft.warmup_ratio, sft.lr_scheduler, sft.weight_decay) == (512, 0.03, "cosine", 0.0)
    assert (sft.lora_r, sft.lora_alpha, sft.lora_dropout, sft.lora_targets) == (64, 128, 0.05, ["q_proj", "v_proj"])
    assert (sft.num_processes, sft.activation_checkpointing, sft.precision) == (2, True, "bf16")
    assert WORKSHOP.keys() <= {line.key for line in result.report}


def test_overrides_of_the_command_line_win(desk: Desk) -> None:
    overrides = ["--learning_rate=2e-5", "--batch_size=2", "--max_iters=100", "--compile=False", "--out_dir=x"]
    recipe, _ = desk.bring(desk.write("train.yaml", WORKSHOP), *overrides)
    sft = recipe.sft
    assert sft is not None
    assert (sft.learning_rate, sft.batch_size, sft.max_steps, sft.epochs) == (2e-5, 2, 100, None)


def test_an_override_is_refused_as_a_key_is(desk: Desk) -> None:
    message = desk.complaint(desk.write("train.yaml", WORKSHOP), "--checkpoint_path=x")
    assert "--checkpoint_path (command line): to start from other weights" in message


def test_defaults_lists_and_groups_are_composed(desk: Desk) -> None:
    desk.write("base.yaml", WORKSHOP)
    text = "defaults: [base, _self_]\ntraining:\n  lr: 0.001\n  epochs: 8\n"
    recipe, _ = desk.bring(desk.write("train.yaml", text), kind="hydra")
    assert recipe.sft is not None
    assert (recipe.sft.learning_rate, recipe.sft.epochs, recipe.sft.lora_r) == (0.001, 8.0, 64)


def test_pairs_of_prompt_and_completion_are_converted(desk: Desk) -> None:
    (desk.folder / "data" / "pairs.jsonl").write_text(json.dumps({"prompt": "A?", "completion": "B."}) + "\n")
    config = {**WORKSHOP, "dataset_pattern": "pairs.jsonl", "data_format": "prompt_completion"}
    _, result = desk.bring(desk.write("train.yaml", config))
    [file] = result.data_files
    assert json.loads(file.read_text()) == {
        "messages": [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B."}]
    }


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"data_source": {"type": "lakefs"}}, "'lakefs' cannot be honoured"),
        ({"dataset_path": "./nowhere"}, "./nowhere has no file"),
        ({"epochs": None}, "epochs: is missing"),
        ({"lr": "${oc.env:LR}"}, "is an interpolation"),
        ({"learning_rte": 1}, "the Hydra workshop has no such key"),
        ({"defaults": ["nowhere"]}, "'nowhere' names no file beside this one"),
        ({"data_format": "prompt_completion"}, "row 1 has ['messages']"),
    ],
)
def test_a_workshop_config_that_cannot_be_honoured_is_refused(desk: Desk, keys: dict[str, Any], sentence: str) -> None:
    assert sentence in desk.complaint(desk.write("train.yaml", {**WORKSHOP, **keys}), kind="hydra")


def test_pipeline_runs_of_one_student_become_sft_then_kd(desk: Desk) -> None:
    sft = desk.write("sft.yaml", {"parameters": PIPELINE})
    distil = {**PIPELINE, "train_type": "KD", "use_logit_kd": True, "epochs": 4}
    listed = [{"name": name, "value": value} for name, value in distil.items()]
    recipe, result = desk.bring(sft, desk.write("kd.yaml", {"arguments": {"parameters": listed}}))
    assert recipe.sft is not None
    assert recipe.kd is not None
    assert recipe.teacher is not None
    assert (recipe.sft.epochs, recipe.kd.epochs, recipe.kd.method) == (3.0, 4.0, "logits")
    assert recipe.teacher.name == "Qwen/Qwen2.5-7B-Instruct"
    assert PIPELINE.keys() <= {line.key for line in result.report}


def test_pairs_of_a_pipeline_run_are_a_data_set_of_the_lane(desk: Desk) -> None:
    sft = desk.write("sft.yaml", PIPELINE)
    dpo = {**PIPELINE, "train_type": "DPO", "data": "data/pairs.json"}
    message = desk.complaint(sft, desk.write("dpo.yaml", {**dpo, "data": "data/alpaca.json"}))
    assert "alpaca.json holds no preference pair (line 1: unknown_format" in message
    recipe, result = desk.bring(sft, desk.write("dpo.yaml", dpo))
    assert recipe.preferences is not None and recipe.preferences.data_sets is not None
    [source] = recipe.preferences.data_sets.sources
    assert source.kind == "files" and source.pattern == "../data/pairs.json"
    assert "-j lane_dpo" in result.report_text()


def test_a_teacher_that_is_a_folder_is_named_for_the_lane_as_well(desk: Desk) -> None:
    (desk.folder / "teacher").mkdir()
    recipe, _ = desk.bring(desk.write("kd.yaml", {**PIPELINE, "train_type": "KD", "teacher": "teacher"}))
    assert recipe.teacher is not None
    assert recipe.teacher.name == str(desk.folder / "teacher")


def test_the_flow_type_chooses_the_student(desk: Desk) -> None:
    config = {**PIPELINE, "student": "", "flow_type": "CodeGen"}
    recipe, _ = desk.bring(desk.write("sft.yaml", config))
    assert recipe.base_model.name == "Qwen/Qwen2.5-Coder-3B"
    assert recipe.base_model.revision is not None


def test_a_default_student_beside_another_one_is_refused_and_the_same_one_kept(desk: Desk) -> None:
    silent = {**PIPELINE, "student": "", "train_type": "KD"}
    sft = desk.write("sft.yaml", {**PIPELINE, "student": "Qwen/Qwen3-4B"})
    message = desk.complaint(sft, desk.write("kd.yaml", silent))
    assert "flow_type: stands for Qwen/Qwen2.5-3B-Instruct, and the config before it has Qwen/Qwen3-4B" in message
    recipe, _ = desk.bring(desk.write("sft.yaml", PIPELINE), desk.write("kd.yaml", silent))
    assert (recipe.base_model.name, recipe.base_model.revision) == ("Qwen/Qwen2.5-3B-Instruct", None)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"train_type": "DPO"}, "in a lane DPO starts from an SFT adapter"),
        ({"train_type": "RL"}, "train types are SFT, KD and DPO"),
        ({"schema": "invoice.json"}, "schema: answers are not checked against a JSON schema"),
        ({"val_per_class": 20}, "has a text under `category` that names its class"),
        ({"data": "s3://bucket/idp-sft.jsonl"}, "is not here"),
        ({"teachr": "x"}, "the Kubeflow pipeline has no such key"),
    ],
)
def test_parameters_that_cannot_be_honoured_are_refused(desk: Desk, keys: dict[str, Any], sentence: str) -> None:
    assert sentence in desk.complaint(desk.write("sft.yaml", {**PIPELINE, **keys}))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "pairs.json"])
def test_val_per_class_holds_out_by_the_category_of_the_rows(desk: Desk, name: str) -> None:
    turns = [{"role": "user", "content": "Total?"}, {"role": "assistant", "content": "12 EUR"}]
    said = {"prompt": "Total?", "completion": "12 EUR"} if name == "pairs.json" else {"messages": turns}
    row = json.dumps({**said, "category": "invoice"})
    (desk.folder / "data" / name).write_text(row if name.endswith("l") else f"[{row}]")
    parameters = {**PIPELINE, "data": f"data/{name}", "val_per_class": 20}
    recipe, _ = desk.bring(desk.write("sft.yaml", parameters))
    assert recipe.sft_set is not None and recipe.sft_set.val_per_class == 20
    source = recipe.sft_set.sources[0]
    assert isinstance(source, ConversationFilesSource)
    [conversation] = read_file_conversations(source, desk.folder / "recipes")
    assert isinstance(conversation, Conversation) and conversation.class_name == "invoice"


@pytest.mark.parametrize("table", [HYDRA, KUBEFLOW], ids=["hydra", "kubeflow"])
def test_keys_without_effect_and_refusals_say_why(table) -> None:
    for key, rule in table.keys.items():
        text = {Unneeded: "why", Only: "advice", Refused: "advice"}.get(type(rule))
        assert text is None or len(getattr(rule, text)) > 15, key


def test_a_file_of_no_known_format_is_refused(desk: Desk) -> None:
    assert "give --kind" in desk.complaint(desk.write("x.yaml", "alpha: 1\nbeta: 2\n"))


def test_a_key_given_twice_is_refused(desk: Desk) -> None:
    assert ":2: lr: is given twice" in desk.complaint(desk.write("x.yaml", "lr: 1\nlr: 2\n"), kind="hydra")


def test_an_existing_recipe_is_not_overwritten(desk: Desk) -> None:
    from llmops_assets.config_import.importing import import_files
    from llmops_assets.config_import.settings import ConfigImportError

    config = desk.write("train.yaml", WORKSHOP)
    desk.bring(config)
    with pytest.raises(ConfigImportError, match="exists already"):
        import_files([str(config)], None, desk.folder / "recipes" / "lane.yaml", "auto", desk.folder)
