"""How many GPUs a run asks for, told from its plan, its run config and the recipe files; its code is not loaded."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dagster import DagsterInstance, DagsterRun
from pydantic import ValidationError

from llmops_assets.errors import LlmopsError
from llmops_assets.recipe import BaseModelSpec, Recipe, RecipeError, load_recipe
from llmops_assets.settings import configs_dir
from llmops_assets.training.specs import AnyStageSpec
from llmops_assets.training.sweep_points import sweep_points

PARTITION_TAG = "dagster/partition"
STAGE_OF_ASSET = {f"{stage}_adapter": stage for stage in ("cpt", "sft", "kd", "kto", "dpo")}
# What a frozen model says about the rows of a stage, taken in one process.
STAGE_OF_RECORDING = {"teacher_logits": "kd", "teacher_answers": "kd", "reference_log_probs": "dpo"}
_SWEEP_POINT = "_sweep_point"


class UnknownDemand(LlmopsError):
    """A run trains a stage, but its recipe or its run config does not tell with how many GPUs."""


@dataclass(frozen=True)
class RunDemand:
    """What a run asks for.

    Attributes:
        stages: The spec of every training stage of the run, by op name (`<recipe>__<asset>`), with the run's overrides.
        bases: The base model that each of them trains on, by op name too.
        recordings: GPUs of the run's other processes that hold a model, by op name.
    """

    stages: Mapping[str, AnyStageSpec]
    bases: Mapping[str, BaseModelSpec] = field(default_factory=dict)
    recordings: Mapping[str, int] = field(default_factory=dict)

    @property
    def gpus(self) -> int:
        """GPUs that the run's own machine must have: its ops run one after another, so the largest one counts.

        Recordings beside ranks that Ray places have none: the run would hold it while these ranks wait for theirs.
        """
        local = [gpus_of(spec) for spec in self.stages.values() if spec.placement == "local"]
        return max(local + ([] if self.placed_gpus else list(self.recordings.values())), default=0)

    @property
    def placed_gpus(self) -> int:
        """GPUs that stages with `placement: ray` take on the cluster, beside those of the run's own machine."""
        return max((gpus_of(spec) for spec in self.stages.values() if spec.placement == "ray"), default=0)


def gpus_of(spec: AnyStageSpec) -> int:
    """Return the GPUs that a stage insists on: one per rank with `device: gpu`, none otherwise."""
    return spec.num_processes if spec.device == "gpu" else 0


def demand_of(
    op_names: Iterable[str],
    run_config: Mapping[str, Any],
    recipe_named: Callable[[str], Recipe],
    partition: str | None = None,
) -> RunDemand:
    """Return the demand of a run of these ops. Ops that train nothing ask for nothing, and their recipe is not read.

    `partition` is the point of a sweep; without it the largest point counts. A recording takes one GPU if its stage
    insists on GPUs.

    Raises:
        UnknownDemand: a recipe is broken or gone, has lost the stage, the sweep or the point, or an override in the run
            config is not valid.
    """
    stages, bases, recordings = {}, {}, {}
    for op_name in op_names:
        recipe_name, _, asset = op_name.rpartition("__")
        is_known = asset in STAGE_OF_ASSET or asset in STAGE_OF_RECORDING or asset.endswith(_SWEEP_POINT)
        if not recipe_name or not is_known:
            continue
        recipe = _recipe(op_name, recipe_name, recipe_named)
        if asset in STAGE_OF_RECORDING:
            stage = _written_stage(op_name, recipe, STAGE_OF_RECORDING[asset])
            on_cpu = _overrides(op_name, run_config).get("device") == "cpu"
            recordings[op_name] = 0 if on_cpu else min(1, gpus_of(stage))
            continue
        if asset in STAGE_OF_ASSET:
            stages[op_name] = _stage(op_name, recipe, STAGE_OF_ASSET[asset], run_config)
        else:
            stages[op_name] = _point(op_name, recipe, asset.removesuffix(_SWEEP_POINT), partition)
        bases[op_name] = recipe.base_model
    return RunDemand(stages, bases, recordings)


def run_demand(instance: DagsterInstance, run: DagsterRun) -> RunDemand:
    """Return the demand of a recorded run, however it was started.

    Raises:
        UnknownDemand: as `demand_of`; and for a run that was recorded without a plan.
    """
    if run.execution_plan_snapshot_id is None:
        raise UnknownDemand(
            f"Run {run.run_id} of {run.job_name} has no execution plan, so its stages are not known. Launch it from a "
            "code location (UI, schedule, sensor, backfill or `dagster job launch -w workspace.yaml`)."
        )
    plan = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
    selected = set(plan.step_keys_to_execute)
    op_names = sorted({step.node_handle_id for step in plan.steps if step.key in selected})
    return demand_of(op_names, run.run_config, _recipe_named, run.tags.get(PARTITION_TAG))


def _recipe_named(name: str) -> Recipe:
    return load_recipe(configs_dir() / "recipes" / f"{name}.yaml")


def _recipe(op_name: str, recipe_name: str, recipe_named: Callable[[str], Recipe]) -> Recipe:
    try:
        return recipe_named(recipe_name)
    except RecipeError as error:
        raise UnknownDemand(
            f"cannot tell how many GPUs {op_name} asks for, its recipe cannot be used: {error}"
        ) from error


def _written_stage(op_name: str, recipe: Recipe, stage: str) -> AnyStageSpec:
    spec: AnyStageSpec | None = getattr(recipe, stage)
    if spec is None:
        raise _lost(op_name, recipe, f"section {stage}")
    return spec


def _point(op_name: str, recipe: Recipe, sweep: str, partition: str | None) -> AnyStageSpec:
    if sweep not in recipe.sweeps:
        raise _lost(op_name, recipe, f"sweep {sweep}")
    settings = recipe.sweeps[sweep]
    points = {point.name: point.spec for point in sweep_points(settings, recipe.stages[settings.stage])}
    if partition is None:
        return max(points.values(), key=gpus_of)
    if partition not in points:
        raise _lost(op_name, recipe, f"point {partition} of sweep {sweep}")
    return points[partition]


def _lost(op_name: str, recipe: Recipe, what: str) -> UnknownDemand:
    return UnknownDemand(
        f"cannot tell how many GPUs {op_name} asks for: recipe {recipe.name} has no {what} any more. Reload the code "
        "location and launch again."
    )


def _stage(op_name: str, recipe: Recipe, stage: str, run_config: Mapping[str, Any]) -> AnyStageSpec:
    spec = _written_stage(op_name, recipe, stage)
    try:
        return type(spec).model_validate(spec.model_dump() | _overrides(op_name, run_config))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg']}" for e in error.errors())
        raise UnknownDemand(f"run config, ops.{op_name}.config: {problems}; correct it and launch again") from error


def _overrides(op_name: str, run_config: Mapping[str, Any]) -> dict[str, Any]:
    config = ((run_config.get("ops") or {}).get(op_name) or {}).get("config") or {}
    return {key: _value(op_name, key, value) for key, value in config.items()}


def _value(op_name: str, key: str, value: Any) -> Any:
    """A config value as Dagster resolves it: `{env: NAME}` stands for that variable."""
    if not (isinstance(value, Mapping) and set(value) == {"env"}):
        return value
    if value["env"] not in os.environ:
        raise UnknownDemand(
            f"run config, ops.{op_name}.config.{key}: the environment variable {value['env']} is not set where runs "
            "are launched; set it for the daemon or write the value into the run config"
        )
    return os.environ[value["env"]]
