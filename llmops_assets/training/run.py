"""One training run, top to bottom: engine, data, arguments, model, trainer, training, adapter, result."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from peft import PeftModel
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmops_assets.errors import LlmopsError
from llmops_assets.training import cpt, dpo, sft
from llmops_assets.training.adapter_files import write_adapter, write_atomically
from llmops_assets.training.checkpoints import CheckpointKeeper, discard_torn, latest_complete
from llmops_assets.training.deepspeed_engine import (
    adapter_tensors,
    require_engine,
    set_master_weights,
    start_engine,
    zero_stage,
)
from llmops_assets.training.disk_space import DiskFull, give_room_back, room_for
from llmops_assets.training.environment import run_environment
from llmops_assets.training.job import TrainingJob, TrainingResult
from llmops_assets.training.model import (
    adapter_config,
    adapter_kept_in_float32,
    load_adapter,
    load_base_model,
    load_tokenizer,
    new_adapter,
)
from llmops_assets.training.process import is_main_rank, threads_per_rank
from llmops_assets.training.progress import Progress
from llmops_assets.training.reference import (
    ParentPolicy,
    check_reference,
    parent_policy,
    reference_weights_digest,
)
from llmops_assets.training.resuming import ResumePoint, beginning, find_resume_point, fitted, prepare_resume
from llmops_assets.training.stopping import StopAtStepBoundary
from llmops_assets.training.tracking import MlflowRun

RESULT_FILE = "training_result.json"
STAGES: dict[str, ModuleType] = {"cpt": cpt, "sft": sft, "dpo": dpo}


class TrainingDiverged(LlmopsError):
    """The run ended with weights that are not numbers, or that never moved."""


def train(job: TrainingJob) -> TrainingResult | None:
    """Train one adapter and write it to `job.output_dir`; `training_result.json` comes last and proves it whole.

    Every rank calls this. Continues from the newest whole checkpoint of the same job, also from one that another number
    of ranks wrote. Returns the result, or None if a signal stopped the run at a step boundary, with a checkpoint.

    Raises LlmopsError with a sentence for everything a user can mend.
    """
    spec, stage = job.spec, STAGES[job.spec.stage]
    torch.set_num_threads(threads_per_rank(spec))
    start_engine(job)
    tokenizer = load_tokenizer(job.base_model)
    rows = stage.load_rows(job, tokenizer)
    parent = parent_policy(job, tokenizer, rows) if spec.stage == "dpo" else None
    # DeepSpeed's configuration takes effect when the arguments are made: ZeRO-3 shards a model while it is loaded.
    point = find_resume_point(job)
    arguments = stage.training_arguments(fitted(job, point))
    with _room(job, "what a run begins with", job.checkpoint_dir):
        checkpoint = prepare_resume(job, point)
    model = _policy(job)
    with adapter_kept_in_float32(model, spec):
        trainer: Trainer = stage.build_trainer(model, tokenizer, rows, arguments)

    start = EngineStart(trainer, job, parent)
    progress = Progress(job.output_dir, MlflowRun.from_environment() if is_main_rank() else None)
    stop = StopAtStepBoundary()
    trainer.remove_callback(PrinterCallback)
    for callback in (start, progress, stop, _keeper(job, point)):
        trainer.add_callback(callback)

    if is_main_rank():
        print(_headline(job, rows.counts, point), flush=True)
    began = time.monotonic()
    with stop, _room(job, "a checkpoint, the metrics or the log", job.checkpoint_dir):
        output = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if stop.stopped:
        return None
    seconds = time.monotonic() - began
    evaluation = trainer.evaluate() if rows.evaluation is not None else {}
    tensors = adapter_tensors(trainer, spec.backend)
    _require_learning(tensors, job)
    result = TrainingResult(
        adapter_sha256="",
        steps=trainer.state.global_step,
        resumed_from_step=point.step,
        world_sizes=point.world_sizes,
        metrics=_finite(progress.last | {"mean_loss": output.training_loss} | rows.counts | evaluation),
        tokens_seen=int(trainer.state.num_input_tokens_seen),
        train_seconds=round(seconds, 3),
        engine=start.engine,
        reference=start.reference,
        environment=run_environment(spec),
    )
    if is_main_rank():
        with _room(job, "the adapter", job.output_dir):
            digest = write_adapter(job.output_dir, tensors, adapter_config(model, job.base_model))
            result = result.model_copy(update={"adapter_sha256": digest})
            write_atomically(job.output_dir / RESULT_FILE, result.model_dump_json(indent=2).encode("utf-8"))
    return result


class EngineStart(TrainerCallback):
    """Checks, once the engine holds the model and before the first step, that it is what the job asked for."""

    def __init__(self, trainer: Trainer, job: TrainingJob, parent: ParentPolicy | None) -> None:
        self.engine = ""
        self.reference: dict[str, float | str] | None = None
        self._trainer, self._job, self._parent = trainer, job, parent
        assert isinstance(trainer.model, PeftModel)
        self._reference_digest = reference_weights_digest(trainer.model) if parent is not None else ""
        # A ZeRO engine makes its float32 masters from the model's bfloat16 copy; these are the weights before that.
        self._exact = adapter_tensors(trainer, "plain") if self._loses_bits() else None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Raises WrongEngine and WrongReference."""
        self.engine = require_engine(self._trainer, self._job.spec.backend)
        if self._exact is not None and state.global_step == 0:
            set_master_weights(self._trainer, self._exact)
        if self._parent is not None:
            assert isinstance(self._trainer, dpo.DPOTrainer)
            self.reference = check_reference(
                self._trainer, self._parent, self._reference_digest, self._job.spec.precision
            )
        return control

    def _loses_bits(self) -> bool:
        return bool(zero_stage(self._job.spec.backend)) and self._job.spec.precision == "bf16"


def _policy(job: TrainingJob) -> PeftModel:
    base = load_base_model(job.base_model, job.spec.precision, job.spec.quantization)
    fp32 = zero_stage(job.spec.backend) != 3
    if job.parent is None:
        return new_adapter(base, job.spec, fp32=fp32)
    return load_adapter(base, job.parent, job.base_model, continued_by=job.spec, fp32=fp32)


def _require_learning(tensors: dict[str, torch.Tensor], job: TrainingJob) -> None:
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise TrainingDiverged(
            f"{job.asset}: the adapter holds NaN or infinity; lower learning_rate, now {job.spec.learning_rate}"
        )
    if not any(bool(tensor.any()) for name, tensor in tensors.items() if "lora_B" in name):
        raise TrainingDiverged(f"{job.asset}: every LoRA B matrix is still zero, nothing was learned; check the data")


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items() if math.isfinite(float(value))}


def _keeper(job: TrainingJob, point: ResumePoint) -> CheckpointKeeper:
    return CheckpointKeeper(job.fingerprint, job.spec.keep_checkpoints, point.world_sizes)


@contextmanager
def _room(job: TrainingJob, what: str, folder: Path) -> Iterator[None]:
    """On a full disk, give back the space of unfinished checkpoints, so that the sentence about it can be written."""
    try:
        with room_for(what, folder, "it resumes from the last whole checkpoint"):
            yield
    except DiskFull:
        give_room_back(job.checkpoint_dir)
        whole = latest_complete(job.checkpoint_dir, job.fingerprint)
        discard_torn(job.checkpoint_dir, whole, in_emergency=True)
        raise


def _headline(job: TrainingJob, counts: dict[str, float], point: ResumePoint) -> str:
    spec = job.spec
    data = ", ".join(f"{key.removeprefix('train_').replace('_', ' ')} {value:,.0f}" for key, value in counts.items())
    parent = "new adapter" if job.parent is None else f"continues {job.parent.sha256[:12]}"
    return (
        f"{job.recipe}/{job.asset}: {spec.stage}, {spec.max_steps} steps {beginning(job, point)}, {spec.backend} "
        f"x{spec.num_processes}, {threads_per_rank(spec)} threads, {spec.precision}, {parent} | {data}"
    )
