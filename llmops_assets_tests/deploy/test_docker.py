"""Runs in Docker containers, against a recorded API: the containers that are created, and a daemon that is away."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster import DagsterRunStatus
from dagster._core.launcher import WorkerStatus

from llmops_assets.launchers.docker import DockerUnreachable
from llmops_assets_tests.assets.tiny_lane import TinyLane
from llmops_assets_tests.deploy.docker_api import DockerApi
from llmops_assets_tests.deploy.homes import REPOSITORY, launch_runs, run_worker_environment, write_home
from llmops_assets_tests.deploy.recording_server import Recording, recording_server
from llmops_assets_tests.launchers import jobs
from llmops_assets_tests.launchers.runs import create_run, launch, messages, reload

ENVIRONMENT = {
    "DAGSTER_HOME": "/opt/llmops/home",
    "LLMOPS_TRAINING_IMAGE": "llmops-training:1",
    "LLMOPS_POSTGRES_URL": "postgresql://llmops@postgres/dagster",
    "LLMOPS_FEEDBACK_URL": "postgresql://llmops@postgres/feedback",
    "LLMOPS_DAGSTER_UI_URL": "http://127.0.0.1:3000",
    "LLMOPS_MLFLOW_UI_URL": "http://127.0.0.1:5000",
    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    "HF_HOME": "/var/lib/llmops/huggingface",
    "HF_HUB_OFFLINE": "1",
}


@dataclass
class Machine:
    """A home whose runs go to a recorded Docker daemon."""

    api: DockerApi
    recording: Recording
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**ENVIRONMENT, "DOCKER_HOST": f"tcp://{self.recording.address}", "DAGSTER_HOME": str(self.home)}

    def created(self, run_id: str) -> dict[str, Any]:
        (body,) = [
            sent.body
            for sent in self.recording.sent("POST", "/containers/create")
            if sent.body["Labels"]["dagster/run_id"] == run_id
        ]
        return body


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    api = DockerApi()
    with recording_server(api) as recording:
        yield Machine(api, recording, write_home(tmp_path_factory.mktemp("docker") / "home", "docker", {}))


@pytest.fixture(autouse=True)
def running_containers(machine: Machine) -> Iterator[None]:
    yield
    machine.api.state = {"Status": "running", "Running": True}


@pytest.fixture(scope="module")
def runs(machine: Machine, lane: TinyLane) -> tuple[str, str]:
    """Two launched runs of the real graph: `corpus`, which needs no GPU, and `sft_adapter`, which does."""
    cpu, gpu = launch_runs(lane, machine.home, ["corpus", "sft_adapter"], machine.environment)
    return cpu, gpu


@pytest.fixture
def instance(machine: Machine, lane: TinyLane, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance as daemon and webserver open it."""
    for name, value in {**machine.environment, "LLMOPS_STATE_DIR": lane.environment["LLMOPS_STATE_DIR"]}.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_config(str(machine.home)) as instance:
        yield instance


def started_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    run = launch(instance, create_run(instance, jobs.on_the_gpu))
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", job_name=run.job_name), run.run_id)
    return reload(instance, run.run_id)


def test_only_the_run_that_trains_asks_for_gpus(machine: Machine, runs: tuple[str, str]) -> None:
    cpu, gpu = (machine.created(run_id)["HostConfig"] for run_id in runs)

    (request,) = gpu["DeviceRequests"]
    assert (request["Driver"], request["Count"], request["Capabilities"]) == ("nvidia", -1, [["gpu"]])
    assert not cpu.get("DeviceRequests")


def test_containers_have_the_shared_volume_shared_memory_and_no_privileges(
    machine: Machine, runs: tuple[str, str]
) -> None:
    for run_id in runs:
        body = machine.created(run_id)
        assert body["HostConfig"]["Binds"] == ["llmops-state:/var/lib/llmops"]
        assert body["HostConfig"]["ShmSize"] == 8 * 1024**3
        assert body["HostConfig"]["CapDrop"] == ["ALL"]
        assert body["HostConfig"]["NetworkMode"] == "llmops"
        assert body["Image"] == ENVIRONMENT["LLMOPS_TRAINING_IMAGE"]
        assert f"LLMOPS_FEEDBACK_URL={ENVIRONMENT['LLMOPS_FEEDBACK_URL']}" in body["Env"]


def test_the_command_of_a_container_executes_the_run(
    machine: Machine, lane: TinyLane, runs: tuple[str, str], instance: dg.DagsterInstance
) -> None:
    """What the container would run, run here: the corpus is built, and the run ends in the instance's storage."""
    done = subprocess.run(
        machine.created(runs[0])["Cmd"],
        env=run_worker_environment(lane, machine.home, {"LLMOPS_TRAINING_IMAGE": "llmops-training:1"}),
        cwd=lane.root,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert reload(instance, runs[0]).status == DagsterRunStatus.SUCCESS


def test_cancel_stops_the_container_and_leaves_time_for_a_checkpoint(
    machine: Machine, instance: dg.DagsterInstance
) -> None:
    run = started_run(instance)

    assert instance.run_launcher.terminate(run.run_id)

    (stop,) = [
        sent
        for sent in machine.recording.sent("POST", "/stop")
        if sent.path.split("/")[3] == reload(instance, run.run_id).tags["docker/container_id"]
    ]
    assert 60 < int(stop.query["t"]) < instance.run_monitoring_cancel_timeout_seconds
    assert reload(instance, run.run_id).status == DagsterRunStatus.CANCELING


def test_container_that_ended_without_ending_the_run_is_failed_with_its_state(
    machine: Machine, instance: dg.DagsterInstance
) -> None:
    run = started_run(instance)
    assert instance.run_launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    machine.api.state = {"Status": "exited", "ExitCode": 137, "OOMKilled": True}

    result = instance.run_launcher.check_run_worker_health(run)

    assert result.status == WorkerStatus.FAILED
    assert '"OOMKilled": true' in (result.msg or "")
    assert "quiet_hopper" in (instance.run_launcher.get_run_worker_debug_info(run, include_container_logs=False) or "")


def test_run_whose_container_somebody_removed_is_not_found(machine: Machine, instance: dg.DagsterInstance) -> None:
    run = started_run(instance)
    machine.api.containers.clear()

    assert instance.run_launcher.check_run_worker_health(run).status == WorkerStatus.NOT_FOUND


def test_daemon_that_is_away_fails_no_run_and_cancels_none(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started_run(instance)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")

    assert instance.run_launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    assert not instance.run_launcher.terminate(run.run_id)

    assert reload(instance, run.run_id).status == DagsterRunStatus.STARTED
    assert "Cannot stop the run now: the Docker daemon cannot be used" in messages(instance, run.run_id)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "unix:///nonexistent/docker.sock"])
def test_daemon_that_is_away_fails_the_launch_within_seconds_with_a_sentence(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    run = create_run(instance, jobs.on_the_gpu)
    begun = time.monotonic()

    with pytest.raises(DockerUnreachable, match="Check it with `docker info`"):
        launch(instance, run)

    assert time.monotonic() - begun < 20
    assert reload(instance, run.run_id).status == DagsterRunStatus.FAILURE


def test_compose_gives_the_daemon_every_variable_that_run_workers_get(machine: Machine) -> None:
    launchers = yaml.safe_load((machine.home / "dagster.yaml").read_text())["run_launcher"]["config"]["launchers"]
    services = yaml.safe_load((REPOSITORY / "deploy" / "compose.yaml").read_text())["services"]
    for entry in launchers.values():
        for service in ("daemon", "webserver"):
            assert set(entry["config"]["env_vars"]) <= set(services[service]["environment"])


def test_compose_has_the_network_and_the_volume_that_run_workers_are_given(machine: Machine) -> None:
    launchers = yaml.safe_load((machine.home / "dagster.yaml").read_text())["run_launcher"]["config"]["launchers"]
    compose = yaml.safe_load((REPOSITORY / "deploy" / "compose.yaml").read_text())
    for entry in launchers.values():
        assert set(entry["config"]["networks"]) <= {network["name"] for network in compose["networks"].values()}
        for volume in entry["config"]["container_kwargs"]["volumes"]:
            assert volume.split(":")[0] in {settings["name"] for settings in compose["volumes"].values()}
            assert volume in compose["services"]["daemon"]["volumes"]


def test_compose_publishes_ports_on_the_loopback_address_only() -> None:
    services = yaml.safe_load((REPOSITORY / "deploy" / "compose.yaml").read_text())["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)
