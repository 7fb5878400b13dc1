"""A lane of the real graph over the benchmark's workload, in a state folder, configs and Dagster home of its own."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.workload import Workload
from llmops_assets.errors import LlmopsError
from llmops_assets.instances import instance_home
from llmops_assets.launchers.run_supervisor import tail_of_log
from llmops_assets.resources.background_process import background_process
from llmops_assets.resources.process_tree import marked_processes, stop_processes

NAME, STAGE_ASSET = "orchestration", "sft_adapter"
BUILD_JOB, STEP = f"{NAME}_build", f"{NAME}__{STAGE_ASSET}"
UPSTREAM = ("sft_set", "sft_rows")
# `dagster dev` names a code location after its module.
LOCATION = "llmops_assets.definitions"
WORKSPACE = Path(__file__).resolve().parents[1] / "workspace.yaml"
_INSTRUMENT = Path(__file__).resolve().parent / "instrument"
_HOST = "127.0.0.1"
_START_SECONDS, _SETTLE_SECONDS = 180, 10
_GRACE_SECONDS = 10.0
# Each would point the lane at somebody else's records.
_FOREIGN = (
    "LLMOPS_ARTIFACTS_URL",
    "LLMOPS_FEEDBACK_URL",
    "LLMOPS_POSTGRES_URL",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_RUN_ID",
    "VIRTUAL_ENV",
)


class LaneFailed(LlmopsError):
    """The lane could not be built, or its servers did not come up; the message names the log."""


@dataclass(frozen=True)
class Lane:
    """Where the lane lies. `clock` is the file in which every training of it leaves the times of its steps."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def clock(self) -> Path:
        return self.root / "clock.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def slots(self) -> Path:
        """The folder in which adapters are built."""
        return self.state / "staging" / NAME / STAGE_ASSET

    def cpu_seconds(self) -> float:
        """CPU seconds that the lane's processes, and those that this process has waited for, have used so far."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = ended.ru_utime + ended.ru_stime
        for process in marked_processes("DAGSTER_HOME", os.environ["DAGSTER_HOME"]):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            used += times.user + times.system + times.children_user + times.children_system
        return used

    def forget_adapter(self) -> None:
        """Remove the adapter, what was left of its building, and the clock: the next run trains from the start."""
        for folder in (self.state / "artifacts" / NAME / STAGE_ASSET, self.slots):
            shutil.rmtree(folder, ignore_errors=True)
        self.clock.unlink(missing_ok=True)


@contextmanager
def lane(root: Path, workload: Workload) -> Iterator[Lane]:
    """Write the lane's files under `root` and point this process and its children at them; upstream is not made yet.

    What the block leaves running of this lane, run workers and trainers included, is ended.
    """
    made = Lane(root)
    # Runs that a killed benchmark left unfinished would hold the pool's one slot.
    for folder in (made.state, made.root / "configs", made.logs):
        shutil.rmtree(folder, ignore_errors=True)
    recipes = made.root / "configs" / "recipes"
    recipes.mkdir(parents=True)
    made.state.mkdir(parents=True)
    made.logs.mkdir()
    (recipes / f"{NAME}.yaml").write_text(yaml.safe_dump(_recipe(workload), sort_keys=False), encoding="utf-8")
    for name in _FOREIGN:
        os.environ.pop(name, None)
    os.environ |= {
        "LLMOPS_STATE_DIR": str(made.state),
        "LLMOPS_CONFIGS_DIR": str(made.root / "configs"),
        "LLMOPS_BENCHMARK_CLOCK": str(made.clock),
        "PYTHONPATH": str(_INSTRUMENT),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    os.environ["DAGSTER_HOME"] = str(instance_home("local"))
    try:
        yield made
    finally:
        home = os.environ["DAGSTER_HOME"]
        stop_processes(lambda: marked_processes("DAGSTER_HOME", home), _GRACE_SECONDS)


def materialize_command(*assets: str) -> list[str]:
    """Return the `dagster asset materialize` of some of the lane's assets, as a user would type it."""
    selection = " or ".join(f'key:"{NAME}/{asset}"' for asset in assets)
    return [sys.executable, "-m", "dagster", "asset", "materialize", "-m", LOCATION, "--select", selection]


def make_upstream(made: Lane) -> None:
    """Materialize the set and the rows that the stage trains on. Raises LaneFailed."""
    log = made.logs / "upstream.log"
    with log.open("wb") as stream:
        done = subprocess.run(
            materialize_command(*UPSTREAM), cwd=made.root, stdout=stream, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise LaneFailed(
            f"making {' and '.join(UPSTREAM)} ended with {done.returncode}; the end of {log}:\n{_end(log)}"
        )


@contextmanager
def dagster_dev(made: Lane) -> Iterator[str]:
    """Serve the lane as `make dev` does (webserver, daemon, code server) and yield the address once it is quiet.

    Raises LaneFailed if the servers do not answer in three minutes.
    """
    port, log = _free_port(), made.logs / "dagster-dev.log"
    url = f"http://{_HOST}:{port}"
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(WORKSPACE), "-h", _HOST, "-p", str(port)]
    began = time.time()
    with background_process(command, cwd=made.root, log=log) as process:
        while not (_loaded(url) and _daemon_reported_since(began)):
            if process.poll() is not None or time.time() > began + _START_SECONDS:
                raise LaneFailed(f"`dagster dev` did not come up; the end of {log}:\n{_end(log)}")
            time.sleep(1)
        time.sleep(_SETTLE_SECONDS)
        yield url


def ask(url: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    """Return the webserver's answer to a GraphQL query. Raises OSError if there is none."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{url}/graphql", data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)


def _loaded(url: str) -> bool:
    """Whether the webserver answers and has loaded the graph, as the page with the button would have it."""
    query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
    try:
        answer = ask(url, query, {})
    except (urllib.error.URLError, OSError):
        return False
    return bool((answer.get("data") or {}).get("repositoriesOrError", {}).get("nodes"))


def _daemon_reported_since(moment: float) -> bool:
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        heartbeat = instance.get_daemon_heartbeats().get("QUEUED_RUN_COORDINATOR")
    return heartbeat is not None and heartbeat.timestamp > moment


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return probe.getsockname()[1]


def _end(log: Path) -> str:
    return tail_of_log(log, lines=15)


def _recipe(workload: Workload) -> dict[str, Any]:
    """An SFT lane on the workload's base and conversations; everything unsaid is the product's default."""
    sizes = workload.sizes
    return {
        "name": NAME,
        "description": "The lane that benchmarks/orchestration.py launches.",
        "base_model": {"name": str(workload.base)},
        "sft_set": {
            "sources": [{"kind": "files", "name": "chats", "pattern": str(workload.set_file("sft"))}],
            "max_tokens": sizes.length,
        },
        "sft": {
            "max_steps": sizes.steps,
            "learning_rate": sizes.learning_rate,
            "lr_scheduler": "constant",
            "batch_size": sizes.batch,
            "max_length": sizes.length,
            "lora_r": sizes.lora_r,
            "lora_alpha": sizes.lora_alpha,
            "precision": "fp32",
            "backend": "plain",
            "device": "cpu",
            "batching": "padding_free",
        },
    }
