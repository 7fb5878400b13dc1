"""Launches each run as a Ray job that holds the GPUs its recipe asks for."""

import logging
import shlex
import sys
import threading
import time
from collections.abc import Mapping
from os import environ
from typing import Any, Self

from dagster import BoolSource, DagsterRun, DagsterRunStatus, Field, IntSource, StringSource
from dagster._config import UserConfigSchema
from dagster._core.errors import DagsterInvariantViolationError
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.storage.tags import MAX_RETRIES_TAG
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClassData, serialize_value
from dagster_ray.configs import USER_DEFINED_RAY_KEY
from dagster_ray.core.run_launcher import RayLauncherConfig, RayRunLauncher, get_job_submission_id_from_run_id

from llmops_assets.launchers.process import RunNotLaunchable
from llmops_assets.launchers.ray_cluster import RayCluster, RayNotConfigured, RayUnreachable, TooFewGpus, require_room
from llmops_assets.launchers.run_demand import UnknownDemand, run_demand
from llmops_assets.launchers.run_supervisor import RUN_ARGUMENTS, RUN_MARKER
from llmops_assets.resources.cluster_environment import passed_on
from llmops_assets.resources.ray_training import AUTOSCALING

logger = logging.getLogger(__name__)

_POLL_SECONDS = 2.0
_LOG_LINES = 40


class RayJobRunLauncher(RayRunLauncher):
    """dagster-ray's `RayRunLauncher`, made to fail fast, to stop trainers gently and to settle every run.

    What it adds:
        The job's `num_gpus` comes from the recipe and the run config. A cluster that does not answer, or is too small
        for the demand, fails the run at once instead of leaving it in Ray's queue.
        Ray kills a stopped job 3 seconds after SIGTERM; this one gets `grace_seconds`, enough for a checkpoint.
        A job that ends before its worker has reported, or while it is being canceled, gives its run an end: Dagster's
        run monitoring asks about the health of STARTED runs only.
        Health is never UNKNOWN. A cluster that does not answer counts as running for `unreachable_seconds`.

    The variables that workers need (LLMOPS_*, MLFLOW_*, HF_*, NCCL_*, GLOO_*, DAGSTER_HOME) go along in the job's
    runtime environment. Whoever can reach the Ray dashboard can read them there, and can run code on the cluster.
    """

    def __init__(
        self,
        address: str | None,
        grace_seconds: int,
        unreachable_seconds: int,
        autoscaling: bool,
        python: str | None = None,
        num_gpus: float | None = None,
        metadata: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        cookies: dict[str, Any] | None = None,
        inst_data: ConfigurableClassData | None = None,
        **execution: Any,
    ) -> None:
        if num_gpus is not None:
            raise RayNotConfigured(
                f"dagster.yaml, run_launcher, ray.num_gpus is {num_gpus}: the number comes from the recipe "
                "(`device: gpu` and num_processes); remove it here"
            )
        super().__init__(
            address or "", metadata=metadata, headers=headers, cookies=cookies, inst_data=inst_data, **execution
        )
        self._cluster = RayCluster(address, metadata, headers, cookies)
        self._grace_seconds = grace_seconds
        self._unreachable_seconds = unreachable_seconds
        self._autoscaling = autoscaling
        self._python = python or sys.executable
        self._unreachable_since: dict[str, float] = {}

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {
            "ray": RayLauncherConfig.to_config_schema().as_field(),
            "grace_seconds": Field(
                IntSource,
                default_value=150,
                description="Seconds between a request to stop a job and SIGKILL (Ray's RAY_JOB_STOP_WAIT_TIME_S). "
                "Keep it above the trainer's grace period and below run_monitoring.cancel_timeout_seconds.",
            ),
            "unreachable_seconds": Field(
                IntSource,
                default_value=300,
                description="A run fails when its cluster has not answered for this long. Keep it above the minute "
                "after which Ray ends the workers of a lost head node, plus the trainer's grace period.",
            ),
            "autoscaling": Field(
                BoolSource,
                default_value=False,
                description="True where nodes are added on demand (KubeRay autoscaler): a run that asks for more than "
                "the cluster has at the moment then waits instead of failing.",
            ),
            "python": Field(
                StringSource,
                is_required=False,
                description="Interpreter with this project on the cluster's nodes; by default the daemon's own path.",
            ),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        own = {key: value for key, value in config_value.items() if key != "ray"}
        return cls(inst_data=inst_data, **config_value["ray"], **own)

    @property
    def client(self) -> Any:
        """Ray's job client; raises RayUnreachable instead of waiting."""
        return self._cluster.client()

    @property
    def supports_resume_run(self) -> bool:
        return False

    def launch_run(self, context: LaunchRunContext) -> None:
        """Submits the run as a Ray job.

        Raises:
            RunNotLaunchable: the run does not say which code it belongs to.
            UnknownDemand: its recipe or run config cannot be read.
            RayUnreachable, TooFewGpus: the cluster does not answer, or could never give what is asked for.
        """
        run = context.dagster_run
        if run.job_code_origin is None:
            raise RunNotLaunchable(
                f"Run {run.run_id} of job {run.job_name} has no code origin, so no Ray job can load its job. "
                "Launch it from a code location (UI, schedule, sensor or `dagster job launch -w workspace.yaml`)."
            )
        tagged = RayLauncherConfig.model_validate_json(run.tags.get(USER_DEFINED_RAY_KEY, "{}"))
        gpus = self._admitted_gpus(run, tagged)
        arguments = ExecuteRunArgs(
            job_origin=run.job_code_origin,
            run_id=run.run_id,
            instance_ref=self._instance.get_ref(),
            set_exit_code_on_failure=True,
        )
        worker_environment = {
            **passed_on(environ),
            AUTOSCALING: "1" if self._autoscaling else "0",
            RUN_MARKER: run.run_id,
            # Not on the command line: dagster-ray puts the arguments between quotes that they may contain themselves.
            RUN_ARGUMENTS: serialize_value(arguments),
            # Read by the Ray actor that stops the job; it runs in the job's environment.
            "RAY_JOB_STOP_WAIT_TIME_S": str(self._grace_seconds),
        }
        configured = [*(tagged.env_vars or self.env_vars or [])]
        job = tagged.model_copy(
            update={
                "num_gpus": gpus,
                "env_vars": configured + [f"{name}={value}" for name, value in worker_environment.items()],
            }
        )
        # The parent reads a run's settings from this tag; it is set on a copy, because the values hold secrets.
        described = run.with_tags({**run.tags, USER_DEFINED_RAY_KEY: job.model_dump_json()})
        self._launch_ray_job(_submission_id(run.run_id), self._entrypoint(gpus), described)
        self._settle_in_background(run.run_id)

    def terminate(self, run_id: str) -> bool:
        """Stops the run's job; True if it is being stopped, never began, or turned out to be gone."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        submission_id = _submission_id(run_id)
        try:
            job = self._cluster.job(submission_id)
            self._instance.report_run_canceling(run)
            if job is None or job.status.is_terminal():
                self._instance.report_run_canceled(run, "The run's Ray job was gone already.")
                return True
            self.client.stop_job(submission_id)
            job = self._cluster.job(submission_id)
        except (RayUnreachable, RuntimeError, OSError) as error:
            self._instance.report_engine_event(f"Cannot stop the run's Ray job: {error}", run, cls=type(self))
            return False
        if job is not None and job.status == "PENDING":
            # Ray keeps a stopped job in its queue until its GPUs are free, and ends it then before it does anything.
            self._instance.report_run_canceled(run, "The run's Ray job was still waiting for resources.")
            return True
        self._settle_in_background(run_id)
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """RUNNING while the job runs or while that cannot be told, then FAILED; never UNKNOWN, never SUCCESS.

        Monitoring asks about unfinished runs only: a job that ended, however well, has left this one without a worker.
        """
        submission_id = _submission_id(run.run_id)
        try:
            job = self._cluster.job(submission_id)
        except RayUnreachable as error:
            return self._unreachable(run, error)
        self._unreachable_since.pop(run.run_id, None)
        if job is None:
            return CheckRunHealthResult(
                WorkerStatus.FAILED,
                f"The Ray cluster at {self._cluster.address} does not know job {submission_id}: "
                "its head was restarted.",
            )
        if job.status.is_terminal():
            return CheckRunHealthResult(WorkerStatus.FAILED, _ending(job))
        return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=submission_id)

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """State of the run's job, with the last lines of its log. Never its environment, which holds secrets."""
        submission_id = _submission_id(run.run_id)
        try:
            job = self._cluster.job(submission_id)
            if job is None:
                return f"Ray job {submission_id} is not known at {self._cluster.address}"
            state = f"Ray job {submission_id} at {self._cluster.address}, node {job.driver_node_id}: {job.status.value}"
            if not include_container_logs:
                return state
            lines = self.client.get_job_logs(submission_id).splitlines()[-_LOG_LINES:]
        except (RayUnreachable, RuntimeError, OSError) as error:
            return f"Ray job {submission_id}: {error}"
        return "\n".join([state, *lines])

    def _admitted_gpus(self, run: DagsterRun, tagged: RayLauncherConfig) -> int:
        """The GPUs of the run's own job, if the cluster has room for all that the run asks for."""
        capacity = self._cluster.capacity()
        try:
            demand = run_demand(self._instance, run)
            gpus = demand.gpus if tagged.num_gpus is None else int(tagged.num_gpus)
            if not self._autoscaling:
                require_room(demand, gpus, capacity)
        except (UnknownDemand, TooFewGpus):
            # Dagster would retry it like a lost worker, and hear the same answer.
            self._instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: "0"})
            raise
        return gpus

    def _entrypoint(self, gpus: int) -> str:
        """The job's shell command; `exec`, so that Ray's signals reach the run worker and not a shell before it."""
        worker = [self._python, "-m", "dagster", "api", "execute_run"]
        # Ray hides the GPUs of others from a job that has some of its own, but none from a job without.
        hidden = [] if gpus else ["env", "CUDA_VISIBLE_DEVICES="]
        return f"exec {shlex.join([*hidden, *worker])}"

    def _unreachable(self, run: DagsterRun, error: RayUnreachable) -> CheckRunHealthResult:
        # A timer in memory, by the monotonic clock: losing it in a restart of the daemon only makes it start again.
        since = self._unreachable_since.setdefault(run.run_id, time.monotonic())
        if time.monotonic() - since >= self._unreachable_seconds:
            del self._unreachable_since[run.run_id]
            return CheckRunHealthResult(WorkerStatus.FAILED, f"For {self._unreachable_seconds} s: {error}")
        logger.warning("health of run %s is not known, taken as running: %s", run.run_id, error)
        return CheckRunHealthResult(WorkerStatus.RUNNING, str(error))

    def _settle_in_background(self, run_id: str) -> None:
        threading.Thread(target=self._settle, args=[run_id], name=f"ray-run-{run_id[:8]}", daemon=True).start()

    def _settle(self, run_id: str) -> None:
        """Waits until the run's worker has started or its job is over, and ends a run whose job ended without it."""
        answered = time.monotonic()
        while True:
            time.sleep(_POLL_SECONDS)
            try:
                run = self._instance.get_run_by_id(run_id)
            except DagsterInvariantViolationError:
                return  # The instance was closed: this process is ending.
            if run is None or run.is_finished or run.status == DagsterRunStatus.STARTED:
                return
            try:
                job = self._cluster.job(_submission_id(run_id))
            except RayUnreachable as error:
                logger.warning("cannot follow the Ray job of run %s: %s", run_id, error)
                if time.monotonic() - answered >= self._unreachable_seconds:
                    self._end_without_worker(run, f"For {self._unreachable_seconds} s: {error}")
                    return
                continue
            answered = time.monotonic()
            if job is None or job.status.is_terminal():
                message = "The Ray cluster does not know the run's job any more." if job is None else _ending(job)
                self._end_without_worker(run, message)
                return

    def _end_without_worker(self, run: DagsterRun, message: str) -> None:
        if run.status == DagsterRunStatus.CANCELING:
            self._instance.report_run_canceled(run, message)
            return
        lost = JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION)
        self._instance.report_run_failed(run, message, lost)


def _submission_id(run_id: str) -> str:
    return get_job_submission_id_from_run_id(run_id)


def _ending(job: Any) -> str:
    return (
        f"The run's Ray job {job.submission_id} is {job.status.value}, and the run had not ended. {job.message or ''}"
    )
