"""Launches each run as a detached, supervised process on this machine; everything it must remember is in run tags."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import psutil
from dagster import DagsterRun, Field, IntSource, StringSource
from dagster._config import UserConfigSchema
from dagster._core.events import EngineEventData
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClass, ConfigurableClassData, serialize_value

from llmops_assets.errors import LlmopsError
from llmops_assets.launchers.run_supervisor import RUN_ARGUMENTS, RUN_MARKER, tail_of_log
from llmops_assets.resources.background_process import SERVICE_MARKER
from llmops_assets.resources.process_tree import marked_processes, stop_processes

logger = logging.getLogger(__name__)

HOST_TAG = "llmops/worker_host"
PID_TAG = "llmops/worker_pid"
LOG_TAG = "llmops/worker_log"

_STARTING = "starting"
_SWEEP_GRACE_SECONDS = 5.0


class RunNotLaunchable(LlmopsError):
    """The run or the launcher's configuration lacks what a process needs."""


class ProcessRunLauncher(RunLauncher, ConfigurableClass):
    """Runs each worker under `run_supervisor`, in a session of its own.

    The worker is detached on purpose: Ctrl-C on `dagster dev` or a restart of the daemon does not end a training run.
    `terminate` signals the supervisor, which asks the worker to stop and, `grace_seconds` later, kills all of the
    run's processes; it lives in no daemon, so a restart in between changes nothing.

    A run's supervisor is the process under the tagged pid that has the run's id in its environment. That holds
    through reuse of pids and through reboots, and unlike a start time it does not move when the clock is set.
    Tags are inherited by automatic retries, so they are overwritten before the process starts, not after.
    Only processes of the same host name can be looked at or signalled: give containers a fixed one, and run
    webserver and daemon together.
    """

    def __init__(
        self,
        grace_seconds: int,
        log_dir: str | None = None,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        if grace_seconds <= 0:
            raise RunNotLaunchable(
                f"ProcessRunLauncher: grace_seconds is {grace_seconds} (dagster.yaml, run_launcher). Give the worker "
                "at least 1 second, and more than the trainer needs to write a checkpoint."
            )
        self._grace_seconds = grace_seconds
        self._log_dir = Path(log_dir).expanduser() if log_dir else None
        self._inst_data = inst_data
        super().__init__()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {
            "grace_seconds": Field(
                IntSource,
                default_value=150,
                description="Seconds between a request to cancel and SIGKILL. Keep it above the trainer's own grace "
                "period and below run_monitoring.cancel_timeout_seconds, after which Dagster calls the run canceled.",
            ),
            "log_dir": Field(
                StringSource,
                is_required=False,
                description="Folder for the run workers' output; by default `run_workers` in the instance's storage.",
            ),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Starts the run's supervisor and records host, pid and log.

        Raises:
            RunNotLaunchable: the run does not say which code it belongs to.
        """
        run = context.dagster_run
        log_path = self._log_path(run.run_id)
        self._instance.add_run_tags(
            run.run_id, {HOST_TAG: socket.gethostname(), PID_TAG: _STARTING, LOG_TAG: str(log_path)}
        )
        supervisor = self._start_supervisor(run, log_path)
        try:
            self._instance.add_run_tags(run.run_id, {PID_TAG: str(supervisor.pid)})
        except BaseException:
            # By its handle first: for a moment after exec the kernel shows no environment, so no mark either.
            supervisor.kill()
            stop_processes(lambda: marked_processes(RUN_MARKER, run.run_id), grace_seconds=0.0)
            raise
        finally:
            # A supervisor that nobody waits for stays a zombie until this daemon ends.
            threading.Thread(target=supervisor.wait, name=f"reap-{supervisor.pid}", daemon=True).start()
        self._instance.report_engine_event(
            f"Started a supervised run worker on {socket.gethostname()} (supervisor pid {supervisor.pid}).",
            run,
            EngineEventData({"pid": supervisor.pid, "log": str(log_path)}),
            cls=type(self),
        )

    def terminate(self, run_id: str) -> bool:
        """Asks the run's supervisor to stop it; True if the run is being stopped or turned out to be gone."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if not _is_on_this_host(run):
            self._instance.report_engine_event(
                f"Cannot stop the run from {socket.gethostname()}: its worker runs on {run.tags.get(HOST_TAG)}. "
                "Cancel it from a webserver or daemon on that machine.",
                run,
                cls=type(self),
            )
            return False
        self._instance.report_run_canceling(run)
        if _ask_supervisor_to_stop(run):
            return True
        _sweep(run)
        self._instance.report_run_canceled(run, "The run worker was gone already; what it left was ended.")
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """RUNNING while the supervisor lives, or where that cannot be told; else ends what is left and says FAILED.

        Never UNKNOWN: run monitoring fails the run on it, which would give the GPU away under a live trainer. Never
        SUCCESS: monitoring asks about unfinished runs only, and would leave one without a worker unfinished for ever.
        """
        if not _is_on_this_host(run):
            host = run.tags.get(HOST_TAG)
            logger.warning("cannot inspect the worker of run %s on host %s, taken as running", run.run_id, host)
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"worker on host {host}, not checked")
        try:
            supervisor = _find_supervisor(run)
        except psutil.AccessDenied as error:
            logger.warning("cannot inspect the worker of run %s, taken as running: %s", run.run_id, error)
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"worker belongs to another user: {error}")
        if supervisor is not None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=str(supervisor.pid))
        ended = _sweep(run)
        return CheckRunHealthResult(
            WorkerStatus.FAILED,
            f"The run worker's supervisor (pid {run.tags.get(PID_TAG)}) is gone; {ended} processes that it left were "
            f"ended. Last lines of {run.tags[LOG_TAG]}:\n{tail_of_log(Path(run.tags[LOG_TAG]))}",
            run_worker_id=run.tags.get(PID_TAG),
        )

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:
        if LOG_TAG not in run.tags:
            return None
        place = f"host {run.tags.get(HOST_TAG)}, supervisor pid {run.tags.get(PID_TAG)}, log {run.tags[LOG_TAG]}"
        if not include_container_logs or not _is_on_this_host(run):
            return place
        return f"{place}\n{tail_of_log(Path(run.tags[LOG_TAG]))}"

    def _log_path(self, run_id: str) -> Path:
        folder = self._log_dir or Path(self._instance.root_directory) / "run_workers"
        folder.mkdir(parents=True, exist_ok=True)
        return folder.absolute() / f"{run_id}.log"

    def _start_supervisor(self, run: DagsterRun, log_path: Path) -> subprocess.Popen[bytes]:
        if run.job_code_origin is None:
            raise RunNotLaunchable(
                f"Run {run.run_id} of job {run.job_name} has no code origin, so no other process can load its job. "
                "Launch it from a code location (UI, schedule, sensor or `dagster job launch -w workspace.yaml`)."
            )
        arguments = ExecuteRunArgs(
            job_origin=run.job_code_origin,
            run_id=run.run_id,
            instance_ref=self._instance.get_ref(),
            set_exit_code_on_failure=True,
        )
        with log_path.open("ab") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "llmops_assets.launchers.run_supervisor",
                    *("--grace-seconds", str(self._grace_seconds)),
                    *("--log", str(log_path)),
                    "--",
                    *_worker_command(arguments),
                ],
                env={
                    # A run outlives the service that launched it, so it does not carry the service's marker.
                    **{name: value for name, value in os.environ.items() if name != SERVICE_MARKER},
                    "PYTHONUNBUFFERED": "1",
                    RUN_MARKER: run.run_id,
                    RUN_ARGUMENTS: serialize_value(arguments),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def _worker_command(arguments: ExecuteRunArgs) -> list[str]:
    """The worker's command line without its last argument, which goes through the environment instead.

    A code location without an executable of its own gives a bare `dagster`, which is not on the PATH of an environment
    that was not activated.
    """
    *command, _ = arguments.get_command_args()
    return [sys.executable, "-m", *command] if command[0] == "dagster" else command


def _is_on_this_host(run: DagsterRun) -> bool:
    return run.tags.get(HOST_TAG) == socket.gethostname()


def _find_supervisor(run: DagsterRun) -> psutil.Process | None:
    """The live supervisor of a run of this host, None if it is gone.

    Raises:
        psutil.AccessDenied: a process with the recorded pid belongs to another user.
    """
    recorded = run.tags.get(PID_TAG, _STARTING)
    if recorded == _STARTING:
        # The launching process died, or is at this moment, between starting the supervisor and recording its pid.
        return min(marked_processes(RUN_MARKER, run.run_id), key=lambda process: process.pid, default=None)
    try:
        process = psutil.Process(int(recorded))
        return process if process.environ().get(RUN_MARKER) == run.run_id else None
    except psutil.NoSuchProcess:
        return None


def _ask_supervisor_to_stop(run: DagsterRun) -> bool:
    supervisor = _find_supervisor(run)
    if supervisor is None:
        return False
    try:
        supervisor.send_signal(signal.SIGTERM)
    except psutil.NoSuchProcess:
        return False
    return True


def _sweep(run: DagsterRun) -> int:
    """Ends every process of the run; returns how many there were."""
    left = len(marked_processes(RUN_MARKER, run.run_id))
    stop_processes(lambda: marked_processes(RUN_MARKER, run.run_id), _SWEEP_GRACE_SECONDS)
    return left
