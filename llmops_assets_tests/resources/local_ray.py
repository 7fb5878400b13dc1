"""Ray clusters of this machine for tests: each has its own folder and ports, and takes all of its processes along."""

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from llmops_assets.resources.process_tree import is_alive, marked_processes, stop_processes
from llmops_assets_tests.resources.waiting import wait_until

# Every process of a cluster inherits it from `ray start`, and every job from the cluster.
FOLDER = "RAY_TMPDIR"
_OBJECT_STORE = 100_000_000
_CONNECTION_VARIABLES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_JOB_STOP_WAIT_TIME_S")


@dataclass(frozen=True)
class RayHead:
    """A head node with a dashboard.

    Attributes:
        address: Where its job server listens.
    """

    address: str


@contextmanager
def ray_head(*, gpus: int) -> Iterator[RayHead]:
    """`ray start --head` with that many logical GPUs and two CPUs; everything that it started ends with the block."""
    with _ray_folder():
        ports = free_ports(3)
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={ports[0]}"]
        command += [
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={ports[1]}",
            f"--ray-client-server-port={ports[2]}",
        ]
        command += ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
        command += ["--num-cpus=2", f"--num-gpus={gpus}", f"--object-store-memory={_OBJECT_STORE}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr + done.stdout
        yield RayHead(f"http://127.0.0.1:{ports[1]}")


@contextmanager
def two_ray_nodes() -> Iterator[str]:
    """Two nodes with one CPU each; yields the host:port that RAY_ADDRESS takes."""
    with _ray_folder() as folder:
        (folder / "ray").mkdir()
        log = folder / "nodes.log"
        command = [sys.executable, "-m", "llmops_assets_tests.resources.two_ray_nodes", str(_OBJECT_STORE)]
        with log.open("wb") as output:
            nodes = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        wait_until(lambda: "\naddress " in f"\n{log.read_text()}" or nodes.poll() is not None, timeout_seconds=90)
        assert nodes.poll() is None, log.read_text()
        yield next(line.split()[1] for line in log.read_text().splitlines() if line.startswith("address "))


@contextmanager
def _ray_folder() -> Iterator[Path]:
    # Not pytest's folder: Ray's socket paths may have about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    with pytest.MonkeyPatch.context() as patch:
        for name in _CONNECTION_VARIABLES:
            patch.delenv(name, raising=False)
        patch.setenv(FOLDER, str(folder))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        try:
            yield folder
        finally:
            stop_processes(_Members(str(folder)), grace_seconds=5.0)
            shutil.rmtree(folder)


class _Members:
    """All live processes of a cluster, also those whose parent has ended since the first look.

    Ray's agents and workers give themselves titles, which overwrites the environment that others could read.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._seen: set[psutil.Process] = set()

    def __call__(self) -> list[psutil.Process]:
        self._seen.update(marked_processes(FOLDER, self._folder))
        for process in list(self._seen):
            with suppress(psutil.NoSuchProcess):
                self._seen.update(process.children(recursive=True))
        return [process for process in self._seen if is_alive(process)]


def free_ports(count: int) -> list[int]:
    """Different TCP ports of this machine that nobody listens at now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
