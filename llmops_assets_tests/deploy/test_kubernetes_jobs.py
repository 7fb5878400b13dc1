"""The Jobs that runs become on Kubernetes, as a recorded API received them."""

import subprocess

import dagster as dg
import kubernetes_validate
import pytest
import yaml
from dagster import DagsterRunStatus
from dagster._core.launcher import LaunchRunContext

from llmops_assets.launchers.kubernetes import GpuLimitTooLow
from llmops_assets_tests.assets.tiny_lane import TinyLane
from llmops_assets_tests.deploy.homes import launch_runs, run_worker_environment
from llmops_assets_tests.deploy.kubernetes_cluster import ENVIRONMENT, Cluster
from llmops_assets_tests.launchers.runs import reload

OLDEST_KUBERNETES, NEWEST_KUBERNETES = "1.30", "1.37"


@pytest.fixture(scope="module")
def runs(cluster: Cluster, lane: TinyLane) -> tuple[str, str]:
    """Two launched runs of the real graph: `corpus`, which needs no GPU, and `sft_adapter`, which does."""
    cpu, gpu = launch_runs(lane, cluster.home, ["corpus", "sft_adapter"], ENVIRONMENT)
    return cpu, gpu


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, NEWEST_KUBERNETES])
def test_jobs_of_both_launchers_are_valid_kubernetes_objects(
    cluster: Cluster, runs: tuple[str, str], version: str
) -> None:
    for run_id in runs:
        kubernetes_validate.validate(cluster.job(run_id), version, strict=True)


def test_only_the_run_that_trains_asks_for_gpus(cluster: Cluster, runs: tuple[str, str]) -> None:
    cpu, gpu = runs

    assert cluster.container(gpu)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert set(cluster.container(cpu)["resources"]["limits"]) == {"memory"}
    assert not {"nodeSelector", "tolerations"} & set(cluster.pod(cpu))
    assert cluster.pod(gpu)["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert [taint["key"] for taint in cluster.pod(gpu)["tolerations"]] == ["nvidia.com/gpu"]


def test_a_job_leaves_time_for_a_checkpoint_and_is_never_restarted_by_kubernetes(
    cluster: Cluster, runs: tuple[str, str]
) -> None:
    cancel_timeout = yaml.safe_load((cluster.home / "dagster.yaml").read_text())["run_monitoring"]
    for run_id in runs:
        pod = cluster.pod(run_id)
        assert 60 < pod["terminationGracePeriodSeconds"] < cancel_timeout["cancel_timeout_seconds"]
        assert pod["restartPolicy"] == "Never"
        assert cluster.job(run_id)["spec"]["backoffLimit"] == 0
        assert cluster.job(run_id)["spec"]["ttlSecondsAfterFinished"] > 0


def test_pods_are_unprivileged_and_hold_secrets_by_reference_only(cluster: Cluster, runs: tuple[str, str]) -> None:
    for run_id in runs:
        pod, container = cluster.pod(run_id), cluster.container(run_id)
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"secretRef": {"name": "llmops-secrets"}} in container["envFrom"]
        assert {variable["name"] for variable in container["env"]} == {"DAGSTER_HOME", "DAGSTER_RUN_JOB_NAME"}
        assert container["image"] == ENVIRONMENT["LLMOPS_TRAINING_IMAGE"]


def test_checkpoints_are_on_the_shared_volume_and_ranks_have_shared_memory(
    cluster: Cluster, runs: tuple[str, str]
) -> None:
    pod, container = cluster.pod(runs[1]), cluster.container(runs[1])
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}

    assert mounted["/var/lib/llmops"]["persistentVolumeClaim"]["claimName"] == "llmops-state"
    assert mounted["/dev/shm"]["emptyDir"]["medium"] == "Memory"


def test_the_command_of_a_job_executes_the_run(
    cluster: Cluster, lane: TinyLane, runs: tuple[str, str], kubernetes_instance: dg.DagsterInstance
) -> None:
    """What the pod would run, run here: the corpus is built, and the run ends in the instance's storage."""
    done = subprocess.run(
        cluster.container(runs[0])["args"],
        env=run_worker_environment(lane, cluster.home, ENVIRONMENT),
        cwd=lane.root,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    run = reload(kubernetes_instance, runs[0])
    assert run.status == DagsterRunStatus.SUCCESS
    assert kubernetes_instance.get_latest_materialization_event(dg.AssetKey(["tiny", "corpus"])) is not None


def test_recipe_that_asks_for_more_gpus_than_a_pod_gets_is_refused(
    cluster: Cluster,
    lane: TinyLane,
    runs: tuple[str, str],
    kubernetes_instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = yaml.safe_load(lane.recipe_file.read_text())
    recipe["sft"] |= {"device": "gpu", "num_processes": 2}
    changed = lane.root / "two_gpus" / "recipes" / lane.recipe_file.name
    changed.parent.mkdir(parents=True)
    changed.write_text(yaml.safe_dump(recipe))
    monkeypatch.setenv("LLMOPS_CONFIGS_DIR", str(changed.parents[1]))
    run = reload(kubernetes_instance, runs[1])
    before = len(cluster.recording.sent("POST", "/jobs"))

    with pytest.raises(GpuLimitTooLow, match=r"asks for 2 GPUs .* its pod would get 1"):
        kubernetes_instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))

    assert len(cluster.recording.sent("POST", "/jobs")) == before
