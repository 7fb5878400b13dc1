"""What has become of the points of a sweep, read from Dagster's records and the artifact store."""

from collections.abc import Mapping, Sequence

import dagster as dg

from llmops_assets.assets.adapter_training import engine_inputs
from llmops_assets.assets.lineage import FINGERPRINT, asset_key
from llmops_assets.resources.artifacts import Artifact, ArtifactStore
from llmops_assets.training.identity import identity_of
from llmops_assets.training.sweep_points import SweepPoint
from llmops_assets.training.sweep_report import PointOutcome, Status

_IN_PROGRESS: Mapping[dg.DagsterRunStatus, Status] = {
    dg.DagsterRunStatus.NOT_STARTED: "queued",
    dg.DagsterRunStatus.QUEUED: "queued",
    dg.DagsterRunStatus.STARTING: "running",
    dg.DagsterRunStatus.STARTED: "running",
    dg.DagsterRunStatus.CANCELING: "running",
}


def point_outcomes(
    instance: dg.DagsterInstance,
    artifacts: ArtifactStore,
    *,
    recipe: str,
    asset: str,
    points: Sequence[SweepPoint],
    inputs: Mapping[str, str],
) -> list[PointOutcome]:
    """Return the outcome of every point of the partitioned asset `<recipe>/<asset>`, in the order of `points`.

    A point counts as done if its newest adapter was trained with the settings that the recipe has now, on `inputs`
    (data version by name, as far as named). A newer run that failed, or is under way, comes before an adapter.

    Raises:
        ArtifactMissing, CorruptArtifact: the store does not hold what a materialization claims.
    """
    key = asset_key(recipe, asset)
    return [_outcome(instance, artifacts, key, point, inputs) for point in points]


def _outcome(
    instance: dg.DagsterInstance,
    artifacts: ArtifactStore,
    key: dg.AssetKey,
    point: SweepPoint,
    inputs: Mapping[str, str],
) -> PointOutcome:
    planned = instance.get_latest_planned_materialization_info(key, partition=point.name)
    run = instance.get_run_by_id(planned.run_id) if planned is not None else None
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[point.name]), limit=1
    ).records
    if run is not None and run.status in _IN_PROGRESS:
        return PointOutcome(point.name, point.settings, _IN_PROGRESS[run.status], {}, f"run {run.run_id}")
    if run is not None and (not found or found[0].run_id != run.run_id):
        if run.status == dg.DagsterRunStatus.CANCELED:
            return PointOutcome(point.name, point.settings, "canceled", {}, f"run {run.run_id}")
        if run.status == dg.DagsterRunStatus.FAILURE:
            return PointOutcome(point.name, point.settings, "failed", {}, _complaint(instance, run.run_id))
    if not found:
        return PointOutcome(point.name, point.settings, "not run")
    materialization = found[0].asset_materialization
    assert materialization is not None, "fetch_materializations returns materializations"
    recipe, asset = key.path
    artifact = artifacts.get(recipe, asset, str(materialization.metadata[FINGERPRINT].value))
    change = _change(artifact, point, inputs)
    status: Status = "out of date" if change else "done"
    tracked_run = (artifact.manifest.run_card or {}).get("mlflow_run_id")
    return PointOutcome(point.name, point.settings, status, _figures(artifact), change, tracked_run)


def _change(artifact: Artifact, point: SweepPoint, inputs: Mapping[str, str]) -> str:
    """Return what is another since `artifact` was trained, as a clause; empty if training again would find it."""
    manifest = artifact.manifest
    then, now = identity_of(manifest.spec), identity_of(point.spec.model_dump(mode="json"))
    changed = [key for key in now if then.get(key) != now[key]]
    wanted = {**inputs, **engine_inputs(point.spec)}
    changed += [name for name, version in wanted.items() if manifest.inputs.get(name) != version]
    return f"{', '.join(changed)} changed since; run it again" if changed else ""


def _figures(artifact: Artifact) -> dict[str, float]:
    summary = artifact.manifest.summary
    return {
        name: float(value)
        for name, value in summary.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _complaint(instance: dg.DagsterInstance, run_id: str) -> str:
    """Return the sentence that a run failed with, and where to read more."""
    failures = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    for entry in failures:
        event = entry.dagster_event
        assert event is not None, "a step failure is an event of Dagster"
        failure = event.step_failure_data
        told = failure.user_failure_data.description if failure.user_failure_data else None
        message = told or (failure.error.message if failure.error else "")
        if message:
            return f"{message.strip().splitlines()[0]} (run {run_id})"
    return f"run {run_id} ended without a message; its log is in the Dagster UI"
