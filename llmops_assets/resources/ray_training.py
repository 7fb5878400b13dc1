"""Trains one job with its ranks on the nodes of a Ray cluster: a placement group, and one actor per rank.

`python -m llmops_assets.resources.ray_training --grace-seconds S job.json`, where RAY_ADDRESS names the cluster. The
actors start `llmops_assets.training.worker` under the process guard, with the variables that torchrun sets.

Ray Train's TorchTrainer is not used. It calls the training function in a thread of its actor, where Python allows no
signal handler, and stops it by killing the actor: a cancel would leave no checkpoint. It also makes the process group
before DeepSpeed can, and wants a storage folder of its own.

All nodes must see the state folder under one path (NFS or the like): job, data, checkpoints and adapter lie there.
"""

import argparse
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from llmops_assets.errors import LlmopsError
from llmops_assets.resources.cluster_environment import passed_on
from llmops_assets.resources.rank_host import HostFacts, RankHost
from llmops_assets.resources.rank_placement import (
    rank_environments,
    rank_order,
    require_job_file,
    require_resources,
    resources_per_rank,
)
from llmops_assets.training.adapter_files import write_atomically
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.worker import ERROR_FILE

AUTOSCALING = "LLMOPS_RAY_AUTOSCALING"
"""Environment variable; "1" where nodes are added on demand, so that today's size of the cluster says nothing."""

_POLL_SECONDS = 0.5
_CONNECT_SECONDS = 5.0
_LAST_LINES_SECONDS = 10.0
_STOPPED = 128 + signal.SIGTERM


class NoRayCluster(LlmopsError):
    """The cluster that RAY_ADDRESS names cannot be reached."""


class RanksNotStarted(LlmopsError):
    """Ray cannot run this project's code on the nodes."""


class StopFlag:
    """Set by SIGTERM and SIGINT; install it after `ray.init`, which sets a handler of its own."""

    def __init__(self) -> None:
        self.requested = False

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


def train_on_ray(job: TrainingJob, job_file: Path, *, grace_seconds: float) -> int:
    """Run the job's ranks on the cluster and return an exit code: 0, 143 if stopped, else that of the first bad rank.

    Lines of rank 0 go to stdout as they are, those of others with the rank before them. A rank that fails, or is lost
    with its node, stops the others. Waits without limit for resources that others hold. Nothing is left of ranks whose
    Ray worker lives; one that lost it is ended by its guard within the grace period, perhaps after this returns.

    Raises:
        NoRayCluster, TooFewRayResources, RanksNotStarted, JobFileNotShared: nothing was started.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    connect()
    stop = StopFlag()
    stop.install()
    spec = job.spec
    needs = resources_per_rank(spec)
    if os.environ.get(AUTOSCALING) != "1":
        require_resources(needs, spec.num_processes, ray.cluster_resources())
    group = placement_group([needs] * spec.num_processes, strategy="PACK")
    print(f"waiting for {spec.num_processes} x {needs} on the Ray cluster", flush=True)
    while not group.wait(_POLL_SECONDS):
        if stop.requested:
            return _STOPPED
    # Ray would kill the guard together with a dying actor, and so leave a rank without one.
    runtime_env = {"env_vars": {"RAY_kill_child_processes_on_worker_exit": "0"}}
    actor_class: Any = ray.remote(RankHost)
    hosts = [
        actor_class.options(
            num_cpus=needs["CPU"],
            num_gpus=needs.get("GPU", 0),
            max_concurrency=4,
            runtime_env=runtime_env,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index),
        ).remote()
        for index in range(spec.num_processes)
    ]
    try:
        facts: list[HostFacts] = ray.get([host.facts.remote(str(job_file)) for host in hosts])
    except RayError as error:
        raise RanksNotStarted(
            f"placement: ray, but the ranks cannot be started: {error}. Every node needs this project, installed for "
            "the same versions of Python and Ray."
        ) from error
    require_job_file(job_file, facts)
    order = rank_order(facts)
    environments = rank_environments([facts[index] for index in order])
    return _Ranks([hosts[index] for index in order], stop).run(job, job_file, environments, grace_seconds)


def connect() -> None:
    """Join the cluster that RAY_ADDRESS names (host:port of its head), or the one that runs on this machine.

    Raises:
        NoRayCluster: within seconds.
    """
    import ray

    address = os.environ.get("RAY_ADDRESS", "auto")
    try:
        host, _, port = address.rpartition(":")
        if port.isdigit() and "://" not in address:
            # Ray itself tries for a minute.
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, RuntimeError, ValueError) as error:
        raise NoRayCluster(
            f"placement: ray, but the Ray cluster at {address} cannot be joined ({error}). Launch the run through "
            "a Ray launcher, set RAY_ADDRESS to the head node's host:port (usually port 6379), or set placement: local."
        ) from error


class _Ranks:
    """The running ranks: passes on what they print, and stops all of them when one fails or a stop is requested."""

    def __init__(self, hosts: Sequence[Any], stop: StopFlag) -> None:
        self._hosts = list(hosts)
        self._stop = stop
        self._asked: dict[int, Any] = {}

    def run(
        self, job: TrainingJob, job_file: Path, environments: Sequence[dict[str, str]], grace_seconds: float
    ) -> int:
        import ray

        shared = passed_on(os.environ) | {"PYTHONUNBUFFERED": "1"}
        logs = job.checkpoint_dir / "ranks"
        running = {
            host.run.remote(str(job_file), str(logs / f"rank-{rank}.log"), shared | environment, grace_seconds): rank
            for rank, (host, environment) in enumerate(zip(self._hosts, environments, strict=True))
        }
        first_bad = 0
        while running:
            ended, _ = ray.wait(list(running), num_returns=len(running), timeout=_POLL_SECONDS)
            self._deliver()
            codes = [_exit_code(reference, running.pop(reference)) for reference in ended]
            # Of ranks that end together, one that a signal ended (128 + N) is the cause, not one that lost its peer.
            first_bad = first_bad or max(codes, default=0)
            if first_bad or self._stop.requested:
                for rank in running.values():
                    self._hosts[rank].stop.remote()
        for _ in ("asked before the end", "asked after it"):
            self._deliver(timeout=_LAST_LINES_SECONDS)
        return _STOPPED if self._stop.requested and first_bad else first_bad

    def _deliver(self, timeout: float = 0.0) -> None:
        """Print the lines that have arrived; a node that does not answer delays nobody."""
        import ray
        from ray.exceptions import RayError

        for rank, host in enumerate(self._hosts):
            if rank not in self._asked:
                self._asked[rank] = host.take_lines.remote()
            reference = self._asked[rank]
            ready, _ = ray.wait([reference], timeout=timeout)
            if not ready:
                continue
            del self._asked[rank]
            try:
                lines = ray.get(reference)
            except RayError:
                continue  # The rank is lost; `_exit_code` says so.
            for line in lines:
                print(line if rank == 0 else f"[rank {rank}] {line}", flush=True)


def _exit_code(reference: Any, rank: int) -> int:
    import ray
    from ray.exceptions import RayError

    try:
        code = int(ray.get(reference))
    except RayError as error:
        print(f"rank {rank} was lost with its Ray worker: {error}", file=sys.stderr, flush=True)
        return 1
    if code:
        print(f"rank {rank} ended with exit code {code}", file=sys.stderr, flush=True)
    return code


def _main() -> int:
    parser = argparse.ArgumentParser(description="Train one job on the nodes of a Ray cluster.")
    parser.add_argument("--grace-seconds", type=float, required=True, help="time between SIGTERM and SIGKILL of a rank")
    parser.add_argument("job_file", type=Path)
    options = parser.parse_args()
    job = TrainingJob.model_validate_json(options.job_file.read_text(encoding="utf-8"))
    job.output_dir.mkdir(parents=True, exist_ok=True)
    # What an earlier try left must not be taken for the outcome of this one.
    for name in ("training_result.json", ERROR_FILE):
        (job.output_dir / name).unlink(missing_ok=True)
    try:
        return train_on_ray(job, options.job_file, grace_seconds=options.grace_seconds)
    except LlmopsError as error:
        payload = json.dumps({"error": type(error).__name__, "message": str(error)}, indent=2)
        write_atomically(job.output_dir / ERROR_FILE, payload.encode("utf-8"))
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(_main())
