"""Creating runs that a worker process can load, without a code server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableJob

from llmops_assets_tests.launchers import jobs
from llmops_assets_tests.resources.waiting import wait_until

PROCESS_LAUNCHER = {
    "module": "llmops_assets.launchers.process",
    "class": "ProcessRunLauncher",
    "config": {"grace_seconds": 3},
}


def create_run(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    *,
    folder: Path | None = None,
    tags: Mapping[str, str] | None = None,
    status: dg.DagsterRunStatus | None = None,
) -> dg.DagsterRun:
    """A recorded run of one of `jobs`, with the pools of its ops; `folder` is the config of its only op."""
    run_config: dict[str, Any] = {}
    if folder is not None:
        run_config = {"ops": {job.nodes[0].name: {"config": {"path": str(folder)}}}}
    return instance.create_run_for_job(
        job_def=job,
        run_config=run_config,
        tags=tags,
        status=status,
        job_code_origin=ReconstructableJob.for_module(jobs.__name__, job.name).get_python_origin(),
    )


def launch(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    """Launches as webserver and daemon do; returns the run with the tags that its launcher wrote."""
    no_workspace: Any = None  # Only the default launcher needs one, to find a code server.
    instance.launch_run(run.run_id, no_workspace)
    return reload(instance, run.run_id)


def status_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    return reload(instance, run_id).status


def reload(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    """The run as recorded now."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run


def wait_for_status(instance: dg.DagsterInstance, run_id: str, status: dg.DagsterRunStatus) -> None:
    wait_until(lambda: status_of(instance, run_id) == status, timeout_seconds=60)


def messages(instance: dg.DagsterInstance, run_id: str) -> str:
    """Everything that the run's event log says, one event per line."""
    return "\n".join(entry.message for entry in instance.all_logs(run_id))
