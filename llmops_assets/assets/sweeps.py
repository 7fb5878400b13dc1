"""The assets of a sweep: one partition per point, each an adapter of its own, and what they come to side by side."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import dagster as dg

from llmops_assets.assets.adapter_training import AdapterRequest, adapter_inputs, train_adapter
from llmops_assets.assets.adapters import CODE_VERSION, GPU_POOL, adapter_asset, adapter_request
from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.lineage import asset_key, materialized, readable_errors
from llmops_assets.assets.previews import inline_png
from llmops_assets.assets.sweep_outcomes import point_outcomes
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactStore, BuildSlot
from llmops_assets.resources.feedback import FeedbackResource
from llmops_assets.resources.manifest import fingerprint_of
from llmops_assets.resources.sweep_tracking import close_parent_run, sweep_parent_run, under_parent
from llmops_assets.resources.tracking import Tracking
from llmops_assets.resources.trainer import Trainer
from llmops_assets.training.identity import identity_of
from llmops_assets.training.specs import AnyStageSpec
from llmops_assets.training.sweep_points import SweepPoint, sweep_points
from llmops_assets.training.sweep_report import (
    PointOutcome,
    best_point,
    headline,
    report_markdown,
    sweep_plot_png,
    table_rows,
)

REPORT_CODE_VERSION = "1"
REPORT_FILE, PLOT_FILE = "sweep.md", "sweep.png"
_RANKS = {"num_processes", "gradient_accumulation"}

# Made anew when points were trained and none is queued or running, whether all of them succeeded or not.
TABLE_CONDITION = (
    dg.AutomationCondition.any_deps_updated().since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
)


class Sweep:
    """One sweep of a lane: its points, and the training that each of them asks for."""

    def __init__(self, recipe: Recipe, name: str) -> None:
        self.recipe, self.name, self.spec = recipe, name, recipe.sweeps[name]
        self.asset, self.point_asset = f"{name}_sweep", f"{name}_sweep_point"
        self.stage = recipe.stages[self.spec.stage]
        self.points = {point.name: point for point in sweep_points(self.spec, self.stage)}

    def request(
        self, instance: dg.DagsterInstance, point: SweepPoint, artifacts: ArtifactStore, feedback: FeedbackResource
    ) -> AdapterRequest:
        """Return what the lane's own adapter asks for, with the point's settings, kept apart from that adapter."""
        request = adapter_request(instance, self.recipe, point.spec, artifacts, feedback)
        return replace(request, asset=self.point_asset)

    def parent_run(self, request: AdapterRequest, artifacts: ArtifactStore, tracking: Tracking) -> str | None:
        """Return the MLflow run that all points share which differ from `request` in swept settings alone."""
        swept = set(self.spec.keys)
        # Adapters are told by the product of these two.
        swept |= _RANKS if swept & _RANKS else set()
        told = identity_of(request.spec.model_dump(mode="json"))
        fingerprint = fingerprint_of(
            asset=self.asset,
            spec={key: value for key, value in told.items() if key not in swept},
            inputs=adapter_inputs(request, self.recipe.base_model.resolve()),
            code_version=request.code_version,
        )
        return sweep_parent_run(
            tracking,
            experiment=self.recipe.name,
            name=f"{self.recipe.name}/{self.asset}",
            fingerprint=fingerprint,
            lock=Path(artifacts.staging) / self.recipe.name / f"{self.asset}.mlflow.lock",
        )

    def outcomes(
        self, instance: dg.DagsterInstance, artifacts: ArtifactStore, feedback: FeedbackResource
    ) -> list[PointOutcome]:
        """Return what has become of every point so far."""
        request = self.request(instance, next(iter(self.points.values())), artifacts, feedback)
        return point_outcomes(
            instance,
            artifacts,
            recipe=self.recipe.name,
            asset=self.point_asset,
            points=self.asked(request.spec),
            inputs=adapter_inputs(request, self.recipe.base_model.resolve()),
        )

    def asked(self, first: AnyStageSpec) -> list[SweepPoint]:
        """Return the points with the settings that their adapters are asked for with; `first` are those of the first.

        What rows and recordings have decided is alike for all of them.
        """
        written = next(iter(self.points.values())).spec.model_dump()
        decided = {key: value for key, value in first.model_dump().items() if value != written[key]}
        return [replace(point, spec=point.spec.model_copy(update=decided)) for point in self.points.values()]


def sweep_assets(recipe: Recipe) -> list[dg.AssetsDefinition]:
    """Return the two assets of every sweep of `recipe`."""
    sweeps = [Sweep(recipe, name) for name in recipe.sweeps]
    return [asset for sweep in sweeps for asset in (sweep_point_asset(sweep), sweep_asset(sweep))]


def sweep_point_asset(sweep: Sweep) -> dg.AssetsDefinition:
    """Return the `<recipe>/<sweep>_sweep_point` asset, one partition per point, with the deps of the lane's adapter."""
    adapter = adapter_asset(sweep.recipe, sweep.stage)

    @dg.asset(
        key=asset_key(sweep.recipe.name, sweep.point_asset),
        partitions_def=dg.StaticPartitionsDefinition(list(sweep.points)),
        deps=sorted(adapter.asset_deps[adapter.key], key=str),
        group_name=sweep.recipe.name,
        kinds={"pytorch", "huggingface", "mlflow"},
        owners=sweep.recipe.owners,
        code_version=CODE_VERSION,
        pool=GPU_POOL,
    )
    def sweep_point(
        context: dg.AssetExecutionContext,
        artifacts: ArtifactStore,
        trainer: Trainer,
        tracking: Tracking,
        feedback: FeedbackResource,
    ) -> dg.MaterializeResult:
        """The adapter of one point of a sweep: the stage's settings with those of the partition, on the same rows. It
        is compared and not used: nothing continues it and it gets no version."""
        with readable_errors():
            point = sweep.points[context.partition_key]
            request = sweep.request(context.instance, point, artifacts, feedback)
            parent_run = sweep.parent_run(request, artifacts, tracking)
            return train_adapter(
                context,
                request,
                artifacts=artifacts,
                trainer=trainer,
                tracking=under_parent(tracking, parent_run_id=parent_run, point=point.name),
            )

    return sweep_point


def sweep_asset(sweep: Sweep) -> dg.AssetsDefinition:
    """Return the `<recipe>/<sweep>_sweep` asset: table, plot and best point."""

    @dg.asset(
        key=asset_key(sweep.recipe.name, sweep.asset),
        deps=[dg.AssetDep(asset_key(sweep.recipe.name, sweep.point_asset), partition_mapping=dg.AllPartitionMapping())],
        group_name=sweep.recipe.name,
        kinds={"mlflow", "markdown"},
        owners=sweep.recipe.owners,
        code_version=REPORT_CODE_VERSION,
        automation_condition=TABLE_CONDITION,
    )
    def sweep_table(
        context: dg.AssetExecutionContext, artifacts: ArtifactStore, tracking: Tracking, feedback: FeedbackResource
    ) -> dg.MaterializeResult:
        """All points of a sweep side by side, those that failed or have not run included, a plot over the first swept
        number, and the recipe lines of the best point by the sweep's metric."""
        with readable_errors():
            outcomes = sweep.outcomes(context.instance, artifacts, feedback)
            artifact, reused = build_once(artifacts, _report_request(sweep, outcomes), _writer(sweep, outcomes))
            if best := best_point(sweep.spec, outcomes):
                request = sweep.request(context.instance, sweep.points[best.name], artifacts, feedback)
                _close(sweep.parent_run(request, artifacts, tracking), best, outcomes, artifact, tracking)
            return materialized(artifact, reused=reused, metadata=_metadata(sweep, outcomes, artifact))

    return sweep_table


def _close(
    parent_run: str | None,
    best: PointOutcome,
    outcomes: Sequence[PointOutcome],
    report: Artifact,
    tracking: Tracking,
) -> None:
    if parent_run is None:
        return
    close_parent_run(
        tracking,
        parent_run,
        figures=best.figures,
        settings=best.settings,
        points={o.name: o.tracked_run for o in outcomes if o.status == "done" and o.tracked_run is not None},
        files=[report.folder / REPORT_FILE, report.folder / PLOT_FILE],
    )


def _report_request(sweep: Sweep, outcomes: list[PointOutcome]) -> BuildRequest:
    inputs = {o.name: sha256(json.dumps(asdict(o), sort_keys=True).encode()).hexdigest() for o in outcomes}
    return BuildRequest(
        recipe=sweep.recipe.name,
        asset=sweep.asset,
        spec=sweep.spec,
        inputs=inputs,
        code_version=REPORT_CODE_VERSION,
    )


def _writer(sweep: Sweep, outcomes: list[PointOutcome]) -> Callable[[BuildSlot], Built]:
    def write(slot: BuildSlot) -> Built:
        (slot.output / REPORT_FILE).write_text(report_markdown(sweep.name, sweep.spec, outcomes), encoding="utf-8")
        plot = sweep_plot_png(sweep.name, sweep.spec, outcomes)
        if plot is not None:
            (slot.output / PLOT_FILE).write_bytes(plot)
        return Built(summary={"sentence": headline(sweep.name, sweep.spec, outcomes)})

    return write


def _metadata(sweep: Sweep, outcomes: list[PointOutcome], artifact: Artifact) -> dict[str, Any]:
    rows = table_rows(sweep.spec, outcomes)
    shown: dict[str, Any] = {
        "summary": artifact.manifest.summary["sentence"],
        "points": dg.MetadataValue.table(
            [dg.TableRecord({key: "" if value is None else value for key, value in row.items()}) for row in rows]
        ),
        "report": dg.MetadataValue.md((artifact.folder / REPORT_FILE).read_text(encoding="utf-8")),
        "points_done": sum(outcome.status == "done" for outcome in outcomes),
        "points_failed": sum(outcome.status == "failed" for outcome in outcomes),
    }
    best = best_point(sweep.spec, outcomes)
    if best is None:
        return shown
    return shown | {
        "best_point": best.name,
        f"best/{sweep.spec.metric}": best.figures[sweep.spec.metric],
        "best_settings": dg.MetadataValue.json(dict(best.settings)),
        "plot": inline_png(artifact.folder / PLOT_FILE, f"{sweep.spec.metric} by point"),
    }
