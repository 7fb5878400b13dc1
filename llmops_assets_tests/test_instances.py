"""Instances by name, and the one that keeps runs and votes in PostgreSQL, against a real server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner
from dagster import DagsterRunStatus

from llmops_assets.automation.sensors import enough_preferences_sensor
from llmops_assets.cli import cli
from llmops_assets.instances import UnknownInstance, instance_home, instance_names
from llmops_assets.launchers.routing import LAUNCHER_TAG
from llmops_assets.launchers.run_supervisor import RUN_MARKER
from llmops_assets.resources.process_tree import marked_processes, stop_processes
from llmops_assets.resources.trainer import Trainer
from llmops_assets.settings import configs_dir
from llmops_assets_tests.automation.conftest import Lane, open_lane
from llmops_assets_tests.launchers import jobs
from llmops_assets_tests.launchers.runs import create_run, launch, wait_for_status
from llmops_assets_tests.resources.waiting import payload_processes, survivors, wait_until

REPOSITORY = Path(__file__).parents[1]


def test_a_home_links_to_its_file_and_is_made_again_when_the_file_moves(state_folder: Path) -> None:
    home = instance_home("local")
    assert home == state_folder / "instances" / "local"
    (home / "dagster.yaml").unlink()
    (home / "dagster.yaml").symlink_to("/nonexistent/dagster.yaml")
    assert (instance_home("local") / "dagster.yaml").read_text() == (home / "dagster.yaml").read_text()


def test_an_unknown_name_lists_the_known_ones(state_folder: Path) -> None:
    with pytest.raises(UnknownInstance, match="there is no instance 'slurm' under"):
        instance_home("slurm")
    assert {"local", "postgres"} <= set(instance_names())


def test_missing_variables_are_named_before_a_server_starts(
    state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLMOPS_POSTGRES_URL", raising=False)
    done = CliRunner().invoke(cli, ["dev", "--instance", "postgres"])
    assert done.exit_code == 1
    assert "postgres/dagster.yaml reads LLMOPS_POSTGRES_URL from the environment" in done.output


@pytest.mark.parametrize("name", instance_names())
def test_the_trainer_ends_before_the_launcher_kills_and_before_dagster_gives_up(name: str) -> None:
    instance = yaml.safe_load((configs_dir() / "instances" / name / "dagster.yaml").read_text())
    cancel_timeout = instance["run_monitoring"]["cancel_timeout_seconds"]
    for entry in instance["run_launcher"]["config"]["launchers"].values():
        if "grace_seconds" in entry.get("config", {}):
            assert Trainer().grace_seconds < entry["config"]["grace_seconds"] < cancel_timeout


@pytest.fixture
def postgres_home(state_folder: Path, empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DAGSTER_HOME of the instance `postgres`; runs and votes share one database."""
    monkeypatch.setenv("LLMOPS_POSTGRES_URL", empty_postgres_url)
    monkeypatch.setenv("LLMOPS_FEEDBACK_URL", empty_postgres_url)
    monkeypatch.setenv("LLMOPS_RATER_PEPPER", "0" * 64)
    monkeypatch.setenv("DAGSTER_HOME", str(instance_home("postgres")))
    return Path(os.environ["DAGSTER_HOME"])


@pytest.fixture
def on_postgres(postgres_home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(postgres_home)) as instance:
        yield instance
        for run in instance.get_runs():
            stop_processes(lambda run_id=run.run_id: marked_processes(RUN_MARKER, run_id), grace_seconds=0.0)


def test_a_worker_of_its_own_records_its_run_on_the_server(on_postgres: dg.DagsterInstance) -> None:
    run = launch(on_postgres, create_run(on_postgres, jobs.on_the_gpu))
    assert run.tags[LAUNCHER_TAG] == "gpu"
    wait_for_status(on_postgres, run.run_id, DagsterRunStatus.SUCCESS)
    assert on_postgres.get_run_stats(run.run_id).steps_succeeded == 1
    assert not list(Path(on_postgres.root_directory).rglob("*.db")), "nothing fell back to SQLite"


def test_cancelling_ends_the_processes_and_frees_the_pool(on_postgres: dg.DagsterInstance, tmp_path: Path) -> None:
    run = launch(on_postgres, create_run(on_postgres, jobs.training, folder=tmp_path))
    payload_processes(tmp_path)
    assert on_postgres.event_log_storage.get_concurrency_info("gpu").active_slot_count == 1
    assert on_postgres.run_launcher.terminate(run.run_id)
    wait_for_status(on_postgres, run.run_id, DagsterRunStatus.CANCELED)
    wait_until(lambda: not survivors(tmp_path))
    assert on_postgres.event_log_storage.get_concurrency_info("gpu").active_slot_count == 0


def test_two_first_runs_at_the_same_moment_are_both_recorded(postgres_home: Path) -> None:
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", jobs.__name__, "-a", "quick"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    with dg.DagsterInstance.from_config(str(postgres_home)) as instance:
        assert [run.status for run in instance.get_runs()] == [DagsterRunStatus.SUCCESS] * 2


def test_the_sensor_counts_votes_and_runs_of_the_server(
    on_postgres: dg.DagsterInstance, empty_postgres_url: str
) -> None:
    with open_lane(on_postgres, empty_postgres_url) as lane:
        lane.materialize("sft_adapter")
        lane.vote(3)
        assert _tick(lane) == "3 of 5 new preferences; 2 to go."
        lane.vote(2)
        assert _tick(lane) == "starts"
        lane.run(DagsterRunStatus.STARTED, through=5)
        assert "is under way; 5 new preferences wait." in _tick(lane)


def _tick(lane: Lane) -> str:
    """What the sensor says: its skip reason, or "starts"."""
    assert lane.recipe.preferences is not None
    sensor = enough_preferences_sensor(lane.recipe, lane.recipe.preferences, lane.job)
    result = sensor(dg.build_sensor_context(instance=lane.instance, resources={"feedback": lane.feedback}))
    assert isinstance(result, dg.SensorResult)
    if result.run_requests:
        return "starts"
    assert result.skip_reason is not None
    return result.skip_reason.skip_message or ""
