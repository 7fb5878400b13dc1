"""Ending a run whose validation loss has stopped falling, and keeping the weights of its best evaluation."""

import os
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmops_assets.errors import LlmopsError
from llmops_assets.training.checkpoints import all_checkpoints, step_of
from llmops_assets.training.control.evaluations import (
    best_evaluation,
    evaluation_figures,
    evaluations,
    without_improvement,
)
from llmops_assets.training.process import is_main_rank
from llmops_assets.training.specs import StageSpec

_PREFIX, _SUFFIX = "best-", ".safetensors"


class BestWeightsMissing(LlmopsError):
    """A resumed run has had its best evaluation already, and the weights of that are gone."""


class BestWeights:
    """The trained weights at the best evaluation, `best-<step>.safetensors` beside the checkpoints.

    They lie apart from the checkpoints, since the best one need not be among those that are kept, or at a checkpoint at
    all. `read` returns what would be published now, e.g. `lambda: trained_tensors(trainer, backend)`; every rank calls
    it, since a sharded engine gathers the weights from all of them. Rank 0 alone needs its result, writes and loads.
    """

    def __init__(self, folder: Path, read: Callable[[], dict[str, Tensor]]) -> None:
        self._folder = folder
        self._read = read

    def keep(self, step: int) -> None:
        """Write the weights of now as those of the evaluation after `step`; the file is whole or not there."""
        tensors = self._read()
        if not is_main_rank():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._file(step)
        temporary = file.with_name(f".{file.name}")
        save_file(tensors, temporary)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(file)

    def load(self, step: int) -> dict[str, Tensor]:
        """Return the weights kept at `step`, on the CPU of rank 0; nothing elsewhere. Raises BestWeightsMissing."""
        self.require(step)
        return load_file(self._file(step)) if is_main_rank() else {}

    def require(self, step: int) -> None:
        """Raises BestWeightsMissing unless the weights of `step` are there."""
        if not self._file(step).is_file():
            raise BestWeightsMissing(
                f"{self._file(step)} is missing: the weights of the best evaluation so far, at step {step}; delete "
                f"the folder {self._folder} to train from the start"
            )

    def discard(self, *, before: int = 0, after: int | None = None) -> None:
        """Delete, on rank 0, what was kept at steps below `before` or above `after`."""
        if not is_main_rank():
            return
        for file in self._folder.glob(f"{_PREFIX}*{_SUFFIX}"):
            step = int(file.name.removeprefix(_PREFIX).removesuffix(_SUFFIX))
            if step < before or (after is not None and step > after):
                file.unlink()

    def _file(self, step: int) -> Path:
        return self._folder / f"{_PREFIX}{step}{_SUFFIX}"


class EarlyStop(TrainerCallback):
    """Stops after `early_stop_evaluations` evaluations in a row without improvement (Prechelt 1998, "Early stopping -
    but when?"). What is published then, and also if the run comes to its end, are the weights of the best evaluation.

    It judges by the trainer's log history, which every rank has alike and every checkpoint holds, so a resumed run
    stops at the step at which an uninterrupted one does. Without `early_stop_evaluations` it changes nothing, and the
    last weights are published; `outcome` tells the best evaluation all the same.
    """

    def __init__(self, spec: StageSpec, weights: BestWeights) -> None:
        self.stopped_at: int | None = None
        self._patience = spec.early_stop_evaluations
        self._min_delta = spec.early_stop_min_delta
        self._weights = weights

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Forget evaluations after the checkpoint that is resumed from; they are taken again.

        Raises BestWeightsMissing.
        """
        if self._patience:
            self._weights.discard(after=state.global_step)
            if found := evaluations(state.log_history):
                self._weights.require(best_evaluation(found).step)
        return control

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Keep the weights if they are the best so far, and stop if nothing has improved for too long."""
        found = evaluations(state.log_history)
        if not self._patience or not found or found[-1].step != state.global_step:
            return control
        if best_evaluation(found) == found[-1]:
            self._weights.keep(state.global_step)
        if without_improvement(found, self._min_delta) >= self._patience and state.global_step < state.max_steps:
            self.stopped_at = state.global_step
            control.should_training_stop = True
            # The trainer would resume from a checkpoint of this step with one step too many.
            control.should_save = False
        return control

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Give back the room of weights that no checkpoint's run would still call the best."""
        checkpoints = all_checkpoints(Path(args.output_dir)) if args.output_dir else []
        if self._patience and checkpoints:
            seen = [found for found in evaluations(state.log_history) if found.step <= step_of(checkpoints[0])]
            self._weights.discard(before=best_evaluation(seen).step if seen else 0)
        return control

    def published(self, state: TrainerState) -> dict[str, Tensor] | None:
        """Return the weights to publish in place of the last ones, or None if those are to be published.

        Every rank but 0 gets none in their place. Raises BestWeightsMissing.
        """
        found = evaluations(state.log_history)
        if not self._patience or not found or (best := best_evaluation(found)).step == state.global_step:
            return None
        return self._weights.load(best.step)

    def outcome(self, state: TrainerState) -> dict[str, float]:
        """Return `best_step` and `best_eval_loss`, and `stopped_early_at_step` if the run was stopped.

        The `eval_` figures are those of the weights that are published: the best ones with patience, else the last.
        """
        if not (found := evaluations(state.log_history)):
            return {}
        best = best_evaluation(found)
        stopped = {} if self.stopped_at is None else {"stopped_early_at_step": float(self.stopped_at)}
        published = evaluation_figures(state.log_history, (best if self._patience else found[-1]).step)
        return published | {"best_step": float(best.step), "best_eval_loss": best.loss} | stopped
