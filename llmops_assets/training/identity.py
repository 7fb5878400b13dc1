"""Which settings of a stage tell its adapter from others: those that change what comes out of the training."""

from collections.abc import Mapping
from typing import Any

from llmops_assets.training.specs import AnyStageSpec

# Settings that decide where a training runs and how it is watched, not what comes out of it.
RUNTIME_ONLY = frozenset(
    {
        "logging_steps",
        "checkpoint_every",
        "keep_checkpoints",
        "device",
        "placement",
        "prefetch",
        "report_to",
        "loss_spike_factor",
    }
)


def on_one_rank(spec: AnyStageSpec) -> dict[str, int]:
    """Return the setting of one rank that trains on the same rows, step by step (see training/whole_steps.py).

    Specs that come to the same share an artifact and its checkpoints, so a run may go on with fewer ranks, or more. The
    sums of their gradients are rounded alike if there are two micro batches a step, and to float precision otherwise.
    KTO has none: its KL term is taken over the answers of all ranks' micro batches.
    """
    return _on_one_rank(spec.model_dump(include={"stage", "num_processes", "gradient_accumulation"}))


def identity_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a stage, as a spec or a manifest has them, by which the artifact store tells adapters."""
    told = {key: value for key, value in settings.items() if key not in RUNTIME_ONLY}
    return told | _on_one_rank(settings)


def _on_one_rank(settings: Mapping[str, Any]) -> dict[str, int]:
    if settings["stage"] == "kto":
        return {}
    return {"num_processes": 1, "gradient_accumulation": settings["num_processes"] * settings["gradient_accumulation"]}
