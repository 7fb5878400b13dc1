"""A sweep in MLflow: points that start together share one parent run, and what it found is written there."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient

from llmops_assets.resources.sweep_tracking import close_parent_run, sweep_parent_run, under_parent
from llmops_assets.resources.tracking import Tracking


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    """One database for all tests here, for making it takes seconds; each test has a sweep of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    return Tracking(
        uri=f"sqlite:///{folder}/mlflow.sqlite",
        artifact_root=str(folder / "files"),
        ui_url="http://mlflow",
        dagster_url="http://dagster",
    )


@pytest.fixture(scope="module")
def client(tracking: Tracking) -> MlflowClient:
    return tracking._client()


def parent_of(tracking: Tracking, fingerprint: str) -> str:
    lock = Path(tracking.artifact_root) / "sweep.lock"
    parent = sweep_parent_run(tracking, experiment="tiny", name="tiny/rates_sweep", fingerprint=fingerprint, lock=lock)
    assert parent is not None
    return parent


def test_points_that_start_together_share_one_parent(tracking: Tracking, client: MlflowClient) -> None:
    other = parent_of(tracking, "a" * 64)
    with ThreadPoolExecutor(4) as pool:
        parents = set(pool.map(lambda _: parent_of(tracking, "b" * 64), range(4)))
    assert len(parents) == 1
    assert other not in parents
    experiment = client.get_run(other).info.experiment_id
    found = client.search_runs([experiment], filter_string=f"tags.`llmops/sweep` = '{'b' * 64}'")
    assert {run.info.run_id for run in found} == parents


def test_runs_of_points_are_children_of_it(tracking: Tracking, client: MlflowClient) -> None:
    parent = parent_of(tracking, "c" * 64)
    point = under_parent(tracking, parent_run_id=parent, point="lora_r=8")
    with point.training_run(
        experiment="tiny", name="tiny/rates_sweep_point", dagster_run_id="1", tags={"seen": "yes"}, params={"seed": 7}
    ) as run:
        pass
    assert run.run_id is not None
    tags = client.get_run(run.run_id).data.tags
    assert tags["mlflow.parentRunId"] == parent
    assert tags["llmops/sweep_point"] == "lora_r=8"
    assert tags["seen"] == "yes"
    assert tags["mlflow.runName"] == "tiny/rates_sweep_point lora_r=8"


def test_two_parents_of_two_machines_become_one(tracking: Tracking, client: MlflowClient) -> None:
    parent = parent_of(tracking, "d" * 64)
    experiment = client.get_run(parent).info.experiment_id
    twin = client.create_run(experiment, tags={"llmops/sweep": "d" * 64}).info.run_id
    child = client.create_run(experiment, tags={"mlflow.parentRunId": twin}).info.run_id
    close_parent_run(tracking, parent, figures={}, settings={}, points={}, files=[])
    assert client.get_run(twin).info.lifecycle_stage == "deleted"
    assert client.get_run(child).data.tags["mlflow.parentRunId"] == parent


def test_the_best_may_change_after_the_parent_was_closed(
    tracking: Tracking, client: MlflowClient, tmp_path: Path
) -> None:
    parent = parent_of(tracking, "e" * 64)
    table = tmp_path / "sweep.md"
    for rank, loss in ((8, 1.5), (16, 1.25)):
        table.write_text(f"rank {rank}")
        settings = {"lora_r": rank} | ({"seed": 3} if rank == 8 else {})
        close_parent_run(tracking, parent, figures={"loss": loss}, settings=settings, points={}, files=[table])
    run = client.get_run(parent)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["best/loss"] == 1.25
    assert {tag: value for tag, value in run.data.tags.items() if tag.startswith("best/")} == {"best/lora_r": "16"}
    assert Path(client.download_artifacts(parent, "sweep.md")).read_text() == "rank 16"


def test_runs_that_trained_the_points_of_an_earlier_grid_become_children(
    tracking: Tracking, client: MlflowClient
) -> None:
    before, parent = parent_of(tracking, "f" * 64), parent_of(tracking, "0" * 64)
    earlier = under_parent(tracking, parent_run_id=before, point="lora_r=8")
    with earlier.training_run(experiment="tiny", name="tiny/point", dagster_run_id="1", tags={}, params={}) as run:
        assert run.run_id is not None
    points = {"lora_r=16:seed=1": "0" * 32, "lora_r=8:seed=1": run.run_id}
    close_parent_run(tracking, parent, figures={}, settings={}, points=points, files=[])
    tags = client.get_run(run.run_id).data.tags
    assert tags["mlflow.parentRunId"] == parent
    assert tags["llmops/sweep_point"] == "lora_r=8:seed=1"
    assert tags["mlflow.runName"] == "tiny/point lora_r=8:seed=1"
