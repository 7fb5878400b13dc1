"""How many optimizer steps a stage takes. Imports no torch, so that the Dagster layer may use it."""

import math

from llmops_assets.training.specs import StageSpec


def total_steps(spec: StageSpec, rows: int) -> int:
    """Return the optimizer steps of a stage on `rows` rows: `max_steps`, or the steps of `epochs` where they are fewer.

    An epoch has as many whole steps as hold every row once; its last step is filled up (see whole_steps.py), except
    in KTO.
    """
    if spec.epochs is None:
        assert spec.max_steps is not None, "a spec has one of the two"
        return spec.max_steps
    rows_of_a_step = spec.batch_size * spec.gradient_accumulation * spec.num_processes
    steps = max(1, math.ceil(spec.epochs * math.ceil(rows / rows_of_a_step)))
    return steps if spec.max_steps is None else min(steps, spec.max_steps)
