"""The subjects of the CPU benchmark: how each is told to do the same work, and the command that starts it.

Alike for all: rows and their order (one seed), batch, learning rate (constant), clipping, LoRA and its first weights,
float32, AdamW without decay, threads that sleep while they wait, one row of log per step. `defaults` gives a peer what
its documentation would leave it with: activation checkpointing as it is set there, threads that spin.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import peer_environment
from benchmarks.workload import SEED, Sizes, Stage, Workload, base_ref

_PEERS = Path(__file__).resolve().parent / "peers"
_GPUS = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


@dataclass(frozen=True)
class Command:
    """A process to start: its arguments, and what is added to the environment that all subjects share."""

    arguments: list[str]
    environment: dict[str, str]


@dataclass(frozen=True)
class Subject:
    """One column of the tables. `stages` are those that it takes part in."""

    name: str
    title: str
    stages: tuple[Stage, ...]
    command: Callable[[Workload, Stage, Path, int], Command]
    environment: str | None = None


def ours(workload: Workload, stage: Stage, folder: Path, threads: int, **keys: Any) -> Command:
    """Return the product's own command: torchrun and the worker, on prepared rows, with its speed flags.

    `keys` are further ones of the spec.
    """
    from llmops_assets.training.digests import file_sha256
    from llmops_assets.training.job import AdapterRef, TrainingJob

    base, sizes = base_ref(workload), workload.sizes
    adapter = workload.adapter / "adapter_model.safetensors"
    batching = {"cpt": {}, "sft": {"batching": "padding_free"}, "dpo": {"batching": "prefix_sharing"}}[stage]
    spec = {
        "stage": stage,
        "max_steps": sizes.steps,
        "learning_rate": sizes.learning_rate,
        "lr_scheduler": "constant",
        "batch_size": sizes.batch,
        "max_length": sizes.length,
        "seed": SEED,
        "lora_r": sizes.lora_r,
        "lora_alpha": sizes.lora_alpha,
        "precision": "fp32",
        "backend": "plain",
        "device": "cpu",
        "num_threads": threads,
        "logging_steps": 1,
        "checkpoint_every": 10 * sizes.steps,
        **batching,
        **({"beta": sizes.beta} if stage == "dpo" else {}),
        **keys,
    }
    job = TrainingJob.model_validate(
        {
            "recipe": "benchmark",
            "asset": f"{stage}_adapter",
            "fingerprint": f"benchmark-{stage}",
            "spec": spec,
            "base_model": base,
            "parent": AdapterRef(path=workload.adapter, sha256=file_sha256(adapter), base_digest=base.digest),
            "rows": workload.rows(stage),
            "reference_log_probs": workload.folder / "dpo" / "reference" if stage == "dpo" else None,
            "inputs": {},
            "output_dir": folder / "output",
            "checkpoint_dir": folder / "checkpoints",
        }
    )
    file = _written(folder / "job.json", job.model_dump(mode="json"))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "1"]
    return Command([sys.executable, *torchrun, "-m", "llmops_assets.training.worker", str(file)], {})


def bare_trainer(workload: Workload, stage: Stage, folder: Path, threads: int) -> Command:
    """Return the script that uses transformers' Trainer and PEFT alone."""
    settings = {
        "stage": stage,
        "base": str(workload.base),
        "adapter": str(workload.adapter),
        "rows": str(workload.rows(stage) / "train.arrow"),
        "beta": workload.sizes.beta,
        "arguments": _shared(workload.sizes, folder) | {"remove_unused_columns": stage != "dpo"},
    }
    python = peer_environment("huggingface") / "bin" / "python"
    return Command([str(python), str(_PEERS / "bare_trainer.py"), str(_written(folder / "bare.json", settings))], {})


def trl_cli(
    workload: Workload, stage: Stage, folder: Path, threads: int, *, defaults: bool = False, cached: bool = False
) -> Command:
    """Return `trl sft` or `trl dpo` with a file; `cached` computes the reference's log-probs before training."""
    sizes = workload.sizes
    settings = _shared(sizes, folder) | {
        "model_name_or_path": str(workload.base),
        "dtype": "float32",
        "dataset_name": str(workload.trl_rows(stage)),
        "max_length": sizes.length,
        "use_peft": True,
        "lora_r": sizes.lora_r,
        "lora_alpha": sizes.lora_alpha,
        "lora_dropout": 0.0,
        "lora_target_modules": "all-linear",
    }
    if not defaults:
        settings["activation_checkpointing"] = False
    if stage == "dpo":
        settings |= {"beta": sizes.beta, "precompute_ref_log_probs": cached}
    name = "dpo" if stage == "dpo" else "sft"
    trl = peer_environment("huggingface") / "bin" / "trl"
    file = _written(folder / "trl.yaml", settings)
    # accelerate sets one thread for its children unless it is told otherwise.
    return Command([str(trl), name, "--config", str(file), "--num_cpu_threads_per_process", str(threads)], _SEEDED)


def llamafactory(workload: Workload, stage: Stage, folder: Path, threads: int, *, defaults: bool = False) -> Command:
    """Return `llamafactory-cli train` with a file."""
    sizes = workload.sizes
    settings = _shared(sizes, folder) | {
        "stage": {"cpt": "pt", "sft": "sft", "dpo": "dpo"}[stage],
        "do_train": True,
        "model_name_or_path": str(workload.base),
        "adapter_name_or_path": str(workload.adapter),
        "finetuning_type": "lora",
        "lora_target": "all",
        "lora_rank": sizes.lora_r,
        "lora_alpha": sizes.lora_alpha,
        "template": "empty",
        "cutoff_len": sizes.length,
        # It asks for a name, and then reads none, since the rows are there.
        "dataset": "rows",
        "tokenized_path": str(workload.llamafactory_rows(stage)),
        "overwrite_output_dir": True,
    }
    if not defaults:
        settings["disable_gradient_checkpointing"] = True
    if stage == "dpo":
        settings |= {"pref_beta": sizes.beta, "pref_loss": "sigmoid"}
    program = peer_environment("llamafactory") / "bin" / "llamafactory-cli"
    return Command([str(program), "train", str(_written(folder / "llamafactory.yaml", settings))], {})


def with_spinning_threads(command: Callable[..., Command], **options: Any) -> Callable[..., Command]:
    """Return `command` with `options`, its threads waiting as OpenMP's default has them."""

    def started(workload: Workload, stage: Stage, folder: Path, threads: int) -> Command:
        made = command(workload, stage, folder, threads, **options)
        return Command(made.arguments, made.environment | {"OMP_WAIT_POLICY": ""})

    return started


def environment(command: Command, threads: int) -> dict[str, str]:
    """Return the environment of a subject's process; an empty value unsets a variable."""
    ours_not_theirs = ("VIRTUAL_ENV", "PYTHONPATH", "MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI")
    kept = {name: value for name, value in os.environ.items() if name not in ours_not_theirs}
    shared = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        **dict.fromkeys(_GPUS, ""),
    }
    merged = kept | shared | command.environment
    return {name: value for name, value in merged.items() if value or name in _GPUS}


def _shared(sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Return the arguments of transformers' Trainer that all peers take."""
    return {
        "output_dir": str(folder / "output"),
        "max_steps": sizes.steps,
        "per_device_train_batch_size": sizes.batch,
        "gradient_accumulation_steps": 1,
        "learning_rate": sizes.learning_rate,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": SEED,
        "data_seed": SEED,
        "bf16": False,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _written(path: Path, settings: dict[str, Any]) -> Path:
    """Write `settings` as JSON, which YAML readers read too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    return path


_SEEDED = {"LLMOPS_BENCHMARK_SEED": str(SEED)}
_ALL: tuple[Stage, ...] = ("cpt", "sft", "dpo")

SUBJECTS: dict[str, Subject] = {
    subject.name: subject
    for subject in (
        Subject("ours", "this project", _ALL, ours),
        # Rows of one length: the compiler runs once, within the steps that are not measured.
        Subject(
            "ours-compiled",
            "this project, `compile: layers`",
            ("cpt",),
            lambda *arguments: ours(*arguments, compile="layers"),
        ),
        Subject("bare", "bare Trainer", _ALL, bare_trainer, "huggingface"),
        Subject("trl", "`trl` CLI", _ALL, trl_cli, "huggingface"),
        Subject("llamafactory", "LLaMA-Factory", _ALL, llamafactory, "llamafactory"),
        Subject(
            "trl-cached",
            "`trl` CLI, reference cached",
            ("dpo",),
            lambda *arguments: trl_cli(*arguments, cached=True),
            "huggingface",
        ),
        Subject(
            "trl-defaults", "`trl` CLI, defaults", _ALL, with_spinning_threads(trl_cli, defaults=True), "huggingface"
        ),
        Subject(
            "llamafactory-defaults",
            "LLaMA-Factory, defaults",
            _ALL,
            with_spinning_threads(llamafactory, defaults=True),
            "llamafactory",
        ),
    )
}
