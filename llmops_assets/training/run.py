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
from llmops_assets.training import cpt, dpo, kd, kto, sft
from llmops_assets.training.adapter_files import write_adapter, write_atomically
from llmops_assets.training.checkpoints import CheckpointKeeper, discard_torn, latest_complete
from llmops_assets.training.deepspeed_engine import (
    require_engine,
    set_master_weights,
    start_engine,
    trained_tensors,
    zero_stage,
)
from llmops_assets.training.device import trains_on_gpu
from llmops_assets.training.disk_space import DiskFull, give_room_back, room_for
from llmops_assets.training.environment import run_environment
from llmops_assets.training.job import TrainingJob, TrainingResult
from llmops_assets.training.model import adapter_config, adapter_kept_in_float32, load_tokenizer
from llmops_assets.training.policy import starting_policy
from llmops_assets.training.preparation.loading import load_rows
from llmops_assets.training.process import is_main_rank, threads_per_rank
from llmops_assets.training.progress import Progress
from llmops_assets.training.reference.check import check_start, require_reference
from llmops_assets.training.resuming import ResumePoint, beginning, find_resume_point, fitted, prepare_resume
from llmops_assets.training.rows import TrainingRows
from llmops_assets.training.specs import DpoSpec
from llmops_assets.training.speed.attention_choice import attention_implementation
from llmops_assets.training.speed.fused_lora import fuse_lora
from llmops_assets.training.speed.layer_compile import compile_layers
from llmops_assets.training.speed.pair_batching import batch_pairs
from llmops_assets.training.steps import total_steps
from llmops_assets.training.stopping import StopAtStepBoundary
from llmops_assets.training.tracking import MlflowRun
from llmops_assets.training.whole_model import write_whole_model

RESULT_FILE = "training_result.json"
STAGES: dict[str, ModuleType] = {"cpt": cpt, "sft": sft, "kd": kd, "dpo": dpo, "kto": kto}


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
    rows = load_rows(job)
    # DeepSpeed's configuration takes effect when the arguments are made: ZeRO-3 shards a model while it is loaded.
    point = find_resume_point(job)
    arguments = stage.training_arguments(fitted(job, point), rows)
    with _room(job, "what a run begins with", job.checkpoint_dir):
        checkpoint = prepare_resume(job, point)
    model = starting_policy(job, _attention(job))
    with adapter_kept_in_float32(model, spec):
        trainer: Trainer = stage.build_trainer(model, tokenizer, rows, arguments)
    speed = _speed_up(trainer, job)

    start = EngineStart(trainer, job)
    progress = Progress(job.output_dir, MlflowRun.from_environment() if is_main_rank() else None)
    stop = StopAtStepBoundary()
    trainer.remove_callback(PrinterCallback)
    for callback in (start, progress, stop, _keeper(job, point)):
        trainer.add_callback(callback)

    if is_main_rank():
        print(_headline(job, rows, point), flush=True)
    began = time.monotonic()
    with stop, _room(job, "a checkpoint, the metrics or the log", job.checkpoint_dir):
        output = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if stop.stopped:
        return None
    seconds = time.monotonic() - began
    evaluation = trainer.evaluate() if rows.evaluation is not None else {}
    tensors = trained_tensors(trainer, spec.backend)
    _require_learning(tensors, job)
    result = TrainingResult(
        adapter_sha256="",
        steps=trainer.state.global_step,
        resumed_from_step=point.step,
        world_sizes=point.world_sizes,
        metrics=_finite(progress.last | {"mean_loss": output.training_loss} | rows.counts | speed | evaluation),
        tokens_seen=int(trainer.state.num_input_tokens_seen),
        train_seconds=round(seconds, 3),
        engine=start.engine,
        reference=start.reference,
        environment=run_environment(spec),
    )
    if is_main_rank():
        with _room(job, "the adapter", job.output_dir):
            if isinstance(model, PeftModel):
                digest = write_adapter(job.output_dir, tensors, adapter_config(model, job.base_model))
            else:
                digest = write_whole_model(job.output_dir, tensors, model, tokenizer)
            result = result.model_copy(update={"adapter_sha256": digest})
            write_atomically(job.output_dir / RESULT_FILE, result.model_dump_json(indent=2).encode("utf-8"))
    return result


class EngineStart(TrainerCallback):
    """Checks, once the engine holds the model and before the first step, that it is what the job asked for."""

    def __init__(self, trainer: Trainer, job: TrainingJob) -> None:
        self.engine = ""
        self.reference: dict[str, float | str] | None = None
        self._trainer, self._job = trainer, job
        self._summary = require_reference(job) if isinstance(job.spec, DpoSpec) else None
        # A ZeRO engine makes its float32 masters from the model's bfloat16 copy; these are the weights before that.
        self._exact = trained_tensors(trainer, "plain") if self._loses_bits() else None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Raises WrongEngine and WrongReference."""
        self.engine = require_engine(self._trainer, self._job.spec.backend)
        if state.global_step > 0:
            return control
        if self._exact is not None:
            set_master_weights(self._trainer, self._exact)
        if self._summary is not None:
            assert isinstance(self._trainer, dpo.DPOTrainer)
            self.reference = check_start(self._trainer, self._job, self._summary)
        return control

    def _loses_bits(self) -> bool:
        spec = self._job.spec
        return bool(zero_stage(spec.backend)) and spec.precision == "bf16" and spec.finetuning == "lora"


def _attention(job: TrainingJob) -> str:
    stage = job.spec.model_dump()
    # A micro batch of padding-free pairs is one row of documents, as a packed one is.
    packed = stage["stage"] == "cpt" or stage.get("batching") in ("packed", "padding_free")
    return attention_implementation(
        job.spec.attention, packed=packed, precision=job.spec.precision, on_gpu=trains_on_gpu(job.spec)
    )


def _speed_up(trainer: Trainer, job: TrainingJob) -> dict[str, float]:
    """Switch on what the spec asks for and return how many layers it took hold of, for the run card."""
    spec, model = job.spec, trainer.model
    counts: dict[str, float] = {}
    if isinstance(model, PeftModel) and spec.fused_lora:
        counts["fused_lora_layers"] = float(fuse_lora(model))
    if isinstance(spec, DpoSpec):
        assert isinstance(trainer, dpo.DPOTrainer)
        batch_pairs(trainer, spec.batching)
    if spec.compile == "layers":
        assert model is not None
        counts["compiled_layers"] = float(compile_layers(model))
    return counts


def _require_learning(tensors: dict[str, torch.Tensor], job: TrainingJob) -> None:
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise TrainingDiverged(
            f"{job.asset}: the adapter holds NaN or infinity; lower learning_rate, now {job.spec.learning_rate}"
        )
    trained = [tensor for name, tensor in tensors.items() if "lora_B" in name or job.spec.finetuning == "full"]
    if not any(bool(tensor.any()) for tensor in trained):
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


def _headline(job: TrainingJob, rows: TrainingRows, point: ResumePoint) -> str:
    spec = job.spec
    counts = rows.counts.items()
    data = ", ".join(f"{key.removeprefix('train_').replace('_', ' ')} {value:,.0f}" for key, value in counts)
    parent = "new" if job.parent is None else f"{spec.adapter_mode} {job.parent.sha256[:12]}"
    return (
        f"{job.recipe}/{job.asset}: {spec.stage}, {total_steps(spec, len(rows.train))} steps {beginning(job, point)}, "
        f"{spec.finetuning}, {spec.backend} x{spec.num_processes}, {threads_per_rank(spec)} threads, {spec.precision}, "
        f"{parent} | {data}"
    )
