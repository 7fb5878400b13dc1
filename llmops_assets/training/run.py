"""One training run, top to bottom: engine, data, arguments, model, trainer, training, adapter, result."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from peft import PeftModel
from transformers import PrinterCallback, Trainer

from llmops_assets.errors import LlmopsError
from llmops_assets.training import cpt, dpo, kd, kto, sft
from llmops_assets.training.adapter_files import write_adapter, write_atomically
from llmops_assets.training.agreement import from_main_rank
from llmops_assets.training.checkpoints import CheckpointKeeper, discard_torn, latest_complete
from llmops_assets.training.control.early_stop import BestWeights, EarlyStop
from llmops_assets.training.control.evaluations import evaluations, mean_train_loss
from llmops_assets.training.control.loss_watch import LossWatch
from llmops_assets.training.deepspeed_engine import start_engine, trained_tensors
from llmops_assets.training.device import trains_on_gpu
from llmops_assets.training.disk_space import DiskFull, give_room_back, room_for
from llmops_assets.training.engine_start import EngineStart
from llmops_assets.training.environment import run_environment, used_hours
from llmops_assets.training.job import TrainingJob, TrainingResult
from llmops_assets.training.model import adapter_config, adapter_kept_in_float32, load_tokenizer
from llmops_assets.training.policy import starting_policy
from llmops_assets.training.preparation.loading import load_rows
from llmops_assets.training.process import is_main_rank, threads_per_rank
from llmops_assets.training.progress import Progress
from llmops_assets.training.resuming import ResumePoint, beginning, find_resume_point, fitted, prepare_resume
from llmops_assets.training.rows import TrainingRows
from llmops_assets.training.speed.switches import attention_of, head_of, switch_on, utilisation
from llmops_assets.training.steps import total_steps
from llmops_assets.training.stopping import StopAtStepBoundary
from llmops_assets.training.trackers import open_trackers, require_trackers
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
    require_trackers(spec)
    torch.set_num_threads(threads_per_rank(spec))
    start_engine(job)
    tokenizer = load_tokenizer(job.base_model)
    rows = load_rows(job)
    # DeepSpeed's configuration takes effect when the arguments are made: ZeRO-3 shards a model while it is loaded.
    point = find_resume_point(job)
    arguments = stage.training_arguments(fitted(job, point), rows)
    with _room(job, "what a run begins with", job.checkpoint_dir):
        checkpoint = prepare_resume(job, point)
    model = starting_policy(job, attention_of(job))
    with adapter_kept_in_float32(model, spec):
        trainer: Trainer = stage.build_trainer(model, tokenizer, rows, arguments)
    layers = switch_on(trainer, job)

    start, stop = EngineStart(trainer, job), StopAtStepBoundary()
    early = EarlyStop(
        spec, BestWeights(job.checkpoint_dir, partial(trained_tensors, trainer, spec.backend, main_rank_only=True))
    )
    trainer.remove_callback(PrinterCallback)
    if is_main_rank():
        print(_headline(job, rows, point), flush=True)
    began = time.monotonic()
    with open_trackers(job, first_step=point.step or 0) as tracker, stop, head_of(job):
        progress = Progress(job.output_dir, tracker, mfu=utilisation(job, rows))
        for callback in (start, progress, stop, _keeper(job, point), early, LossWatch(trainer, job)):
            trainer.add_callback(callback)
        with _room(job, "a checkpoint, the metrics or the log", job.checkpoint_dir):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            seconds = point.seconds + time.monotonic() - began
            if stop.stopped:
                return None
            evaluation = _last_evaluation(trainer) if rows.evaluation is not None else {}
    if (tensors := early.published(trainer.state)) is None:
        tensors = trained_tensors(trainer, spec.backend, main_rank_only=True)
    _require_learning(tensors, job)
    figures = progress.last | rows.counts | layers | evaluation
    if (mean_loss := mean_train_loss(trainer.state.log_history)) is not None:
        figures["mean_loss"] = mean_loss
    figures |= early.outcome(trainer.state) | used_hours(spec, seconds, on_gpu=trains_on_gpu(spec))
    result = TrainingResult(
        adapter_sha256="",
        steps=trainer.state.global_step,
        resumed_from_step=point.step,
        world_sizes=point.world_sizes,
        metrics=_finite(figures),
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


def _last_evaluation(trainer: Trainer) -> dict[str, float]:
    """Take the validation loss of the last weights, unless the last step has just done so."""
    found = evaluations(trainer.state.log_history)
    return {} if found and found[-1].step == trainer.state.global_step else trainer.evaluate()


def _require_learning(tensors: dict[str, torch.Tensor], job: TrainingJob) -> None:
    """Raise TrainingDiverged on every rank by the tensors of rank 0: the others have none, and would wait for it."""
    if (fault := from_main_rank(_fault(tensors, job) if is_main_rank() else None)) is not None:
        raise TrainingDiverged(fault)


def _fault(tensors: dict[str, torch.Tensor], job: TrainingJob) -> str | None:
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        return f"{job.asset}: the adapter holds NaN or infinity; lower learning_rate, now {job.spec.learning_rate}"
    trained = [tensor for name, tensor in tensors.items() if "lora_B" in name or job.spec.finetuning == "full"]
    if not any(bool(tensor.any()) for tensor in trained):
        return f"{job.asset}: every LoRA B matrix is still zero, nothing was learned; check the data"
    return None


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items() if math.isfinite(float(value))}


def _keeper(job: TrainingJob, point: ResumePoint) -> CheckpointKeeper:
    return CheckpointKeeper(job.fingerprint, job.spec.keep_checkpoints, point.world_sizes, point.seconds)


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
