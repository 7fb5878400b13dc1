"""The process between the launcher and a run worker: stops it on request, cleans up after it, gives the run an end.

`python -m llmops_assets.launchers.run_supervisor --grace-seconds S --log FILE -- command ...`

Escalation and crash detection live here, in one detached process per run, and not in the daemon: they then survive a
daemon restart, need no state in tags, and also cover the two phases in which Dagster's run monitoring asks no
launcher for health, STARTING and CANCELING.
"""

import argparse
import logging
import os
import sys
from collections import deque
from pathlib import Path

from llmops_assets.resources.process_guard import GuardedExit, run_guarded, shell_exit_code

logger = logging.getLogger(__name__)

RUN_MARKER = "LLMOPS_RUN_ID"
"""Environment variable, set to the run's id, that every process of a run inherits."""

RUN_ARGUMENTS = "DAGSTER_EXECUTE_RUN_ARGS"
"""Where `dagster api execute_run` looks for its arguments; unlike a command line, only this user can read it."""

_TAIL_BYTES = 64_000


def tail_of_log(path: Path, lines: int = 40) -> str:
    """The last `lines` lines of a run worker's log, read from its last 64 kB; says so if there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            last = deque(log.read().decode(errors="replace").splitlines(), maxlen=lines)
    except FileNotFoundError:
        return f"(there is no log at {path})"
    return "\n".join(last) if last else f"(the log at {path} is empty)"


def settle_run(serialized_arguments: str, ended: GuardedExit, log_path: Path) -> None:
    """Writes the end of a run whose worker is gone without having written one itself.

    A run that somebody asked to cancel becomes CANCELED. Any other becomes FAILURE with the reason that Dagster's run
    retries count as a lost worker, also when the supervisor was told to stop by a machine that shuts down.

    Args:
        serialized_arguments: A serialized `ExecuteRunArgs`; it names the run and the instance.
    """
    # Deferred: importing Dagster takes a second of CPU and 100 MB, which the supervisor must not hold for hours.
    from dagster import DagsterInstance, DagsterRunStatus
    from dagster._core.events import JobFailureData, RunFailureReason
    from dagster._grpc.types import ExecuteRunArgs
    from dagster._serdes import deserialize_value

    arguments = deserialize_value(serialized_arguments, ExecuteRunArgs)
    if arguments.instance_ref is None:
        raise ValueError("ExecuteRunArgs without an instance reference: the launcher always sets one")
    with DagsterInstance.from_ref(arguments.instance_ref) as instance:
        run = instance.get_run_by_id(arguments.run_id)
        if run is None or run.is_finished:
            return
        code = shell_exit_code(ended.exit_code)
        if run.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, f"The run worker was stopped (exit code {code}).")
            return
        instance.report_run_failed(
            run,
            f"The run worker ended with exit code {code} before the run had ended. Last lines of {log_path}:\n"
            f"{tail_of_log(log_path)}",
            JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION),
        )


def _main() -> int:
    parser = argparse.ArgumentParser(description="Supervise one Dagster run worker.")
    parser.add_argument("--grace-seconds", type=float, required=True, help="time between SIGTERM and SIGKILL")
    parser.add_argument("--log", type=Path, required=True, help="the file that the worker's output goes to")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    logging.basicConfig(format="run supervisor: %(message)s")
    ended = run_guarded(options.command, marker=RUN_MARKER, grace_seconds=options.grace_seconds)
    settle_run(os.environ[RUN_ARGUMENTS], ended, options.log)
    return shell_exit_code(ended.exit_code)


if __name__ == "__main__":
    sys.exit(_main())
