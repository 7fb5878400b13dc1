"""`llmops sweep` from the command line to the table: names, refusals, the condition of its sensor, and a whole run."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
from dagster._core.events import AssetMaterializationPlannedData, StepMaterializationData
from dagster._core.test_utils import create_run_for_test

from llmops_assets.assets.lineage import asset_key, latest_metadata
from llmops_assets.assets.sweeps import Sweep, sweep_assets
from llmops_assets.automation.sensors import sweep_tables_sensor
from llmops_assets.automation.sweep_launch import (
    NoDaemon,
    UnknownSweep,
    _daemon_is_alive,
    chosen_points,
    launch_sweep,
    sweep_job,
    sweep_job_name,
)
from llmops_assets.cli import cli
from llmops_assets.definitions import lane as lane_definitions
from llmops_assets.recipe import Recipe, load_recipe
from llmops_assets.resources.defaults import default_resources
from llmops_assets.resources.process_tree import marked_processes, stop_processes
from llmops_assets_tests.assets.swept_lane import POINT, SWEEP, TABLE, make_swept_lane
from llmops_assets_tests.assets.tiny_lane import NAME, REPOSITORY, TinyLane
from llmops_assets_tests.chaos.services import Service, own_environment
from llmops_assets_tests.chaos.waiting import wait_for

LOW, HIGH = "learning_rate=1e-05", "learning_rate=0.01"
_LLMOPS = [sys.executable, "-c", "from llmops_assets.cli import main; main()"]


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyLane:
    """A lane with two points, which this process and those that it starts take for their own."""
    lane = make_swept_lane(tmp_path / "lane", [0.00001, 0.01])
    lane.take_over(monkeypatch)
    for name in ("HF_HUB_OFFLINE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, lane.environment[name])
    return lane


@pytest.fixture
def recipe(lane: TinyLane) -> Recipe:
    return load_recipe(lane.recipe_file)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


def swept(name: str, *sweeps: str) -> Recipe:
    sources = {"sources": [{"kind": "files", "name": "rows", "pattern": "rows.jsonl"}]}
    sweep = {"stage": "sft", "grid": {"seed": [1, 2]}, "metric": "mean_loss"}
    return Recipe.model_validate(
        {
            "name": name,
            "description": "A lane for the tests.",
            "base_model": {"name": "embedded"},
            "sft_set": sources,
            "sft": {"max_steps": 5, "learning_rate": 0.01},
            "sweeps": dict.fromkeys(sweeps, sweep),
        }
    )


def test_no_two_sweeps_share_a_job_whatever_their_recipes_are_called() -> None:
    recipes = [swept("a", "b_c", "b"), swept("a_b", "c"), swept("a__b", "c"), swept("a_", "b")]
    names = [sweep_job(recipe, sweep).name for recipe in recipes for sweep in recipe.sweeps]
    assert len(set(names)) == 5
    merged = dg.Definitions.merge(*map(lane_definitions, recipes), dg.Definitions(resources=default_resources()))
    dg.Definitions.validate_loadable(merged)


def test_points_are_chosen_by_name(recipe: Recipe) -> None:
    sweep = Sweep(recipe, SWEEP)
    assert chosen_points(sweep, []) == [LOW, HIGH]
    assert chosen_points(sweep, [HIGH, HIGH]) == [HIGH]
    with pytest.raises(UnknownSweep, match=f"has no point 'learning_rate=5'; it has {LOW}, {HIGH}"):
        chosen_points(sweep, ["learning_rate=5"])


def test_without_a_daemon_nothing_is_queued_and_the_instance_is_named(
    instance: dg.DagsterInstance, recipe: Recipe, lane: TinyLane
) -> None:
    with pytest.raises(NoDaemon, match=f"DAGSTER_HOME={lane.environment['DAGSTER_HOME']} has reported") as caught:
        launch_sweep(instance, recipe, SWEEP, [LOW])
    assert f"--select 'key:\"{NAME}/{POINT}\"' --partition '{LOW}'" in str(caught.value)
    assert not instance.get_runs()


def test_the_command_line_asks_the_instance_that_it_is_told(lane: TinyLane) -> None:
    done = CliRunner().invoke(cli, ["sweep", NAME, "--instance", "local"])
    assert done.exit_code == 1
    assert f"DAGSTER_HOME={lane.root / 'state' / 'instances' / 'local'} has reported" in done.output


def test_the_command_line_names_variables_that_the_instance_lacks(
    lane: TinyLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLMOPS_POSTGRES_URL", raising=False)
    done = CliRunner().invoke(cli, ["sweep", NAME, "--instance", "postgres"])
    assert done.exit_code == 1
    assert "reads LLMOPS_POSTGRES_URL from the environment" in done.output


def test_the_table_of_a_lane_without_rows_says_what_is_missing(lane: TinyLane) -> None:
    done = CliRunner().invoke(cli, ["sweep", NAME, "--show"])
    assert done.exit_code == 1
    assert f"{NAME}/sft_rows has never been materialized" in done.output


def test_the_sensor_runs_by_default_and_watches_the_tables_alone(recipe: Recipe) -> None:
    sensor = sweep_tables_sensor(recipe)
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    definitions = dg.Definitions.merge(lane_definitions(recipe), dg.Definitions(resources=default_resources()))
    graph = definitions.resolve_asset_graph()
    assert sensor.asset_selection.resolve(graph) == {asset_key(NAME, TABLE)}


@dataclass
class Ticks:
    """Evaluates the tables' condition against an instance, as the sensor does, and fakes what runs record."""

    recipe: Recipe
    instance: dg.DagsterInstance
    cursor: AssetDaemonCursor | None = None

    def tick(self) -> int:
        """Return how many tables are asked for now."""
        definitions = dg.Definitions(assets=sweep_assets(self.recipe), resources=default_resources())
        result = dg.evaluate_automation_conditions(definitions, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        return result.total_requested

    def start(self, point: str) -> dg.DagsterRun:
        run = create_run_for_test(self.instance, status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": point})
        planned = AssetMaterializationPlannedData(asset_key(NAME, POINT), partition=point)
        self.instance.report_dagster_event(
            dg.DagsterEvent("ASSET_MATERIALIZATION_PLANNED", run.job_name, event_specific_data=planned), run.run_id
        )
        return run

    def succeed(self, run: dg.DagsterRun, point: str) -> None:
        event = dg.AssetMaterialization(asset_key(NAME, POINT), partition=point)
        self.instance.report_dagster_event(
            dg.DagsterEvent(
                "ASSET_MATERIALIZATION", run.job_name, event_specific_data=StepMaterializationData(event, [])
            ),
            run.run_id,
        )
        self.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", run.job_name), run.run_id)


@pytest.fixture
def ticks(recipe: Recipe, instance: dg.DagsterInstance) -> Ticks:
    ticks = Ticks(recipe, instance)
    assert ticks.tick() == 0
    return ticks


def test_the_table_waits_for_points_that_are_under_way(ticks: Ticks) -> None:
    low, high = ticks.start(LOW), ticks.start(HIGH)
    assert ticks.tick() == 0
    ticks.succeed(low, LOW)
    assert ticks.tick() == 0
    ticks.succeed(high, HIGH)
    assert [ticks.tick(), ticks.tick()] == [1, 0]


def test_a_point_that_fails_does_not_hold_the_table_back(ticks: Ticks) -> None:
    low, high = ticks.start(LOW), ticks.start(HIGH)
    ticks.succeed(low, LOW)
    ticks.instance.report_run_failed(high)
    assert [ticks.tick(), ticks.tick()] == [1, 0]


@pytest.fixture
def daemon(lane: TinyLane) -> Iterator[Service]:
    """The daemon of `make dev`, over the workspace that ships with the project; ends with all that it started."""
    environment = own_environment(**lane.environment)
    command = [sys.executable, "-m", "dagster._daemon", "run", "-w", str(REPOSITORY / "workspace.yaml")]
    daemon = Service("daemon", command, environment, lane.root / "logs" / "daemon.log")
    try:
        yield daemon
    finally:
        daemon.stop()
        stop_processes(lambda: marked_processes("DAGSTER_HOME", environment["DAGSTER_HOME"]), grace_seconds=0.0)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_sweep_goes_from_the_command_line_through_the_queue_to_its_table(lane: TinyLane, daemon: Service) -> None:
    def llmops(*arguments: str) -> str:
        done = subprocess.run(
            [*_LLMOPS, *arguments], env=own_environment(**lane.environment), capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    prepared = lane.materialize("sft_set", "sft_rows")
    assert prepared.returncode == 0, prepared.stderr[-3000:]
    daemon.start()
    with dg.DagsterInstance.get() as instance:
        wait_for(lambda: daemon.require_alive() or _daemon_is_alive(instance), "the daemon's heartbeat")
        launched = llmops("sweep", NAME, SWEEP).splitlines()
        assert [line.split(": queued, ")[0] for line in launched[:2]] == [LOW, HIGH]
        assert launched[2].endswith(f"/assets/{NAME}/{TABLE}")
        runs = [line.rsplit("/", 1)[1] for line in launched[:2]]
        ended = wait_for(lambda: _ended(instance, runs), "the end of both points' runs")
        assert ended == [dg.DagsterRunStatus.SUCCESS] * 2, daemon.log.read_text()[-3000:]
        assert [run.job_name for run in instance.get_runs(dg.RunsFilter(run_ids=runs))] == [
            sweep_job_name(load_recipe(lane.recipe_file), SWEEP)
        ] * 2
        table = wait_for(lambda: latest_metadata(instance, NAME, TABLE), "the table")
        assert (table["points_done"], table["best_point"]) == (2, HIGH)
    shown = llmops("sweep", NAME, SWEEP, "--show")
    assert f"rates: 2 of 2 points are done; {HIGH} has the lowest eval_loss" in shown
    assert "  learning_rate: 0.01" in shown


def _ended(instance: dg.DagsterInstance, run_ids: list[str]) -> list[dg.DagsterRunStatus] | None:
    runs = [instance.get_run_by_id(run_id) for run_id in run_ids]
    found = [run.status for run in runs if run is not None and run.is_finished]
    return found if len(found) == len(run_ids) else None
