"""What the evaluations of a run say, read from the trainer's log history, which its checkpoints hold."""

from collections.abc import Sequence
from typing import Any, NamedTuple

History = Sequence[dict[str, Any]]
# The trainer's own timings of an evaluation; metrics.jsonl has `eval_seconds`.
_TIMINGS = frozenset({"eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "eval_num_tokens"})


class Evaluation(NamedTuple):
    """A validation loss (nats per token, or the stage's own loss) and the optimizer step after which it was taken."""

    step: int
    loss: float


def evaluations(history: History) -> list[Evaluation]:
    """Return the evaluations in `history` by step; of two at one step the later one."""
    by_step = {int(row["step"]): float(row["eval_loss"]) for row in history if "eval_loss" in row}
    return [Evaluation(step, loss) for step, loss in sorted(by_step.items())]


def best_evaluation(found: Sequence[Evaluation]) -> Evaluation:
    """Return the one with the lowest loss, the earliest among equals. Raises ValueError without any."""
    return min(found, key=lambda evaluation: (evaluation.loss, evaluation.step))


def evaluation_figures(history: History, step: int) -> dict[str, float]:
    """Return what was measured in the last evaluation at `step`, by its `eval_` name; {} without one."""
    rows = [row for row in history if "eval_loss" in row and row["step"] == step]
    return {key: float(value) for key, value in rows[-1].items() if is_figure(key)} if rows else {}


def is_figure(key: str) -> bool:
    """Return whether a key of a row is a figure of its evaluation, and none of the trainer's timings."""
    return key.startswith("eval_") and key not in _TIMINGS


def mean_train_loss(history: History) -> float | None:
    """Return the mean training loss of all logged steps, those before a resume too; None if there is none.

    A logged loss is the mean over the steps since the row before it and counts that often.
    """
    weighted = steps = 0.0
    for row in history:
        if "loss" in row and row["step"] > steps:
            weighted += (row["step"] - steps) * row["loss"]
            steps = row["step"]
    return weighted / steps if steps else None


def without_improvement(found: Sequence[Evaluation], min_delta: float) -> int:
    """Return how many evaluations have passed since the last improvement; the first one is an improvement.

    An evaluation improves if it is lower than the last improvement by more than `min_delta`: many small gains add up to
    one, while noise of that size does not.
    """
    best, passed = float("inf"), 0
    for evaluation in found:
        if evaluation.loss < best - min_delta:
            best, passed = evaluation.loss, 0
        else:
            passed += 1
    return passed


def train_loss_since_last_evaluation(history: History) -> float | None:
    """Return the mean training loss of the steps logged between the last evaluation in `history` and the one before it.

    A logged loss is the mean over the steps since the row before it and counts that often. None if no row lies between.
    """
    weighted = steps = last_step = 0.0
    before_last: tuple[float, float] = (0.0, 0.0)
    for row in history:
        if "loss" in row:
            weight = row["step"] - last_step
            weighted, steps, last_step = weighted + weight * row["loss"], steps + weight, row["step"]
        elif "eval_loss" in row:
            before_last = (weighted, steps)
            weighted = steps = 0.0
    total, count = before_last
    return total / count if count else None
