"""Ranks on two real Ray nodes: the bytes of local ranks, orderly stops, and errors before anything is started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmops_assets.resources.cluster_environment import passed_on
from llmops_assets.resources.rank_host import HostFacts, file_digest
from llmops_assets.resources.rank_placement import (
    JobFileNotShared,
    TooFewRayResources,
    rank_environments,
    rank_order,
    require_job_file,
    require_resources,
    resources_per_rank,
)
from llmops_assets.resources.trainer import Trainer, WorkerFailed
from llmops_assets.training.checkpoints import latest_complete
from llmops_assets.training.job import BaseModelRef, TrainingJob, TrainingResult
from llmops_assets.training.specs import SftSpec
from llmops_assets_tests.resources.local_ray import free_ports, two_ray_nodes
from llmops_assets_tests.resources.waiting import wait_until
from llmops_assets_tests.training.conftest import make_base, make_job, sentence, write_jsonl


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModelRef:
    return make_base(tmp_path_factory.mktemp("base"), seed=1)


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What does item {index} do?"},
                {"role": "assistant", "content": sentence(index)},
            ]
        }
        for index in range(48)
    ]
    return write_jsonl(tmp_path_factory.mktemp("data") / "sft.jsonl", rows)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with two_ray_nodes() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", address)
        yield address


def two_ranks(folder: Path, base: BaseModelRef, chats: Path, **spec: Any) -> TrainingJob:
    values = {"stage": "sft", "backend": "zero2", "num_processes": 2, "logging_steps": 1, "max_steps": 3}
    return make_job(folder, base, chats, values | spec)


def train(job: TrainingJob, lines: list[str]) -> TrainingResult:
    return Trainer(grace_seconds=30).train(job, environment={}, on_line=lines.append)


def spec(**values: Any) -> SftSpec:
    return SftSpec(max_steps=1, learning_rate=1e-3, **values)


def host(node: str, *gpus: str, digest: str | None = None) -> HostFacts:
    return HostFacts(node=node, address=f"10.0.0.{node}", port=4000 + int(node), gpus=gpus, job_digest=digest)


@pytest.mark.slow
def test_ranks_on_two_nodes_give_the_adapter_of_two_local_ranks(
    cluster: str, base: BaseModelRef, chats: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    on_ray = train(two_ranks(tmp_path / "ray", base, chats, placement="ray"), lines)
    local = train(two_ranks(tmp_path / "local", base, chats, placement="local"), [])

    assert on_ray.adapter_sha256 == local.adapter_sha256
    assert on_ray.engine == "DeepSpeedZeroOptimizer"
    assert [line.split(" |")[0] for line in lines if line.startswith("step ")] == ["step 1/3", "step 2/3", "step 3/3"]


def start_driver(job: TrainingJob, log: Path) -> "subprocess.Popen[bytes]":
    job_file = job.checkpoint_dir / "job.json"
    job_file.parent.mkdir(parents=True, exist_ok=True)
    job_file.write_text(job.model_dump_json())
    command = [sys.executable, "-m", "llmops_assets.resources.ray_training", "--grace-seconds", "30", str(job_file)]
    with log.open("wb") as output:
        return subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )


def wait_for_a_step(log: Path) -> None:
    wait_until(lambda: "| loss" in log.read_text(), timeout_seconds=120)


def workers(job: TrainingJob) -> list[psutil.Process]:
    """The rank processes of a job, without their guards and the driver."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if command[1:3] == ["-m", "llmops_assets.training.worker"] and command[-1].startswith(str(job.checkpoint_dir)):
            found.append(process)
    return found


@pytest.mark.slow
def test_stopped_and_orphaned_ranks_write_a_checkpoint_and_end(
    cluster: str, base: BaseModelRef, chats: Path, tmp_path: Path
) -> None:
    job = two_ranks(tmp_path, base, chats, backend="ddp", placement="ray", max_steps=100_000, checkpoint_every=50_000)

    stopped = start_driver(job, tmp_path / "stopped.log")
    wait_for_a_step(tmp_path / "stopped.log")
    assert sorted(process.environ()["RANK"] for process in workers(job)) == ["0", "1"]
    assert {process.environ()["LOCAL_WORLD_SIZE"] for process in workers(job)} == {"1"}, "both are on one node"
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(timeout=60) == 143
    assert workers(job) == []
    first = latest_complete(job.checkpoint_dir, job.fingerprint)
    assert first is not None

    orphaned = start_driver(job, tmp_path / "orphaned.log")
    wait_for_a_step(tmp_path / "orphaned.log")
    orphaned.kill()
    orphaned.wait()
    wait_until(lambda: workers(job) == [], timeout_seconds=60)
    assert "resumed from step" in (tmp_path / "orphaned.log").read_text()
    assert latest_complete(job.checkpoint_dir, job.fingerprint) != first, "the guards of both ranks let them save"


def test_demand_beyond_the_cluster_fails_in_seconds_with_the_sentence(
    cluster: str, base: BaseModelRef, chats: Path, tmp_path: Path
) -> None:
    began = time.monotonic()
    with pytest.raises(WorkerFailed, match=r"2 ranks ask for 2 GPUs, and the whole Ray cluster has 0"):
        train(two_ranks(tmp_path, base, chats, placement="ray", device="gpu"), [])
    assert time.monotonic() - began < 60


def test_cluster_that_is_not_there_fails_with_its_address(
    base: BaseModelRef, chats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_ports(1)[0]}")

    with pytest.raises(WorkerFailed, match=r"the Ray cluster at 127\.0\.0\.1:\d+ cannot be joined"):
        train(two_ranks(tmp_path, base, chats, placement="ray"), [])


def test_rank_reserves_its_threads_and_a_gpu_only_where_the_stage_insists_on_one() -> None:
    assert resources_per_rank(spec(num_threads=4)) == {"CPU": 4.0}
    assert resources_per_rank(spec(device="cpu")) == {"CPU": 1.0}
    assert resources_per_rank(spec(device="gpu")) == {"CPU": 1.0, "GPU": 1.0}


def test_all_resources_of_the_cluster_may_be_asked_for_but_no_more() -> None:
    require_resources({"CPU": 2.0}, 2, {"CPU": 4.0})
    with pytest.raises(TooFewRayResources, match=r"2 ranks ask for 6 CPUs.*has 4\. Lower num_processes or num_threads"):
        require_resources({"CPU": 3.0}, 2, {"CPU": 4.0})


def test_ranks_of_a_node_are_neighbours_and_share_its_gpus_by_local_rank() -> None:
    landed = [host("1", "3"), host("2", "0"), host("1", "5")]
    assert rank_order(landed) == [0, 2, 1]

    first, second, third = rank_environments([landed[index] for index in rank_order(landed)])

    assert first == {
        "RANK": "0",
        "WORLD_SIZE": "3",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "4001",
        "CUDA_VISIBLE_DEVICES": "3,5",
    }
    assert (second["RANK"], second["LOCAL_RANK"], second["CUDA_VISIBLE_DEVICES"]) == ("1", "1", "3,5")
    assert (third["RANK"], third["LOCAL_RANK"], third["CUDA_VISIBLE_DEVICES"]) == ("2", "0", "0")
    assert {env["MASTER_ADDR"] for env in (first, second, third)} == {"10.0.0.1"}


def test_rank_without_a_gpu_sees_none() -> None:
    assert rank_environments([host("1")])[0]["CUDA_VISIBLE_DEVICES"] == ""


def test_node_that_reads_no_job_file_or_another_one_is_named(tmp_path: Path) -> None:
    job_file = tmp_path / "job.json"
    job_file.write_text("{}")
    seen = file_digest(job_file)
    require_job_file(job_file, [host("1", digest=seen)])

    with pytest.raises(JobFileNotShared, match=r"cannot be read on 10\.0\.0\.2, 10\.0\.0\.3, or is another"):
        require_job_file(job_file, [host("1", digest=seen), host("2"), host("3", digest="other")])


def test_only_what_says_where_things_lie_is_passed_on() -> None:
    here = {"LLMOPS_STATE_DIR": "/s", "HF_TOKEN": "t", "MLFLOW_RUN_ID": "r", "NCCL_DEBUG": "INFO", "DAGSTER_HOME": "/h"}
    local = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0", "LLMOPS_SUPERVISION": "s", "LLMOPS_SERVICE": "s"}

    assert passed_on(here | local) == here
