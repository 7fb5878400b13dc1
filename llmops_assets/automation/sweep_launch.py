"""Starts a sweep: one queued run per point, each in the `gpu` pool, through Dagster's own backfill command."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition as AssetJob

from llmops_assets.assets.lineage import asset_key
from llmops_assets.assets.sweeps import Sweep
from llmops_assets.errors import LlmopsError
from llmops_assets.recipe import Recipe
from llmops_assets.resources.defaults import artifact_store, feedback_resource
from llmops_assets.settings import dagster_ui_url
from llmops_assets.training.sweep_report import report_markdown

_ROOT = Path(__file__).resolve().parent.parent.parent
LAUNCH_TAG = "llmops/sweep_launch"
PARTITION_TAG = "dagster/partition"
_QUEUE_DAEMON = "QUEUED_RUN_COORDINATOR"
# A daemon reports every 30 seconds.
_SIGN_OF_LIFE_SECONDS = 120


class NoDaemon(LlmopsError):
    """Nothing would take the runs of a sweep from the queue."""


class SweepNotLaunched(LlmopsError):
    """Dagster refused to launch the runs of a sweep."""


class UnknownSweep(LlmopsError):
    """A sweep, or a point of one, that the recipe does not have."""


def sweep_job_name(recipe: Recipe, sweep: str) -> str:
    """Name of the job that trains one point of a sweep.

    A recipe's name may end as another's sweep begins (`a` with `b_c`, `a_b` with `c`); no sweep's name has two
    underscores in a row. `<recipe>__<sweep>_sweep` is the op of the table, and Dagster wants one name for one thing.
    """
    return f"{recipe.name}__{sweep}_points"


def sweep_job(recipe: Recipe, sweep: str) -> AssetJob:
    """Return `<recipe>__<sweep>_points`, partitioned by point. Its runs may go side by side, as the pool has room.

    It has no `llmops/job` tag: instances allow one run at a time of each job that has.
    """
    return dg.define_asset_job(
        sweep_job_name(recipe, sweep),
        selection=dg.AssetSelection.assets(asset_key(recipe.name, f"{sweep}_sweep_point")),
        description=f"{recipe.description} (sweep {sweep}: one run per point)",
    )


def chosen_sweep(recipe: Recipe, name: str | None) -> str:
    """Return `name` if the recipe has that sweep, or the name of its only one.

    Raises:
        UnknownSweep: the recipe has no such sweep, none at all, or several to choose from.
    """
    known = ", ".join(recipe.sweeps)
    if name in recipe.sweeps:
        return name
    if name is not None:
        raise UnknownSweep(f"recipe {recipe.name} has no sweep {name!r}; it has {known or 'none'}")
    if not recipe.sweeps:
        raise UnknownSweep(f"recipe {recipe.name} has no sweep; add one to its section `sweeps` (docs/sweeps.md)")
    if len(recipe.sweeps) > 1:
        raise UnknownSweep(f"recipe {recipe.name} has several sweeps; name one of {known}")
    return next(iter(recipe.sweeps))


def sweep_lines(recipe: Recipe, name: str | None, chosen: Sequence[str], *, show: bool) -> Iterator[str]:
    """Yield what `llmops sweep` prints: the table of a sweep, or the runs that it has queued.

    Raises:
        UnknownSweep, NoDaemon, SweepNotLaunched: as `chosen_sweep` and `launch_sweep`.
    """
    sweep = Sweep(recipe, chosen_sweep(recipe, name))
    with dg.DagsterInstance.get() as instance:
        if show:
            outcomes = sweep.outcomes(instance, artifact_store(), feedback_resource())
            yield report_markdown(sweep.name, sweep.spec, outcomes)
            return
        points = chosen_points(sweep, chosen)
        runs = launch_sweep(instance, recipe, sweep.name, points)
        for point, run_id in zip(points, runs, strict=True):
            yield f"{point}: queued, {dagster_ui_url()}/runs/{run_id}"
    yield f"The table will be at {dagster_ui_url()}/assets/{recipe.name}/{sweep.asset}"


def chosen_points(sweep: Sweep, chosen: Sequence[str]) -> list[str]:
    """Return the names of the chosen points of `sweep`, each once, or of all its points if none is chosen.

    Raises:
        UnknownSweep: a chosen point is none of them.
    """
    unknown = [point for point in chosen if point not in sweep.points]
    if unknown:
        raise UnknownSweep(f"sweep {sweep.name} has no point {unknown[0]!r}; it has {', '.join(sweep.points)}")
    return list(dict.fromkeys(chosen)) or list(sweep.points)


def launch_sweep(instance: dg.DagsterInstance, recipe: Recipe, sweep: str, points: Sequence[str]) -> list[str]:
    """Queue one run for each of `points` and return the ids of the runs, in the same order.

    Raises:
        NoDaemon: no daemon of this instance has been heard of lately; nothing was queued.
        SweepNotLaunched: Dagster refused.
    """
    job = sweep_job_name(recipe, sweep)
    command = ["job", "backfill", "-w", str(_ROOT / "workspace.yaml"), "-j", job]
    command += ["--partitions", ",".join(points), "--noprompt"]
    if not _daemon_is_alive(instance):
        here = f'key:"{recipe.name}/{sweep}_sweep_point"'
        home = os.environ.get("DAGSTER_HOME", "")
        raise NoDaemon(
            f"no Dagster daemon of the instance at DAGSTER_HOME={home} has reported in the last two minutes, so queued "
            "runs would wait. Start `make dev` and try again; if it serves another instance (`make dev "
            "INSTANCE=<name>`), add `--instance <name>`. Or train the points here, one after the other: "
            f"dagster asset materialize -m llmops_assets.definitions --select '{here}' --partition '{points[0]}'"
        )
    launch = uuid.uuid4().hex
    command += ["--tags", json.dumps({LAUNCH_TAG: launch})]
    done = subprocess.run([sys.executable, "-m", "dagster", *command], capture_output=True, text=True, cwd=_ROOT)
    runs = {run.tags[PARTITION_TAG]: run.run_id for run in instance.get_runs(dg.RunsFilter(tags={LAUNCH_TAG: launch}))}
    missing = [point for point in points if point not in runs]
    if done.returncode != 0 or missing:
        raise SweepNotLaunched(
            f"`dagster {' '.join(command)}` ended with code {done.returncode}; points without a run: "
            f"{', '.join(missing) or 'none'}\n{(done.stderr or done.stdout).strip()}"
        )
    return [runs[point] for point in points]


def _daemon_is_alive(instance: dg.DagsterInstance) -> bool:
    heartbeat = instance.get_daemon_heartbeats().get(_QUEUE_DAEMON)
    return heartbeat is not None and time.time() - heartbeat.timestamp < _SIGN_OF_LIFE_SECONDS
