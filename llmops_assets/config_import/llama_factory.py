"""LLaMA-Factory configs as one lane: pt, sft, dpo and kto files of a chain become its stages."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops_assets.config_import.dataset_info import DatasetInfo, add_sources
from llmops_assets.config_import.deepspeed_files import backend_of
from llmops_assets.config_import.draft import Draft, Joined, apply_table
from llmops_assets.config_import.llama_factory_keys import ALL_LINEAR, LLAMA_FACTORY, SECTIONS, TEMPLATES
from llmops_assets.config_import.places import Place
from llmops_assets.config_import.rules import PREFERENCES
from llmops_assets.config_import.settings import Setting
from llmops_assets.config_import.shared_keys import put_base_model, put_duration, put_schedule, require_section
from llmops_assets.config_import.values import Unusable, flag, integer, names, number, one_of, text

_ORDER = tuple(SECTIONS.values())


@dataclass(frozen=True)
class _Config:
    file: Path
    stage: str
    settings: dict[str, Setting]

    @property
    def output_dir(self) -> str:
        return str(self.settings["output_dir"].value) if "output_dir" in self.settings else ""


def read_llama_factory(files: dict[Path, list[Setting]], place: Place) -> Draft:
    """Return the draft of the lane that the configs describe together; its problems are those of all files."""
    draft = Draft()
    configs = sorted(
        (config for file, settings in files.items() if (config := _config(file, settings, draft))),
        key=lambda config: _ORDER.index(config.stage),
    )
    for index, config in enumerate(configs):
        parent = configs[index - 1] if index else None
        if parent is not None and parent.stage == config.stage:
            draft.miss(config.file, "stage", f"{parent.file} is of stage {config.stage} too; a lane has one of each")
            continue
        _read_stage(config, parent, draft, place)
    return draft


def _config(file: Path, settings: list[Setting], draft: Draft) -> _Config | None:
    by_key = {setting.key: setting for setting in settings}
    stage = by_key["stage"].value if "stage" in by_key else "sft"
    if stage not in SECTIONS:
        draft.refuse(by_key["stage"], f"{stage!r} cannot be honoured: lanes have {', '.join(SECTIONS)}")
        return None
    if "stage" in by_key:
        draft.tell("stage", "translated", f"{stage} -> the section {SECTIONS[stage]}")
    return _Config(file, SECTIONS[stage], by_key)


def _read_stage(config: _Config, parent: _Config | None, draft: Draft, place: Place) -> None:
    joint = apply_table(LLAMA_FACTORY, list(config.settings.values()), config.stage, draft)
    joined = Joined(joint, config.stage, draft)
    require_section(config.stage, config.file, draft)
    base = put_base_model(joined, "model_name_or_path", "model_revision", config.file, place)
    _chain(joined, config, parent)
    _template(joined, base)
    length = joined.get("cutoff_len", integer, 2048)
    joined.put("max_length", length, "cutoff_len", "longer rows are left out and counted; an answer is never cut")
    _data(joined, config, length, place)
    put_duration(joined, "num_train_epochs", 3.0)
    put_schedule(joined, default="linear")
    _seeds(joined)
    _lora(joined)
    _precision(joined)
    _ranks(joined, config.file)
    _batching(joined)
    _validation(joined)
    _preferences(joined)
    _keeping(joined)


def _chain(joined: Joined, config: _Config, parent: _Config | None) -> None:
    """Check that the adapter that the config starts from is the one that the lane's earlier stage makes."""
    adapter = joined.get("adapter_name_or_path", names)
    fresh = joined.get("create_new_adapter", flag, False)
    joined.get("output_dir", text)
    joined.tell(
        "output_dir", "unneeded", "names the adapter in the chain; a lane keeps its files in the artifact store"
    )
    if adapter and (parent is None or [_folder(path) for path in adapter] != [_folder(parent.output_dir)]):
        made = (
            f"{parent.file} makes {parent.output_dir or 'none that it names'}" if parent else "no given config makes it"
        )
        joined.refuse(
            "adapter_name_or_path",
            f"{', '.join(adapter)}: {made}. Give the config with that output_dir too: the stages of a chain become one "
            "lane (llmops import-config sft.yaml dpo.yaml)",
        )
        return
    if adapter and parent is not None:
        joined.tell(
            "adapter_name_or_path", "translated", f"-> the lane's chain: {config.stage} continues {parent.stage}"
        )
    if not adapter and parent is not None:
        joined.draft.miss(
            config.file,
            "adapter_name_or_path",
            f"is not set, and in a lane {config.stage} starts from the adapter of {parent.stage}; set it to "
            f"{parent.output_dir or 'the output_dir of ' + str(parent.file)}, or import {parent.file} apart",
        )
    if config.stage in PREFERENCES and parent is None:
        joined.draft.miss(
            config.file,
            "stage",
            f"in a lane {config.stage} starts from an SFT adapter; give the SFT config too: "
            f"llmops import-config sft.yaml {config.file}",
        )
    if "create_new_adapter" in joined.settings:
        joined.put("adapter_mode", "merge_then_new" if fresh else "continue", "create_new_adapter")
    if config.stage in PREFERENCES:
        _reference(joined, adapter, fresh)


def _reference(joined: Joined, adapter: list[str] | None, fresh: bool) -> None:
    model, adapters = joined.get("ref_model", text), joined.get("ref_model_adapters", names)
    base = joined.settings.get("model_name_or_path")
    if model is None and adapters is None:
        if adapter and not fresh:
            joined.draft.tell(
                "adapter_name_or_path",
                "look",
                "LLaMA-Factory takes its reference by switching this adapter off, so it is the bare base model; the "
                "reference of a lane is the adapter that training starts from, as in the DPO paper",
            )
        return
    same_base = base is not None and model == base.value
    same_adapter = (
        adapters is not None and adapter is not None and [*map(_folder, adapters)] == [*map(_folder, adapter)]
    )
    for key in ("ref_model", "ref_model_adapters"):
        if same_base and same_adapter:
            joined.tell(key, "translated", "-> reference: previous, the adapter that training starts from")
        elif key in joined.settings:
            joined.refuse(key, "a lane's reference is the base with the adapter that training starts from; name these")
    if same_base and same_adapter and joined.stage == "dpo":
        joined.put("reference", "previous", "ref_model")


def _folder(path: str) -> Path:
    return Path(path.strip().rstrip("/"))


def _template(joined: Joined, base: str) -> None:
    template = joined.get("template", text)
    if template is None:
        return
    family = TEMPLATES.get(template)
    if family and re.search(family, base.lower()):
        joined.tell("template", "same", f"{template} is the chat template that {base} brings along")
    else:
        joined.refuse(
            "template",
            f"{template!r} is not known to be the chat template of {base or 'the base model'}, which is what a lane "
            "trains and serves with; remove the key to accept that template, or name a base that has yours",
        )


def _data(joined: Joined, config: _Config, length: int, place: Place) -> None:
    draft, stage = joined.draft, joined.stage
    datasets = joined.get("dataset", names, [])
    folder = joined.get("dataset_dir", text, "data")
    limit = joined.get("max_samples", integer)
    joined.tell("dataset_dir", "unneeded", "the recipe names the files themselves")
    if stage == "dpo":
        joined.tell(
            "dataset",
            "look",
            f"the pairs of a lane are votes in its feedback store, and none were taken from {', '.join(datasets)}: put "
            f"them in with `llmops votes import {place.name} FILE` before the first {stage} run, which needs them",
        )
        joined.tell("max_samples", "look", "import so many votes")
        draft.put("preferences.minimum", 100, "new usable pairs that start a run")
        return
    if "dataset" not in joined.settings:
        draft.miss(config.file, "dataset", "is missing; name the data set to train on")
        return
    section = {"cpt": "corpus", "kto": "thumbs_set"}.get(stage, "sft_set")
    info = DatasetInfo.find(folder, config.file)
    add_sources(joined, section, info, datasets, limit, place)
    if stage == "cpt":
        # With its separator a full chunk fills a row.
        draft.put("corpus.chunk_tokens", max(16, length - 1), "cutoff_len less the separator")
        draft.put("corpus.min_words", 0, "LLaMA-Factory filters nothing")
        draft.put("corpus.max_repetition", 1.0)
        draft.put("corpus.near_duplicate_threshold", 1.0, "exact duplicates alone are one")
    elif stage == "kto":
        draft.put("thumbs_set.max_quarantined_share", 1.0, "LLaMA-Factory drops bad rows; the quarantine lists them")
    else:
        draft.put("sft_set.max_tokens", max(16, length), "cutoff_len")
        draft.put("sft_set.eval_share", 0.05, "held out for the gate, never trained on")
        draft.put("sft_set.max_quarantined_share", 1.0, "LLaMA-Factory drops bad rows; the quarantine file lists them")


def _seeds(joined: Joined) -> None:
    data_seed = joined.get("data_seed", integer)
    entry = joined.draft.entries.get(f"{joined.stage}.seed")
    if data_seed is not None and entry is not None and data_seed != entry.value:
        joined.refuse("data_seed", f"is {data_seed} where seed is {entry.value}; a lane has one seed, set them equal")
    else:
        joined.tell("data_seed", "same", "equals seed")


def _lora(joined: Joined) -> None:
    keys = ("lora_rank", "lora_alpha", "lora_dropout", "lora_target")
    if joined.draft.entries[f"{joined.stage}.finetuning"].value == "full":
        for key in keys:
            joined.read.add(key)
            joined.tell(key, "unread", "is not read with finetuning_type: full in LLaMA-Factory either")
        return
    rank = joined.get("lora_rank", integer, 8)
    joined.put("lora_r", rank, "lora_rank")
    joined.put("lora_alpha", joined.get("lora_alpha", integer, 2 * rank), "lora_alpha")
    joined.put("lora_dropout", joined.get("lora_dropout", number, 0.0), "lora_dropout")
    targets = joined.get("lora_target", names, ["all"])
    note = "all linear layers of a decoder block" if targets == ["all"] else ""
    joined.put("lora_targets", ALL_LINEAR if targets == ["all"] else targets, "lora_target", note)


def _precision(joined: Joined) -> None:
    given = [key for key in ("bf16", "pure_bf16", "fp16") if joined.get(key, flag, False)]
    source = given[0] if given else "bf16"
    notes = {
        "fp16": "bfloat16 in place of float16: the same memory, no loss scaling; needs a GPU since Ampere",
        "pure_bf16": "the LoRA and its optimizer state stay fp32",
    }
    joined.put("precision", "bf16", source, notes.get(source, ""))
    for key in ("bf16", "pure_bf16", "fp16"):
        if key != source:
            joined.tell(key, "unneeded", "the base computes in bf16, as its checkpoint is stored")
    disabled = joined.get("disable_gradient_checkpointing", flag, False)
    wanted = joined.get("gradient_checkpointing", flag, True) and not disabled
    key = "gradient_checkpointing" if "gradient_checkpointing" in joined.settings else "disable_gradient_checkpointing"
    joined.put("activation_checkpointing", wanted, key)
    if key == "gradient_checkpointing":
        joined.tell("disable_gradient_checkpointing", "translated", f"-> activation_checkpointing: {wanted}")


def _ranks(joined: Joined, file: Path) -> None:
    workers = joined.get("ray_num_workers", integer, 1)
    if workers > 1:
        joined.put("num_processes", workers, "ray_num_workers")
        joined.draft.put(f"{joined.stage}.placement", "ray", "ray_num_workers", joined.settings["ray_num_workers"])
    elif f"{joined.stage}.num_processes" not in joined.draft.entries:
        joined.tell("ray_num_workers", "same", "one process")
        joined.draft.tell(
            "(GPUs)",
            "look",
            f"{joined.stage}: LLaMA-Factory trains on every GPU that it sees, which no config says; the recipe has one "
            "process. With N GPUs, give --num_processes=N: rows per step are batch_size x gradient_accumulation x N",
        )
    backend = joined.get("deepspeed", lambda value: backend_of(value, file))
    if backend is not None:
        joined.put("backend", backend, "deepspeed")


def _batching(joined: Joined) -> None:
    packing = joined.get("packing", flag)
    if joined.stage == "cpt":
        if packing is False:
            joined.refuse("packing", "documents of a corpus are always packed; remove the key")
        joined.tell("packing", "same", "documents are packed without losing a token")
        return
    neat = joined.get("neat_packing", flag, False)
    if packing and not neat:
        joined.refuse("packing", "conversations of a row would see each other; set neat_packing: true as well")
        return
    joined.tell("packing", "same", "neat_packing decides")
    if neat:
        joined.put("batching", "packed", "neat_packing", "conversations of a row are apart from each other")
    else:
        joined.tell("neat_packing", "same", "rows are padded")


def _validation(joined: Joined) -> None:
    choices = one_of({"steps": True, "no": False, False: False}, "validation losses are taken every so many steps")
    key = "eval_strategy" if "eval_strategy" in joined.settings else "evaluation_strategy"
    wanted = joined.get(key, choices, False)
    joined.read |= {"eval_strategy", "evaluation_strategy"}
    logging = joined.draft.entries.get(f"{joined.stage}.logging_steps")
    every = joined.get("eval_steps", _steps, logging.value if logging else 500)
    if wanted:
        joined.put("eval_every", every, "eval_steps", "eval_strategy: steps")
        joined.tell(key, "translated", f"-> eval_every: {every}")
    else:
        joined.tell(key, "translated", "-> eval_every is left out: one validation loss, at the end")
        joined.tell("eval_steps", "unread", "is not read without eval_strategy: steps in LLaMA-Factory either")


def _preferences(joined: Joined) -> None:
    weight = joined.get("pref_ftx", number, 0.0)
    if joined.stage == "dpo":
        joined.put("sft_weight", weight, "pref_ftx")
    elif weight:
        joined.refuse("pref_ftx", "KTO has no SFT term in a lane; set it to 0")
    else:
        joined.tell("pref_ftx", "same", "0: no SFT term")


def _keeping(joined: Joined) -> None:
    strategy = joined.get(
        "save_strategy", one_of({k: k for k in ("steps", "epoch", "no", False)}, "steps, epoch or no")
    )
    every = joined.get("save_steps", _steps)
    joined.tell("save_strategy", "unneeded", "a lane keeps resumable checkpoints every checkpoint_every steps")
    if every is not None and strategy in (None, "steps"):
        joined.put("checkpoint_every", every, "save_steps")
    else:
        joined.tell("save_steps", "unread", "is not read without save_strategy: steps in LLaMA-Factory either")
    trackers = joined.get("report_to", _trackers, [])
    joined.put("report_to", trackers, "report_to", "MLflow is always on")


def _steps(value: Any) -> int:
    if number(value) < 1:
        raise Unusable(f"{value!r} is a share of all steps; write the number of steps")
    return integer(value)


def _trackers(value: Any) -> list[str]:
    known: dict[str, list[str]] = {"wandb": ["wandb"], "tensorboard": ["tensorboard"], "none": [], "mlflow": []}
    convert = one_of(known | {"all": ["tensorboard", "wandb"]}, "trackers are MLflow, TensorBoard and W&B")
    return sorted({tracker for name in names(value) for tracker in convert(name)})
