"""Which launcher gets a run, and that everything later goes to that same launcher."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster import DagsterRunStatus
from dagster._check import CheckError
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.test_utils import instance_for_test

from llmops_assets.launchers.process import PID_TAG
from llmops_assets.launchers.routing import LAUNCHER_TAG, ConflictingRoutes, LauncherConfigError, RoutingRunLauncher
from llmops_assets_tests.launchers import jobs
from llmops_assets_tests.launchers.recording_launcher import RecordingLauncher
from llmops_assets_tests.launchers.runs import create_run, launch, reload, wait_for_status

REPOSITORY = Path(__file__).parents[2]


@dg.op(pool="gpu")
def on_gpu() -> None: ...


@dg.op(pool="cluster")
def on_cluster() -> None: ...


@dg.op(pool="api")
def on_unrouted_pool() -> None: ...


@dg.job
def gpu_job() -> None:
    on_gpu()


@dg.job
def unrouted_pool_job() -> None:
    on_unrouted_pool()


@dg.job
def gpu_and_unrouted_job() -> None:
    on_gpu()
    on_unrouted_pool()


@dg.job
def gpu_and_cluster_job() -> None:
    on_gpu()
    on_cluster()


def recording(name: Any, **config: Any) -> dict[str, Any]:
    return {
        "module": "llmops_assets_tests.launchers.recording_launcher",
        "class": "RecordingLauncher",
        "config": {"name": name, **config},
    }


LAUNCHERS = {
    "here": recording("here"),
    "box": recording("box", health="FAILED"),
    "ray": recording("ray", health="UNKNOWN"),
    "broken": {"module": "no_such_module", "class": "NoSuchLauncher"},
}
ROUTES = {"gpu": "box", "cluster": "ray", "elsewhere": "broken"}


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with instance_for_test() as instance:
        yield instance


def router(instance: dg.DagsterInstance, **changes: Any) -> RoutingRunLauncher:
    """A router as a process builds it from its dagster.yaml; each call is another process' view of one instance."""
    settings: dict[str, Any] = {"routes": ROUTES, "default": "here", "launchers": LAUNCHERS, **changes}
    launcher = RoutingRunLauncher(**settings)
    launcher.register_instance(instance)
    return launcher


def launched(instance: dg.DagsterInstance, launcher: RoutingRunLauncher, job: dg.JobDefinition) -> dg.DagsterRun:
    run = instance.create_run_for_job(job, status=DagsterRunStatus.STARTING)
    launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    return reload(instance, run.run_id)


@pytest.mark.parametrize(
    ("job", "expected"),
    [(jobs.quick, "here"), (gpu_job, "box"), (unrouted_pool_job, "here"), (gpu_and_unrouted_job, "box")],
)
def test_pool_decides_the_launcher_and_the_choice_is_recorded_before_the_launch(
    instance: dg.DagsterInstance, job: dg.JobDefinition, expected: str
) -> None:
    run = launched(instance, router(instance), job)

    assert run.tags["launched_by"] == expected
    assert run.tags["recorded_before_launch"] == expected
    assert run.tags[LAUNCHER_TAG] == expected


def test_record_inherited_from_a_retried_run_is_replaced(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(gpu_job, tags={LAUNCHER_TAG: "ray"})
    router(instance).launch_run(LaunchRunContext(dagster_run=run, workspace=None))

    assert reload(instance, run.run_id).tags["recorded_before_launch"] == "box"


def test_pools_of_two_launchers_in_one_run_are_refused_with_both_named(instance: dg.DagsterInstance) -> None:
    with pytest.raises(ConflictingRoutes, match="pool 'cluster' -> 'ray', pool 'gpu' -> 'box'"):
        launched(instance, router(instance), gpu_and_cluster_job)


def test_pools_of_one_launcher_may_meet_in_one_run(instance: dg.DagsterInstance) -> None:
    launcher = router(instance, routes={"gpu": "box", "cluster": "box"})

    assert launched(instance, launcher, gpu_and_cluster_job).tags["launched_by"] == "box"


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"routes": {"gpu": "kubernetes"}}, "routes.gpu"), ({"default": "kubernetes"}, "default")],
)
def test_route_to_a_launcher_that_is_not_configured_is_refused(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(LauncherConfigError, match=rf"{key}: there is no launcher 'kubernetes'"):
        RoutingRunLauncher(**{"routes": ROUTES, "default": "here", "launchers": LAUNCHERS, **changes})


def test_terminate_goes_to_the_recorded_launcher_although_the_routes_have_changed(
    instance: dg.DagsterInstance,
) -> None:
    run = launched(instance, router(instance), gpu_job)

    assert router(instance, routes={"gpu": "ray"}).terminate(run.run_id)

    assert reload(instance, run.run_id).tags["terminated_by"] == "box"


def test_health_and_debug_info_come_from_the_recorded_launcher(instance: dg.DagsterInstance) -> None:
    run = launched(instance, router(instance), gpu_job)
    changed = router(instance, routes={"gpu": "here"})

    assert changed.check_run_worker_health(run) == (WorkerStatus.FAILED, "asked box", None, None)
    assert changed.get_run_worker_debug_info(run, include_container_logs=False) == "box, logs False"


def test_health_is_never_unknown(instance: dg.DagsterInstance) -> None:
    launcher = router(instance, routes={"gpu": "ray"})
    run = launched(instance, launcher, gpu_job)

    assert launcher.supports_check_run_worker_health
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING


def test_run_of_a_launcher_without_health_check_counts_as_running(instance: dg.DagsterInstance) -> None:
    launcher = router(instance)
    run = launched(instance, launcher, jobs.quick)

    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING


def test_run_whose_launcher_was_removed_counts_as_running_and_its_cancel_says_why_it_cannot(
    instance: dg.DagsterInstance,
) -> None:
    run = launched(instance, router(instance), gpu_job)
    without_box = router(instance, routes={}, launchers={"here": LAUNCHERS["here"]})

    assert without_box.check_run_worker_health(run).status == WorkerStatus.RUNNING
    assert without_box.get_run_worker_debug_info(run) is None
    with pytest.raises(LauncherConfigError, match=r"was launched by 'box'.*Put 'box' back"):
        without_box.terminate(run.run_id)


def test_run_that_no_launcher_has_cannot_be_stopped(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(gpu_job, status=DagsterRunStatus.STARTED)

    assert not router(instance).terminate(run.run_id)
    assert any(f"no tag {LAUNCHER_TAG}" in entry.message for entry in instance.all_logs(run.run_id))


def test_launcher_that_cannot_be_built_harms_only_the_runs_that_need_it(instance: dg.DagsterInstance) -> None:
    launcher = router(instance)
    assert launched(instance, launcher, gpu_job).tags["launched_by"] == "box"

    with pytest.raises(CheckError, match="no_such_module"):
        launched(instance, router(instance, routes={"gpu": "broken"}), gpu_job)


def test_environment_references_in_a_childs_config_are_resolved(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_NAME", "cluster-7")
    launcher = router(instance, launchers={**LAUNCHERS, "box": recording({"env": "CLUSTER_NAME"})})

    assert launched(instance, launcher, gpu_job).tags["launched_by"] == "cluster-7"


def test_dispose_and_join_reach_the_children_that_were_built(instance: dg.DagsterInstance) -> None:
    launcher = router(instance)
    launched(instance, launcher, gpu_job)

    launcher.join(timeout=7)
    launcher.dispose()

    children = list(launcher._built.values())
    assert [type(child) for child in children] == [RecordingLauncher]
    assert [(child.disposed, child.join_timeouts) for child in children if isinstance(child, RecordingLauncher)] == [
        (True, [7])
    ]


def test_shipped_instance_keeps_its_state_in_one_folder_and_orders_its_grace_periods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (REPOSITORY / "dagster.yaml").read_text()
    settings = yaml.safe_load(text)
    state = tmp_path / "state"
    monkeypatch.setenv("LLMOPS_STATE_DIR", str(state))
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(text)

    with dg.DagsterInstance.from_config(str(home)) as instance:
        run = launch(instance, create_run(instance, jobs.on_the_gpu))
        wait_for_status(instance, run.run_id, DagsterRunStatus.SUCCESS)

        assert run.tags[LAUNCHER_TAG] == "gpu"
        assert run.tags[PID_TAG].isdigit()
        assert instance.run_launcher.supports_check_run_worker_health
        assert instance.run_monitoring_max_resume_run_attempts == 0
        cancel_timeout = instance.run_monitoring_cancel_timeout_seconds
    graces = [entry["config"]["grace_seconds"] for entry in settings["run_launcher"]["config"]["launchers"].values()]
    assert all(60 < grace < cancel_timeout for grace in graces)
    assert [path.name for path in home.iterdir()] == ["dagster.yaml"]
    assert (state / "run_workers" / f"{run.run_id}.log").is_file()
