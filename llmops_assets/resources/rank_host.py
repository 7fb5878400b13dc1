"""One rank on a node of a Ray cluster: the same worker process as on one machine, under the same process guard."""

import hashlib
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from llmops_assets.resources.supervised_process import SUPERVISION_MARKER, SupervisedProcessFailed, run_supervised


@dataclass(frozen=True)
class HostFacts:
    """Where a rank landed.

    Attributes:
        node: Ray's id of the node.
        address: The node's address, as the other nodes reach it.
        port: A TCP port that is free there now.
        gpus: Ids of the GPUs that Ray reserved for the rank, as CUDA_VISIBLE_DEVICES takes them.
        job_digest: sha256 of the job file as this node reads it, None if it cannot.
    """

    node: str
    address: str
    port: int
    gpus: tuple[str, ...]
    job_digest: str | None


class RankHost:
    """Made into a Ray actor with several threads, so that `stop` and `take_lines` answer while `run` waits."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._stopping = threading.Event()

    def facts(self, job_file: str) -> HostFacts:
        """Return where this actor runs and what it sees."""
        import ray

        runtime = ray.get_runtime_context()
        return HostFacts(
            node=runtime.get_node_id(),
            address=ray.util.get_node_ip_address(),
            port=_free_port(),
            gpus=tuple(runtime.get_accelerator_ids().get("GPU", [])),
            job_digest=file_digest(Path(job_file)),
        )

    def run(self, job_file: str, log_file: str, environment: Mapping[str, str], grace_seconds: float) -> int:
        """Run the training worker to its end and return its exit code; nothing of it is left then.

        When this actor's process dies, the guard stops the worker as `stop` does.
        """
        if self._stopping.is_set():
            return 143
        command = [sys.executable, "-m", "llmops_assets.training.worker", job_file]
        try:
            run_supervised(
                command,
                cwd=Path(job_file).parent,
                env={**os.environ, **environment},
                log_path=Path(log_file),
                grace_seconds=grace_seconds,
                on_line=self._lines.append,
            )
        except SupervisedProcessFailed as error:
            return error.exit_code
        return 0

    def take_lines(self) -> list[str]:
        """Return what the worker has printed since the last call, oldest line first."""
        taken = []
        while self._lines:
            taken.append(self._lines.popleft())
        return taken

    def stop(self) -> None:
        """Ask the worker to stop: SIGTERM, a checkpoint at the step boundary, the grace period, SIGKILL."""
        self._stopping.set()
        for process in psutil.Process().children():
            try:
                if SUPERVISION_MARKER in process.environ():
                    process.terminate()
            except psutil.NoSuchProcess:
                continue


def file_digest(file: Path) -> str | None:
    """Return the sha256 of a small file, None if it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
