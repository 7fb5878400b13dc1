"""Stopping a run that went wrong: a loss that is no number, or one that climbs and stays up."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmops_assets.errors import LlmopsError
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.specs import StageSpec

_SPIKING_ROWS = 3
_MEDIAN_OF = 20
# Fewer logged losses do not tell what is usual.
_ROWS_TO_JUDGE = 5
# A loss near zero, as DPO's is at its end, moves by large factors without harm.
_SMALLEST_MEDIAN = 0.1
_LONGEST_WARMUP = 500


class LossDiverged(LlmopsError):
    """The loss, the gradient or the weights are no numbers any more, or the loss climbed and stayed up."""


class LossWatch(TrainerCallback):
    """Ends a run that cannot become good any more, before it writes a checkpoint of what it has become.

    After every optimizer step: the loss of every rank is finite. At every progress line: so is the norm of the
    gradient, and the loss has not been `loss_spike_factor` times its running median three lines in a row. Before every
    checkpoint: so are the trained weights. All ranks see the same and raise together, so that none waits for another.

    What it judges by is the trainer's log history, which its checkpoints hold: a resumed run goes on judging as it did.
    Add it after all callbacks that report or ask for a checkpoint. On a GPU it waits for the step in progress, as TRL's
    trainers do for their metrics.
    """

    def __init__(self, trainer: Trainer, job: TrainingJob) -> None:
        if trainer.args.logging_nan_inf_filter:
            raise ValueError("logging_nan_inf_filter hides NaN: the trainer would log the mean of the steps before it")
        self._trainer = trainer
        self._job = job

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Raises LossDiverged."""
        # The trainer's running sum over the steps since the last progress line: one NaN in it stays there.
        loss: torch.Tensor = self._trainer._tr_loss
        assert self._trainer.model is not None
        bad_loss = not bool(loss.isfinite())
        bad_weights = control.should_save and not weights_are_finite(self._trainer.model)
        if not _on_any_rank(bad_loss or bad_weights, args):
            return control
        if _on_any_rank(bad_loss, args):
            raise self._diverged(state, "the loss became NaN or infinite", before_any_update=state.global_step == 1)
        raise self._diverged(state, "the trained weights became NaN or infinite")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> TrainerControl:
        """Judge what was logged, which is the same on all ranks. Raises LossDiverged."""
        logs = logs or {}
        for key, what in (("loss", "loss"), ("grad_norm", "gradient norm"), ("eval_loss", "validation loss")):
            if not math.isfinite(logs.get(key, 0.0)):
                raise self._diverged(state, f"the {what} became NaN or infinite")
        if "loss" in logs and (usual := spiking_above(_losses(state.log_history), self._job.spec.loss_spike_factor)):
            raise self._diverged(
                state,
                f"the loss has been above {self._job.spec.loss_spike_factor:g} x its running median of {usual:.4f} "
                f"for {_SPIKING_ROWS} progress lines, now {logs['loss']:.4f}",
                bad_rows=_SPIKING_ROWS,
            )
        return control

    def _diverged(
        self, state: TrainerState, what: str, *, bad_rows: int = 0, before_any_update: bool = False
    ) -> LossDiverged:
        job = self._job
        rows = [row for row in state.log_history if math.isfinite(row.get("loss", math.nan))]
        good = rows[: len(rows) - bad_rows]
        last = f"last good loss {good[-1]['loss']:.4f} at step {good[-1]['step']}" if good else "no good loss before it"
        rate = max((row.get("learning_rate", 0.0) for row in rows), default=0.0) or job.spec.learning_rate
        steps = advice(job, state.max_steps, rate, before_any_update=before_any_update)
        numbered = "; ".join(f"{number}. {step}" for number, step in enumerate(steps, start=1))
        return LossDiverged(
            f"{job.recipe}/{job.asset}: at step {state.global_step} {what} ({last}). Try in this order: {numbered}. "
            "The last whole checkpoint stays; the same settings resume from it and come here again, others start anew."
        )


def spiking_above(losses: Sequence[float], factor: float) -> float | None:
    """Return the usual loss if the last three logged ones are all above `factor` times it, else None.

    Usual is the median of up to 20 logged losses before those three. `factor` 0 never finds a spike, and fewer than
    five losses before them are no measure.
    """
    usual = losses[:-_SPIKING_ROWS][-_MEDIAN_OF:]
    if not factor or len(usual) < _ROWS_TO_JUDGE:
        return None
    median = max(statistics.median(usual), _SMALLEST_MEDIAN)
    return median if all(loss > factor * median for loss in losses[-_SPIKING_ROWS:]) else None


def advice(job: TrainingJob, max_steps: int, rate: float, *, before_any_update: bool) -> list[str]:
    """Return what to try against a diverged run, the likeliest cure first; only what the spec can still change.

    `rate` is the highest learning rate that the run has reached. A loss that is no number `before_any_update` has
    nothing to do with the learning rate: then the data and the precision come alone.
    """
    spec = job.spec
    data = f"look for broken rows with `llmops preview {job.recipe} {spec.stage}_rows`"
    if spec.quantization != "none":
        numbers = f"set quantization: none (now {spec.quantization})"
    elif spec.precision == "bf16":
        numbers = "set precision: fp32 (now bf16) to see whether rounding is to blame"
    else:
        numbers = "check that the base model's own weights are finite"
    if before_any_update:
        return [f"no update had been made, so the learning rate is not to blame: {data}", numbers]
    lower = float(f"{rate / 3:.0e}")
    steps = [f"lower learning_rate from {spec.learning_rate:g} to {lower:g}"]
    warmup = warmup_steps(spec, max_steps)
    longer = min(_LONGEST_WARMUP, max(2 * warmup, math.ceil(0.1 * max_steps)))
    if longer > warmup:
        steps.append(f"warm up longer, warmup_steps: {longer} (now {warmup})")
    if spec.max_grad_norm > 0.1:
        tighter = 1.0 if spec.max_grad_norm > 1 else round(spec.max_grad_norm / 2, 3)
        steps.append(f"clip harder, max_grad_norm: {tighter:g} (now {spec.max_grad_norm:g})")
    return [*steps, data, numbers]


def warmup_steps(spec: StageSpec, max_steps: int) -> int:
    """Return the steps of warm-up of a run with `max_steps`, whichever way the spec gives them."""
    return spec.warmup_steps or math.ceil(spec.warmup_ratio * max_steps)


def weights_are_finite(model: torch.nn.Module) -> bool:
    """Return whether all trained weights that this rank holds are finite; of ZeRO-3's that is its own shard."""
    trained = [getattr(weight, "ds_tensor", weight) for weight in model.parameters() if weight.requires_grad]
    # A sum over finite values may overflow; a flag for each tensor costs one wait for all of them.
    flags = [weight.detach().isfinite().all() for weight in trained]
    return not flags or bool(torch.stack(flags).all())


def _losses(history: Sequence[dict[str, Any]]) -> list[float]:
    return [row["loss"] for row in history if "loss" in row]


def _on_any_rank(flag: bool, args: TrainingArguments) -> bool:
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return flag
    found = torch.tensor(int(flag), device=args.device)
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return bool(found.item())
