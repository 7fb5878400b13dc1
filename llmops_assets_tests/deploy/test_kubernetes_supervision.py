"""Runs on Kubernetes after their launch: health, cancel, and an API that is away or says no."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster import DagsterRunStatus
from dagster._core.launcher import WorkerStatus

from llmops_assets.launchers.kubernetes import ClusterUnreachable, JobRefused
from llmops_assets.launchers.routing import LAUNCHER_TAG
from llmops_assets_tests.assets.tiny_lane import TinyLane
from llmops_assets_tests.deploy.homes import REPOSITORY, write_home
from llmops_assets_tests.deploy.kubernetes_api import KubernetesApi
from llmops_assets_tests.deploy.kubernetes_cluster import Cluster, cluster_home, open_home
from llmops_assets_tests.launchers import jobs
from llmops_assets_tests.launchers.runs import create_run, launch, messages, reload


@pytest.fixture
def instance(kubernetes_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    return kubernetes_instance


def started_gpu_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A launched run of the pool `gpu` whose worker has reported that it runs."""
    run = launch(instance, create_run(instance, jobs.on_the_gpu))
    return now_started(instance, run)


def now_started(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", job_name=run.job_name), run.run_id)
    return reload(instance, run.run_id)


def test_the_role_allows_what_the_launcher_asks_for(cluster: Cluster, instance: dg.DagsterInstance) -> None:
    run = started_gpu_run(instance)
    instance.run_launcher.check_run_worker_health(run)
    instance.run_launcher.get_run_worker_debug_info(run)
    instance.run_launcher.terminate(run.run_id)
    verbs = {"POST": "create", "GET": "get", "DELETE": "delete"}

    needed = set()
    for request in cluster.recording.requests:
        kind, *rest = request.path.split("/namespaces/llmops/")[1].split("/")
        resource = f"{kind}/{rest[1]}" if len(rest) > 1 else kind
        needed.add(("list" if request.method == "GET" and not rest else verbs[request.method], resource))

    documents = yaml.safe_load_all((REPOSITORY / "deploy/kubernetes/base/access.yaml").read_text())
    (role,) = [document for document in documents if document["kind"] == "Role"]
    granted = {(verb, kind) for rule in role["rules"] for verb in rule["verbs"] for kind in rule["resources"]}
    assert {("create", "jobs"), ("get", "jobs/status"), ("delete", "jobs"), ("list", "pods")} <= needed
    assert needed <= granted


def test_cancel_deletes_job_and_pod(cluster: Cluster, instance: dg.DagsterInstance) -> None:
    run = started_gpu_run(instance)

    assert instance.run_launcher.terminate(run.run_id)

    assert reload(instance, run.run_id).status == DagsterRunStatus.CANCELING
    assert len(cluster.recording.sent("DELETE", f"/jobs/dagster-run-{run.run_id}")) == 1
    assert len(cluster.recording.sent("DELETE", f"/pods/dagster-run-{run.run_id}-x7k2p")) == 1


def test_cancel_of_a_run_whose_job_somebody_deleted_ends_the_run(
    cluster: Cluster, instance: dg.DagsterInstance
) -> None:
    run = started_gpu_run(instance)
    cluster.api.jobs.clear()

    assert instance.run_launcher.terminate(run.run_id)

    assert reload(instance, run.run_id).status == DagsterRunStatus.CANCELED


def test_cancel_while_the_api_is_down_leaves_the_run_as_it_is_and_says_so(
    cluster: Cluster, instance: dg.DagsterInstance
) -> None:
    run = started_gpu_run(instance)
    cluster.api.broken = 503

    assert not instance.run_launcher.terminate(run.run_id)

    assert reload(instance, run.run_id).status == DagsterRunStatus.STARTED
    assert "Cannot stop the run now: the Kubernetes API at http://127.0.0.1" in messages(instance, run.run_id)


@pytest.mark.parametrize(
    ("job_status", "health"),
    [
        ({"active": 1}, WorkerStatus.RUNNING),
        ({"failed": 1}, WorkerStatus.FAILED),
        ({"succeeded": 1}, WorkerStatus.FAILED),
    ],
)
def test_health_follows_the_job(
    cluster: Cluster, instance: dg.DagsterInstance, job_status: dict[str, int], health: WorkerStatus
) -> None:
    run = started_gpu_run(instance)
    cluster.api.jobs[f"dagster-run-{run.run_id}"]["status"] = job_status

    assert instance.run_launcher.check_run_worker_health(run).status == health


def test_run_whose_job_somebody_deleted_is_failed(cluster: Cluster, instance: dg.DagsterInstance) -> None:
    run = started_gpu_run(instance)
    del cluster.api.jobs[f"dagster-run-{run.run_id}"]

    result = instance.run_launcher.check_run_worker_health(run)

    assert result.status == WorkerStatus.FAILED
    assert "is gone" in (result.msg or "")


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_run_counts_as_running_while_the_api_is_down(
    cluster: Cluster, instance: dg.DagsterInstance, status: int
) -> None:
    run = started_gpu_run(instance)
    cluster.api.broken = status
    begun = time.monotonic()

    result = instance.run_launcher.check_run_worker_health(run)

    assert result.status == WorkerStatus.RUNNING
    assert "the API server is not itself" in (result.msg or "")
    assert time.monotonic() - begun < 15


def test_forbidden_job_fails_the_run_with_the_clusters_own_sentence(
    cluster: Cluster, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = cluster.api.__call__

    def forbid(self: KubernetesApi, request: Any) -> tuple[int, Any]:
        if request.method == "POST":
            return 403, {"kind": "Status", "message": "jobs.batch is forbidden: exceeded quota: gpus", "code": 403}
        return answer(request)

    monkeypatch.setattr(KubernetesApi, "__call__", forbid)
    run = create_run(instance, jobs.on_the_gpu)

    with pytest.raises(JobRefused, match=r"namespace llmops: jobs\.batch is forbidden: exceeded quota: gpus"):
        launch(instance, run)

    assert reload(instance, run.run_id).status == DagsterRunStatus.FAILURE


@pytest.fixture(params=["nothing listens", "accepts and is silent"])
def missing_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an API server that is not one."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "accepts and is silent":
            listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_unreachable_cluster_fails_the_launch_within_seconds_with_a_sentence(
    missing_server: str, tmp_path: Path, lane: TinyLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_home(cluster_home(tmp_path, missing_server), lane, monkeypatch) as instance:
        run = create_run(instance, jobs.on_the_gpu)
        begun = time.monotonic()

        with pytest.raises(ClusterUnreachable, match="kubectl -n llmops get jobs"):
            launch(instance, run)

        assert time.monotonic() - begun < 20
        assert reload(instance, run.run_id).status == DagsterRunStatus.FAILURE
        assert reload(instance, run.run_id).tags[LAUNCHER_TAG] == "gpu"
        assert f"the Kubernetes API at {missing_server} gives no answer" in messages(instance, run.run_id)


def test_control_plane_outside_a_cluster_is_told_what_to_set(
    tmp_path: Path, lane: TinyLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    home = write_home(tmp_path / "home", "kubernetes", {})
    with open_home(home, lane, monkeypatch) as instance:
        run = create_run(instance, jobs.on_the_gpu)

        with pytest.raises(ClusterUnreachable, match="load_incluster_config: false"):
            launch(instance, run)
