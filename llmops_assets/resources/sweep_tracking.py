"""MLflow runs of a sweep: one parent for the sweep, and under it one run for each of its points."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from llmops_assets.resources.tracking import TrackedRun, Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient

SWEEP_TAG = "llmops/sweep"
POINT_TAG = "llmops/sweep_point"
PARENT_TAG = "mlflow.parentRunId"
_NAME_TAG = "mlflow.runName"
_BEST = "best/"


class PointTracking(Tracking):
    """Tracking whose training runs are children of a sweep's parent run, named after their point."""

    parent_run_id: str
    point: str

    @contextmanager
    def training_run(
        self, *, experiment: str, name: str, dagster_run_id: str, tags: dict[str, str], params: dict[str, Any]
    ) -> Iterator[TrackedRun]:
        """Open the run of one point; otherwise as `Tracking.training_run`."""
        family = {PARENT_TAG: self.parent_run_id, POINT_TAG: self.point}
        with super().training_run(
            experiment=experiment,
            name=f"{name} {self.point}",
            dagster_run_id=dagster_run_id,
            tags=tags | family,
            params=params,
        ) as run:
            yield run


def under_parent(tracking: Tracking, *, parent_run_id: str | None, point: str) -> Tracking:
    """Return `tracking` for one point of the sweep whose parent run is `parent_run_id`, if it has one."""
    if parent_run_id is None:
        return tracking
    return PointTracking(**tracking.model_dump(), parent_run_id=parent_run_id, point=point)


def sweep_parent_run(tracking: Tracking, *, experiment: str, name: str, fingerprint: str, lock: Path) -> str | None:
    """Return the id of the parent run of the sweep `fingerprint`, created by the point that comes first.

    MLflow cannot create a run unless it exists, so the points of one machine go through the file `lock`; should two
    machines start in the same instant, `close_parent_run` makes one parent of theirs. Returns None, with a warning in
    the log of the Dagster run, while the server is away.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock), tracking._at_most_a_warning("the point's run has no parent there"):
        client = tracking._client()
        experiment_id = tracking._experiment(client, experiment)
        parents = _parents(client, experiment_id, fingerprint)
        if parents:
            return parents[0]
        return client.create_run(experiment_id, run_name=name, tags={SWEEP_TAG: fingerprint}).info.run_id
    return None


def close_parent_run(
    tracking: Tracking,
    run_id: str,
    *,
    figures: Mapping[str, float],
    settings: Mapping[str, Any],
    points: Mapping[str, str],
    files: Sequence[Path],
) -> None:
    """Write what the sweep found to its parent run: figures and settings of the best point, and the report's files.

    `points` are the runs that trained its points, by the points' names. One whose adapter was found in the artifact
    store opened no run here: a sweep with another grid trained it, and its run becomes a child of this one.

    Does nothing but warn while the server is away. Settings are tags here, for parameters of a run cannot change, and
    another point may be the best tomorrow.
    """
    with tracking._at_most_a_warning(f"parent run {run_id} lacks what the sweep found"):
        client = tracking._client()
        _adopt(client, run_id)
        for tag in client.get_run(run_id).data.tags:
            if tag.startswith(_BEST) and tag.removeprefix(_BEST) not in settings:
                client.delete_tag(run_id, tag)
        for key, value in settings.items():
            client.set_tag(run_id, f"{_BEST}{key}", str(value))
        client.set_terminated(run_id, "FINISHED")
    for point, child in points.items():
        with tracking._at_most_a_warning(f"run {child} of point {point} stays apart from its sweep"):
            _bring_home(tracking._client(), child, parent=run_id, point=point)
    tracking.log_outcome(run_id, {f"{_BEST}{key}": value for key, value in figures.items()}, list(files))


def _bring_home(client: "MlflowClient", child: str, *, parent: str, point: str) -> None:
    """Make `child` the run of `point` under `parent`, if it is not that already."""
    tags = client.get_run(child).data.tags
    if (tags.get(PARENT_TAG), tags.get(POINT_TAG)) == (parent, point):
        return
    name = tags.get(_NAME_TAG, "").removesuffix(tags.get(POINT_TAG, "")).strip()
    for tag, value in ((PARENT_TAG, parent), (POINT_TAG, point), (_NAME_TAG, f"{name} {point}".strip())):
        client.set_tag(child, tag, value)


def _adopt(client: "MlflowClient", run_id: str) -> None:
    """Give the children of other parents of the same sweep to `run_id`, and delete those parents."""
    run = client.get_run(run_id)
    experiment_id = run.info.experiment_id
    for other in _parents(client, experiment_id, run.data.tags[SWEEP_TAG]):
        if other == run_id:
            continue
        for child in client.search_runs([experiment_id], filter_string=f"tags.`{PARENT_TAG}` = '{other}'"):
            client.set_tag(child.info.run_id, PARENT_TAG, run_id)
        client.delete_run(other)


def _parents(client: "MlflowClient", experiment_id: str, fingerprint: str) -> list[str]:
    """Return the ids of the sweep's parent runs, the oldest first."""
    found = client.search_runs([experiment_id], filter_string=f"tags.`{SWEEP_TAG}` = '{fingerprint}'")
    return [run.info.run_id for run in sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))]
