"""The figures of a training that the points of a sweep can be ranked by, and which end of each is the better one.

What Progress, `train` and TRL's trainers report, less what tells nothing about a point: counts of rows, the learning
rate itself. The tests compare it with what a training of every stage leaves behind.
"""

from collections.abc import Mapping
from typing import Literal

from llmops_assets.training.specs import AnyStageSpec, KdSpec, Stage

Goal = Literal["min", "max"]
Figures = Mapping[str, Goal | None]

_EVERY_STAGE: Figures = {
    "loss": "min",
    "mean_loss": "min",
    "grad_norm": None,
    "entropy": None,
    "tokens_per_second": "max",
    "step_ms": "min",
    "train_seconds": "min",
    "gpu_hours": "min",
    "cpu_hours": "min",
}
_ON_GPUS: Figures = {"mfu": "max"}
_TOKENS: Figures = {"mean_token_accuracy": "max"}
_PREFERENCES: Figures = {
    "rewards/margins": "max",
    **dict.fromkeys(["rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected"]),
    **dict.fromkeys(["logits/chosen", "logits/rejected"]),
}
_TEACHER: Figures = {"kd/ce": "min", "kd/divergence": "min"}
_OF_STAGE: Mapping[Stage, Figures] = {
    "cpt": _TOKENS,
    "sft": _TOKENS,
    "kd": _TOKENS,
    "dpo": {**_TOKENS, "rewards/accuracies": "max", **_PREFERENCES},
    "kto": {"kl": None, **_PREFERENCES},
}
_OF_EVALUATION: Figures = {"eval_loss": "min", "eval_gap": "min", "best_eval_loss": "min", "eval_entropy": None}


def ranking_figures(stage: AnyStageSpec) -> Figures:
    """Return what a training of `stage` reports, by name, with its better end; None where neither end is better."""
    own: dict[str, Goal | None] = {**_OF_STAGE[stage.stage]}
    if isinstance(stage, KdSpec) and stage.method == "logits":
        own.update(_TEACHER)
    figures: dict[str, Goal | None] = {**_EVERY_STAGE, **own}
    if stage.device != "cpu":
        figures.update(_ON_GPUS)
    if stage.validation_share:
        figures.update(_OF_EVALUATION, **{f"eval_{name}": goal for name, goal in own.items()})
    return figures


def better_end(metric: str) -> Goal | None:
    """Return which end of a figure is the better one; None if neither is, or if no stage reports it."""
    known = [_EVERY_STAGE, _ON_GPUS, _TEACHER, _OF_EVALUATION, *_OF_STAGE.values()]
    name = metric if metric in _OF_EVALUATION else metric.removeprefix("eval_")
    return next((figures[name] for figures in known if name in figures), None)


def complaint_about(metric: str, goal: Goal | None, stage: AnyStageSpec) -> str | None:
    """Return the sentence why points of `stage` cannot be ranked by `metric`; None if they can."""
    figures = ranking_figures(stage)
    if metric not in figures:
        if metric in ranking_figures(stage.model_copy(update={"validation_share": 0.1})):
            return (
                f"{metric} is taken on validation rows, and stage {stage.stage} holds none back; set its "
                "validation_share, or rank by a figure of the training such as mean_loss"
            )
        return f"no training of this stage {stage.stage} reports {metric}; choose from {', '.join(figures)}"
    if goal is None and figures[metric] is None:
        return f"neither end of {metric} is the better one by itself; say which with goal: min or goal: max"
    return None
