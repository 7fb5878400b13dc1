"""The Kubernetes manifests: valid against the schemas, complete, and agreeing with the instance file."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from llmops_assets_tests.deploy.homes import INSTANCES, REPOSITORY

MANIFESTS = REPOSITORY / "deploy" / "kubernetes"
VERSIONS = ["1.30", "1.37"]
OVERLAYS = ["base", "trial"]


def documents(file: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def written_objects() -> Iterator[dict[str, Any]]:
    for overlay in OVERLAYS:
        for name in yaml.safe_load((MANIFESTS / overlay / "kustomization.yaml").read_text())["resources"]:
            if name.endswith(".yaml"):
                yield from documents(MANIFESTS / overlay / name)


def pod_of(workload: dict[str, Any]) -> dict[str, Any]:
    return workload["spec"]["template"]["spec"]


def workloads() -> list[dict[str, Any]]:
    return [item for item in written_objects() if item["kind"] in ("Deployment", "StatefulSet")]


def environment() -> dict[str, str]:
    lines = (MANIFESTS / "base" / "environment.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_are_valid(version: str) -> None:
    for item in written_objects():
        kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_renders_to_valid_objects_with_the_projects_own_instance_file(overlay: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed; it renders the overlays without a cluster")
    done = subprocess.run(
        ["kubectl", "kustomize", "--load-restrictor", "LoadRestrictionsNone", str(MANIFESTS / overlay)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    for item in objects:
        kubernetes_validate.validate(item, VERSIONS[0], strict=True)
        assert item["kind"] == "Namespace" or item["metadata"]["namespace"] == "llmops"
    (instance,) = [item for item in objects if item["metadata"]["name"].startswith("llmops-instance-")]
    assert instance["data"]["dagster.yaml"] == (INSTANCES / "kubernetes" / "dagster.yaml").read_text()
    (variables,) = [item["data"] for item in objects if item["metadata"]["name"] == "llmops-environment"]
    assert variables["LLMOPS_ARTIFACTS_URL"].startswith("s3://" if overlay == "base" else "/var/lib/llmops/")


def test_pods_meet_the_restricted_pod_security_standard() -> None:
    for workload in workloads():
        pod = pod_of(workload)
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"requests", "limits"} <= set(container["resources"])


def test_what_the_instance_file_names_is_there() -> None:
    names = {(item["kind"], item["metadata"]["name"]) for item in written_objects()}
    launchers = yaml.safe_load((INSTANCES / "kubernetes" / "dagster.yaml").read_text())["run_launcher"]["config"]
    for entry in launchers["launchers"].values():
        config = entry["config"]
        assert ("ServiceAccount", config["service_account_name"]) in names
        for volume in config["run_k8s_config"]["pod_spec_config"]["volumes"]:
            if "persistent_volume_claim" in volume:
                assert ("PersistentVolumeClaim", volume["persistent_volume_claim"]["claim_name"]) in names
        assert config["env_config_maps"] == ["llmops-environment"]
        assert {config[key]["env"] for key in ("job_namespace", "job_image")} <= set(environment())


def test_every_variable_is_read_by_somebody() -> None:
    read = "".join(file.read_text() for file in (REPOSITORY / "llmops_assets").rglob("*.py"))
    read += (INSTANCES / "kubernetes" / "dagster.yaml").read_text()
    of_libraries = {"DAGSTER_HOME", "HF_HOME", "HF_HUB_OFFLINE"}
    assert [name for name in environment() if name not in of_libraries and name not in read] == []


def test_control_plane_talks_to_services_that_exist() -> None:
    services = {
        item["metadata"]["name"]: item["spec"]["ports"][0]["port"]
        for item in written_objects()
        if item["kind"] == "Service"
    }
    location = yaml.safe_load((REPOSITORY / "deploy" / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]
    assert services[location["host"]] == location["port"]
    assert environment()["MLFLOW_TRACKING_URI"] == f"http://mlflow:{services['mlflow']}"


def test_only_one_daemon_can_exist() -> None:
    (daemon,) = [item for item in workloads() if item["metadata"]["name"] == "daemon"]
    assert daemon["spec"]["replicas"] == 1
    assert daemon["spec"]["strategy"] == {"type": "Recreate"}


def test_ray_clusters_pods_are_valid_and_its_workers_take_gpus() -> None:
    (cluster,) = documents(MANIFESTS / "ray" / "raycluster.yaml")
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    for group in groups:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, **group["template"]}
        kubernetes_validate.validate(pod, VERSIONS[0], strict=True)
    gpus = [group["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu") for group in groups]
    assert gpus == [None, "1"]
