"""Sensor and schedule in one tick: both may ask for a run, one training comes of it."""

import subprocess
import sys
import time

from dagster import DagsterRun, RunsFilter

from llmops_assets.automation.jobs import dpo_job_name
from llmops_assets.recipe import load_recipe
from llmops_assets_tests.assets.tiny_lane import NAME
from llmops_assets_tests.chaos.fault import SUCCESS, Fault, since
from llmops_assets_tests.chaos.observations import Trial
from llmops_assets_tests.chaos.waiting import NeverHappened
from llmops_assets_tests.chaos.world import World

_VOTES = 12  # more than both minimums of the tiny lane
_TICK_SECONDS = 240


def _one_tick(world: World, repetition: int) -> Trial:
    """The daemon stands still while votes come in and both ticks are evaluated: neither sees the other's run."""
    before = {run.run_id for run in _dpo_runs(world)}
    world.services["daemon"].stop()
    votes = world.vote(_VOTES, "left")
    _tick_both(world)
    world.services["daemon"].start()
    began = time.monotonic()
    started = [run.run_id for run in _dpo_runs(world) if run.run_id not in before]
    for run_id in started:
        world.await_end(run_id)
    trained = [run_id for run_id in started if _trained(world, run_id)]
    objections = [] if len(trained) == 1 else [f"{len(trained)} of the runs {started} trained an adapter, not one"]
    return Trial(
        dict.fromkeys(started, SUCCESS),
        acknowledged_votes=votes,
        trains=False,
        may_promote=True,
        objections=objections,
        recovery_seconds=since(began),
    )


def _dpo_runs(world: World) -> list[DagsterRun]:
    job = dpo_job_name(load_recipe(world.lane.recipe_file))
    return list(world.instance.get_runs(RunsFilter(job_name=job)))


def _tick_both(world: World) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llmops_assets_tests.chaos.ticks", str(world.root / "workspace.yaml")],
        env=world.services.environment,
        capture_output=True,
        text=True,
        timeout=_TICK_SECONDS,
    )
    (world.root / "logs" / "ticks.log").write_text(done.stdout + done.stderr)
    if done.returncode != 0:
        raise NeverHappened(f"the ticks could not be evaluated: {done.stderr[-2000:]}")


def _trained(world: World, run_id: str) -> bool:
    """Whether the run made a new DPO adapter, rather than finding the one that the other run had made."""
    for entry in world.instance.all_logs(run_id):
        event = entry.asset_materialization
        if event is not None and event.asset_key.path == [NAME, "dpo_adapter"]:
            return event.metadata["reused"].value is False
    return False


AUTOMATION_FAULTS = [
    Fault("sensor and schedule in one tick", "every run SUCCESS, one training, promotion only on PASS", _one_tick),
]
