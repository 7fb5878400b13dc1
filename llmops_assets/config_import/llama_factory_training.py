"""How a stage of LLaMA-Factory trains: LoRA, precision, ranks, batches, validation, checkpoints."""

from pathlib import Path
from typing import Any

from llmops_assets.config_import.deepspeed_files import backend_of
from llmops_assets.config_import.draft import Joined
from llmops_assets.config_import.lora_layers import linear_layers
from llmops_assets.config_import.shared_keys import put_duration, put_schedule
from llmops_assets.config_import.values import Unusable, flag, integer, names, number, one_of


def put_training(joined: Joined, file: Path) -> None:
    """Write everything about a stage that is neither its place in the chain nor its data."""
    put_duration(joined, "num_train_epochs", 3.0)
    put_schedule(joined, default="linear")
    _seeds(joined)
    _lora(joined, file)
    _precision(joined)
    _ranks(joined, file)
    _batching(joined)
    _prefetch(joined)
    _validation(joined)
    _stopping(joined)
    _preferences(joined)
    _keeping(joined)


def _seeds(joined: Joined) -> None:
    data_seed = joined.get("data_seed", integer)
    entry = joined.draft.entries.get(f"{joined.stage}.seed")
    if data_seed is not None and entry is not None and data_seed != entry.value:
        joined.refuse("data_seed", f"is {data_seed} where seed is {entry.value}; a lane has one seed, set them equal")
    else:
        joined.tell("data_seed", "same", "equals seed")


def _lora(joined: Joined, file: Path) -> None:
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
    if targets != ["all"]:
        joined.put("lora_targets", targets, "lora_target")
        return
    base = joined.draft.entries.get("base_model.name")
    try:
        layers, sure = linear_layers(base.value if base else "")
    except Unusable as error:
        if "lora_target" in joined.settings:
            joined.refuse("lora_target", str(error))
        else:
            joined.draft.miss(file, "lora_target", f"is not set, which means all: {error}")
        return
    joined.put("lora_targets", layers, "lora_target", "all linear layers of a decoder block")
    if not sure:
        joined.draft.tell(
            "lora_target",
            "look",
            f"all: the layers of Llama and Qwen are written, and {base.value if base else 'the base'} is of no family "
            "that this import knows; where it has others, training stops before its first step and names them",
        )


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


def _stopping(joined: Joined) -> None:
    """A lane publishes the weights of its best validation loss if, and only if, it watches for one."""
    patience, best = joined.get("early_stopping_steps", _patience), joined.get("load_best_model_at_end", flag, False)
    if patience is not None:
        joined.put("early_stop_evaluations", patience, "early_stopping_steps", "the best weights are published")
        if not best:
            joined.draft.tell(
                "early_stopping_steps",
                "look",
                "LLaMA-Factory keeps the last weights without load_best_model_at_end; a lane that may stop early "
                "publishes those of its best validation loss",
            )
        joined.tell("load_best_model_at_end", "translated", "-> early_stop_evaluations: the best weights are published")
    elif best and "early_stopping_steps" not in joined.settings:
        joined.refuse(
            "load_best_model_at_end",
            "a lane publishes the weights of its best validation loss with early_stop_evaluations alone; set "
            "early_stopping_steps as well, to more evaluations than the run has if it shall never stop early",
        )
    elif not best:
        joined.tell("load_best_model_at_end", "same", "false: the last weights are published")


def _prefetch(joined: Joined) -> None:
    workers = joined.get("dataloader_num_workers", integer, 0)
    if workers > 0:
        joined.put("prefetch", "on", "dataloader_num_workers", "one process, two micro batches ahead")
    else:
        joined.tell("dataloader_num_workers", "unneeded", "0: prefetch stays auto; the results are the same")


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


def _patience(value: Any) -> int:
    evaluations = integer(value)
    if evaluations < 1:
        raise Unusable(f"must be 1 or more, and is {value!r}; remove it for a run that never stops early")
    return evaluations


def _trackers(value: Any) -> list[str]:
    known: dict[str, list[str]] = {"wandb": ["wandb"], "tensorboard": ["tensorboard"], "none": [], "mlflow": []}
    convert = one_of(known | {"all": ["tensorboard", "wandb"]}, "trackers are MLflow, TensorBoard and W&B")
    return sorted({tracker for name in names(value) for tracker in convert(name)})
