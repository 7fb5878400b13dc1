"""From a stage's spec to the trainer arguments that all stages share."""

import copy
import math
from typing import Any

from llmops_assets.training.device import trains_on_gpu
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.rows import TrainingRows
from llmops_assets.training.specs import StageSpec
from llmops_assets.training.steps import total_steps

ALREADY_PREPARED = {"skip_prepare_dataset": True}
"""TRL's SFTTrainer takes the rows as they are: they have input_ids and labels."""


def shared_arguments(job: TrainingJob, rows: TrainingRows) -> dict[str, Any]:
    """Return the keyword arguments of TRL's configurations that follow from `job`.

    Checkpoints go to `job.checkpoint_dir`; old ones are deleted by CheckpointKeeper, so `save_total_limit` stays unset.

    Raises NotEnoughGpus.
    """
    spec = job.spec
    on_cpu = not trains_on_gpu(spec)
    steps = total_steps(spec, len(rows.train))
    warmup_steps = spec.warmup_steps or math.ceil(spec.warmup_ratio * steps)
    # transformers' "constant" reads no warm-up.
    constant = spec.lr_scheduler == "constant" and warmup_steps
    return {
        "output_dir": str(job.checkpoint_dir),
        "max_steps": steps,
        "learning_rate": spec.learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if constant else spec.lr_scheduler,
        "warmup_steps": warmup_steps,
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
        **_prefetching(spec, on_cpu=on_cpu),
        # DeepSpeed's own fused AdamW needs a compiler. On CPUs torch's rounds a tensor's last elements in another way
        # than those before them, so ZeRO's one flat buffer would no longer give the bytes of single tensors; all that
        # it saves there is some milliseconds a step.
        "optim": "adamw_torch" if on_cpu else "adamw_torch_fused",
        "activation_checkpointing": spec.activation_checkpointing,
        "deepspeed": copy.deepcopy(job.deepspeed_config) if spec.backend.startswith("zero") else None,
        "ddp_find_unused_parameters": False,
        "logging_steps": spec.logging_steps,
        "logging_first_step": True,
        # A loss that is no number must be seen, not replaced by the mean of those before it.
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": spec.checkpoint_every,
        "eval_strategy": "steps" if spec.eval_every else "no",
        "eval_steps": spec.eval_every or None,
        "report_to": [],
        "disable_tqdm": True,
    }


def _prefetching(spec: StageSpec, *, on_cpu: bool) -> dict[str, Any]:
    """Return what makes the input double-buffered: a process that collates the next micro batches while the device
    computes on this one, and copies from pinned memory that do not wait for the device."""
    if spec.prefetch == "off" or (spec.prefetch == "auto" and on_cpu):
        return {}
    return {
        "dataloader_num_workers": 1,
        "dataloader_prefetch_factor": 2,
        "accelerator_config": {"non_blocking": not on_cpu},
    }
