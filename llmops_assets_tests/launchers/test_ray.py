"""The Ray launcher against a real head node with two logical GPUs: queueing, refusals, stops and lost workers."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import yaml
from dagster import DagsterRunStatus
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.instance.config import dagster_instance_config
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.storage.tags import MAX_RETRIES_TAG, RUN_FAILURE_REASON_TAG
from dagster._core.test_utils import instance_for_test
from dagster._serdes import ConfigurableClassData

from llmops_assets.launchers.ray import RayJobRunLauncher
from llmops_assets.launchers.ray_cluster import (
    GpuCapacity,
    RayNotConfigured,
    RayUnreachable,
    TooFewGpus,
    require_room,
)
from llmops_assets.launchers.routing import LAUNCHER_TAG, RoutingRunLauncher
from llmops_assets.launchers.run_demand import RunDemand, UnknownDemand
from llmops_assets.launchers.run_supervisor import RUN_MARKER
from llmops_assets.resources.process_tree import marked_processes
from llmops_assets.training.specs import SftSpec
from llmops_assets_tests.launchers import ray_jobs
from llmops_assets_tests.launchers.runs import launch, messages, reload, status_of, wait_for_status
from llmops_assets_tests.launchers.test_run_demand import recipe
from llmops_assets_tests.resources.local_ray import free_ports, ray_head
from llmops_assets_tests.resources.waiting import payload_processes, survivors, wait_until

REPOSITORY = Path(__file__).parents[2]
SECRET = "postgresql://user:it's a secret@db/votes"


def ray_launcher_block(address: str, **own: Any) -> dict[str, Any]:
    config = {"ray": {"address": address, "env_vars": [f"PYTHONPATH={REPOSITORY}"]}, "grace_seconds": 20, **own}
    return {"module": "llmops_assets.launchers.ray", "class": "RayJobRunLauncher", "config": config}


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    configs = tmp_path_factory.mktemp("configs")
    (configs / "recipes").mkdir()
    (configs / "recipes" / "tiny.yaml").write_text(yaml.safe_dump(recipe(sft={"device": "gpu"})))
    with ray_head(gpus=2) as head, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMOPS_CONFIGS_DIR", str(configs))
        patch.setenv("LLMOPS_FEEDBACK_URL", SECRET)
        router = {
            "module": "llmops_assets.launchers.routing",
            "class": "RoutingRunLauncher",
            "config": {
                "routes": {"gpu": "ray"},
                "default": "ray",
                "launchers": {"ray": ray_launcher_block(head.address)},
            },
        }
        with instance_for_test(overrides={"run_launcher": router}) as instance:
            yield instance


def create_run(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    folder: Path,
    *,
    stage: dict[str, Any] | None = None,
    status: DagsterRunStatus | None = None,
) -> dg.DagsterRun:
    run_config = {"ops": {job.nodes[0].name: {"config": stage}}} if stage else {}
    return instance.create_run_for_job(
        job_def=job,
        run_config=run_config,
        tags={ray_jobs.FOLDER_TAG: str(folder)},
        status=status,
        job_code_origin=ReconstructableJob.for_module(ray_jobs.__name__, job.name).get_python_origin(),
    )


def launcher_of(instance: dg.DagsterInstance) -> RayJobRunLauncher:
    router = instance.run_launcher
    assert isinstance(router, RoutingRunLauncher)
    child = router._child("ray")
    assert isinstance(child, RayJobRunLauncher)
    return child


def job_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    return launcher_of(instance).client.get_job_status(f"dagster-run-{run.run_id}").value


def wait_for_environment(folder: Path, run: dg.DagsterRun) -> dict[str, str]:
    """The environment of the op of a run that is under way."""
    written = folder / f"{run.run_id}.json"
    wait_until(written.exists, timeout_seconds=90)
    return json.loads(written.read_text())


def finish(folder: Path, run: dg.DagsterRun) -> None:
    (folder / f"{run.run_id}.end").touch()


def payload_that_is_up(folder: Path) -> list[psutil.Process]:
    """Leader and rank of a payload; Ray takes its time to start a job."""
    wait_until((folder / "leader.pid").exists, timeout_seconds=90)
    return payload_processes(folder)


def launcher_at(instance: dg.DagsterInstance, address: str, **own: Any) -> RayJobRunLauncher:
    settings = {"grace_seconds": 20, "unreachable_seconds": 300, "autoscaling": False, **own}
    launcher = RayJobRunLauncher(address, **settings)
    launcher.register_instance(instance)
    return launcher


def test_runs_share_the_gpus_and_what_is_too_many_waits(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    runs = [launch(instance, create_run(instance, ray_jobs.stage, tmp_path)) for _ in range(2)]
    environments = [wait_for_environment(tmp_path, run) for run in runs]
    third, canceled = (launch(instance, create_run(instance, ray_jobs.stage, tmp_path)) for _ in range(2))

    assert sorted(environment["CUDA_VISIBLE_DEVICES"] for environment in environments) == ["0", "1"]
    assert all(environment["LLMOPS_FEEDBACK_URL"] == SECRET for environment in environments)
    assert {run.tags[LAUNCHER_TAG] for run in runs} == {"ray"}
    assert job_of(instance, third) == job_of(instance, canceled) == "PENDING"
    assert instance.run_launcher.check_run_worker_health(reload(instance, third.run_id)).status == WorkerStatus.RUNNING
    assert instance.run_launcher.terminate(canceled.run_id)
    assert status_of(instance, canceled.run_id) == DagsterRunStatus.CANCELED

    finish(tmp_path, runs[0])
    inherited = wait_for_environment(tmp_path, third)["CUDA_VISIBLE_DEVICES"]
    assert inherited == environments[0]["CUDA_VISIBLE_DEVICES"]
    for run in (runs[1], third):
        finish(tmp_path, run)
    for run in (*runs, third):
        wait_for_status(instance, run.run_id, DagsterRunStatus.SUCCESS)
    wait_until(lambda: job_of(instance, canceled) == "STOPPED", timeout_seconds=60)
    assert not (tmp_path / f"{canceled.run_id}.json").exists()
    assert status_of(instance, canceled.run_id) == DagsterRunStatus.CANCELED
    assert SECRET not in str(instance.run_launcher.get_run_worker_debug_info(reload(instance, third.run_id)))
    assert SECRET not in messages(instance, third.run_id)


def test_cancel_lets_the_trainer_save_and_leaves_nothing(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = launch(instance, create_run(instance, ray_jobs.supervising, tmp_path))
    payload_that_is_up(tmp_path)

    assert instance.run_launcher.terminate(run.run_id)

    wait_for_status(instance, run.run_id, DagsterRunStatus.CANCELED)
    wait_until(lambda: marked_processes(RUN_MARKER, run.run_id) == [])
    assert survivors(tmp_path) == []
    assert (tmp_path / "checkpoint").exists()
    assert not instance.run_launcher.terminate(run.run_id), "a canceled run cannot be canceled again"


def test_job_stopped_from_outside_fails_its_run_as_a_lost_worker(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = launch(instance, create_run(instance, ray_jobs.supervising, tmp_path))
    payload_that_is_up(tmp_path)

    launcher_of(instance).client.stop_job(f"dagster-run-{run.run_id}")

    wait_for_status(instance, run.run_id, DagsterRunStatus.FAILURE)
    assert reload(instance, run.run_id).tags[RUN_FAILURE_REASON_TAG] == "UNEXPECTED_TERMINATION", "or it is not retried"
    wait_until(lambda: marked_processes(RUN_MARKER, run.run_id) == [])
    assert (tmp_path / "checkpoint").exists()


def test_job_stopped_before_its_worker_reports_fails_its_run(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = launch(instance, create_run(instance, ray_jobs.supervising, tmp_path, status=DagsterRunStatus.NOT_STARTED))

    launcher_of(instance).client.stop_job(f"dagster-run-{run.run_id}")

    wait_for_status(instance, run.run_id, DagsterRunStatus.FAILURE)
    assert reload(instance, run.run_id).tags[RUN_FAILURE_REASON_TAG] == "UNEXPECTED_TERMINATION"


def test_killed_run_worker_takes_the_trainer_along_and_is_found_by_the_health_check(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run = launch(instance, create_run(instance, ray_jobs.supervising, tmp_path))
    leader, _ = payload_that_is_up(tmp_path)
    worker = next(parent for parent in leader.parents() if "execute_run" in parent.cmdline())
    assert worker.environ()["CUDA_VISIBLE_DEVICES"] == "", "a run that asks for no GPU sees none"

    worker.kill()

    wait_until(lambda: marked_processes(RUN_MARKER, run.run_id) == [], timeout_seconds=60)
    assert survivors(tmp_path) == []

    def health() -> WorkerStatus:
        return instance.run_launcher.check_run_worker_health(reload(instance, run.run_id)).status

    wait_until(lambda: health() == WorkerStatus.FAILED)
    assert "execute_run" in str(instance.run_launcher.get_run_worker_debug_info(reload(instance, run.run_id)))


def test_more_gpus_than_a_node_has_are_refused_in_seconds(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = create_run(instance, ray_jobs.stage, tmp_path, stage={"num_processes": 3})
    began = time.monotonic()

    with pytest.raises(TooFewGpus, match=r"asks for 3 GPUs on one node.*largest node of the Ray cluster has 2"):
        launch(instance, run)

    assert time.monotonic() - began < 20
    assert reload(instance, run.run_id).tags[MAX_RETRIES_TAG] == "0", "a retry would hear the same answer"


def test_growing_cluster_is_asked_all_the_same(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = create_run(instance, ray_jobs.stage, tmp_path, stage={"num_processes": 3}, status=DagsterRunStatus.STARTING)
    patient = launcher_at(instance, launcher_of(instance).address, autoscaling=True)

    patient.launch_run(LaunchRunContext(dagster_run=run, workspace=None))

    assert job_of(instance, run) == "PENDING"
    assert patient.terminate(run.run_id)
    assert status_of(instance, run.run_id) == DagsterRunStatus.CANCELED


def test_stage_that_ray_places_needs_no_gpu_of_its_own_but_the_cluster_must_have_them() -> None:
    spec = SftSpec(max_steps=1, learning_rate=1e-3, device="gpu", num_processes=4, placement="ray")
    demand = RunDemand({"tiny__sft_adapter": spec})

    require_room(demand, 0, GpuCapacity(total=4, largest_node=2))
    with pytest.raises(TooFewGpus, match=r"asks for 4 GPUs \(4 of them for ranks placed by Ray\).*cluster has 3"):
        require_room(demand, 0, GpuCapacity(total=3, largest_node=2))


def test_run_whose_recipe_is_gone_is_refused_with_its_file(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOPS_CONFIGS_DIR", str(tmp_path))

    with pytest.raises(UnknownDemand, match=r"tiny\.yaml: cannot be read"):
        launch(instance, create_run(instance, ray_jobs.stage, tmp_path))


def test_cluster_that_does_not_answer_is_refused_at_launch_and_fails_its_runs_only_after_a_while(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    run = create_run(instance, ray_jobs.supervising, tmp_path, status=DagsterRunStatus.STARTED)
    began = time.monotonic()

    with pytest.raises(RayUnreachable, match=rf"cluster at {nowhere} does not answer"):
        launcher_at(instance, nowhere).launch_run(LaunchRunContext(dagster_run=run, workspace=None))

    assert launcher_at(instance, nowhere).check_run_worker_health(run).status == WorkerStatus.RUNNING
    assert not launcher_at(instance, nowhere).terminate(run.run_id)
    assert status_of(instance, run.run_id) == DagsterRunStatus.STARTED
    assert launcher_at(instance, nowhere, unreachable_seconds=0).check_run_worker_health(run).status == (
        WorkerStatus.FAILED
    )
    assert time.monotonic() - began < 20


def test_run_that_the_cluster_has_forgotten_is_lost(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = create_run(instance, ray_jobs.supervising, tmp_path, status=DagsterRunStatus.STARTED)

    result = launcher_of(instance).check_run_worker_health(run)

    assert result.status == WorkerStatus.FAILED
    assert "its head was restarted" in str(result.msg)
    assert launcher_of(instance).terminate(run.run_id)
    assert status_of(instance, run.run_id) == DagsterRunStatus.CANCELED


@pytest.mark.parametrize("address", ["ray://head:10001", "head:6379", None])
def test_address_that_is_no_dashboard_is_refused(instance: dg.DagsterInstance, address: str | None) -> None:
    with pytest.raises(RayNotConfigured, match="is no URL of a Ray dashboard"):
        _ = launcher_at(instance, address or "").client


def test_number_of_gpus_has_one_source() -> None:
    with pytest.raises(RayNotConfigured, match="the number comes from the recipe"):
        RayJobRunLauncher("http://head:8265", 150, 300, False, num_gpus=1)


def test_shipped_instance_is_valid_and_sends_gpu_runs_to_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster.yaml").write_text((REPOSITORY / "configs" / "instances" / "ray" / "dagster.yaml").read_text())
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://head-node:8265")
    settings, _ = dagster_instance_config(str(tmp_path))
    router = RoutingRunLauncher(**settings["run_launcher"]["config"])

    assert router._routes == {"gpu": "ray"}
    child = router._launchers["ray"]
    built = ConfigurableClassData(child["module"], child["class"], yaml.safe_dump(child["config"])).rehydrate(
        as_type=RayJobRunLauncher
    )
    assert built.address == "http://head-node:8265"
    assert not built.supports_resume_run
