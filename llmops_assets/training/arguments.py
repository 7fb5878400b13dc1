"""From a stage's spec to the trainer arguments that all stages share."""

import copy
import math
from typing import Any

from llmops_assets.training.device import trains_on_gpu
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.rows import TrainingRows

ALREADY_PREPARED = {"skip_prepare_dataset": True}
"""TRL's SFTTrainer takes the rows as they are: they have input_ids and labels."""


def total_steps(job: TrainingJob, rows: TrainingRows) -> int:
    """Return the optimizer steps of a run: `max_steps`, or the steps of `epochs` where those are fewer.

    An epoch has as many whole steps as hold every row once; its last step is filled up (see whole_steps.py).
    """
    spec = job.spec
    if spec.epochs is None:
        assert spec.max_steps is not None, "a spec has one of the two"
        return spec.max_steps
    rows_of_a_step = spec.batch_size * spec.gradient_accumulation * spec.num_processes
    steps = max(1, math.ceil(spec.epochs * math.ceil(len(rows.train) / rows_of_a_step)))
    return steps if spec.max_steps is None else min(steps, spec.max_steps)


def shared_arguments(job: TrainingJob, rows: TrainingRows) -> dict[str, Any]:
    """Return the keyword arguments of TRL's configurations that follow from `job`.

    Checkpoints go to `job.checkpoint_dir`; old ones are deleted by CheckpointKeeper, so `save_total_limit` stays unset.

    Raises NotEnoughGpus.
    """
    spec = job.spec
    on_cpu = not trains_on_gpu(spec)
    steps = total_steps(job, rows)
    return {
        "output_dir": str(job.checkpoint_dir),
        "max_steps": steps,
        "learning_rate": spec.learning_rate,
        "lr_scheduler_type": spec.lr_scheduler,
        "warmup_steps": spec.warmup_steps or math.ceil(spec.warmup_ratio * steps),
        "weight_decay": spec.weight_decay,
        "max_grad_norm": spec.max_grad_norm,
        "per_device_train_batch_size": spec.batch_size,
        "per_device_eval_batch_size": spec.batch_size,
        "gradient_accumulation_steps": spec.gradient_accumulation,
        "seed": spec.seed,
        "data_seed": spec.seed,
        "bf16": spec.precision == "bf16",
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
        # DeepSpeed's own and torch's fused AdamW need a compiler or a GPU.
        "optim": "adamw_torch" if on_cpu else "adamw_torch_fused",
        "activation_checkpointing": spec.activation_checkpointing,
        "deepspeed": copy.deepcopy(job.deepspeed_config) if spec.backend.startswith("zero") else None,
        "ddp_find_unused_parameters": False,
        "logging_steps": spec.logging_steps,
        "logging_first_step": True,
        "save_strategy": "steps",
        "save_steps": spec.checkpoint_every,
        "eval_strategy": "steps" if spec.eval_every else "no",
        "eval_steps": spec.eval_every or None,
        "report_to": [],
        "disable_tqdm": True,
    }
