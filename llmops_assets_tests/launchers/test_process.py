"""The process launcher against a real instance, with real run workers that are killed, canceled and left alone."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster import DagsterRunStatus
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import RUN_FAILURE_REASON_TAG
from dagster._core.test_utils import instance_for_test

from llmops_assets.launchers.process import HOST_TAG, LOG_TAG, PID_TAG, ProcessRunLauncher, RunNotLaunchable
from llmops_assets.launchers.run_supervisor import RUN_MARKER
from llmops_assets.resources.process_tree import is_alive, marked_processes, stop_processes
from llmops_assets_tests.launchers import jobs
from llmops_assets_tests.launchers.runs import (
    PROCESS_LAUNCHER,
    create_run,
    launch,
    messages,
    reload,
    wait_for_status,
)
from llmops_assets_tests.resources.waiting import all_gone, payload_processes, survivors, wait_until


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with instance_for_test(overrides={"run_launcher": PROCESS_LAUNCHER}) as instance:
        yield instance
        # A test that fails leaves no process behind either.
        for run in instance.get_runs():
            stop_processes(lambda run_id=run.run_id: marked_processes(RUN_MARKER, run_id), grace_seconds=0.0)


def supervisor_of(run: dg.DagsterRun) -> psutil.Process:
    return psutil.Process(int(run.tags[PID_TAG]))


def worker_of(run: dg.DagsterRun) -> psutil.Process:
    supervisor = supervisor_of(run)
    wait_until(lambda: len(supervisor.children()) == 1)
    return supervisor.children()[0]


def health(instance: dg.DagsterInstance, run: dg.DagsterRun) -> CheckRunHealthResult:
    return instance.run_launcher.check_run_worker_health(reload(instance, run.run_id))


def started_run(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> dg.DagsterRun:
    here = {HOST_TAG: socket.gethostname(), LOG_TAG: "/nonexistent/run.log"}
    return create_run(instance, jobs.quick, tags={**here, **tags}, status=DagsterRunStatus.STARTED)


def test_run_is_detached_recorded_and_leaves_no_process(instance: dg.DagsterInstance) -> None:
    inherited_from_a_retried_run = {HOST_TAG: "elsewhere", PID_TAG: "1", LOG_TAG: "/nonexistent"}
    run = launch(instance, create_run(instance, jobs.quick, tags=inherited_from_a_retried_run))
    supervisor = supervisor_of(run)
    worker = worker_of(run)

    assert os.getsid(supervisor.pid) == supervisor.pid
    assert run.run_id not in " ".join(worker.cmdline()), "the run's arguments may hold secrets and are not for `ps`"
    assert health(instance, run).status == WorkerStatus.RUNNING
    wait_for_status(instance, run.run_id, DagsterRunStatus.SUCCESS)
    wait_until(lambda: all_gone([supervisor, worker]))
    assert run.tags[HOST_TAG] == socket.gethostname()
    assert Path(run.tags[LOG_TAG]).is_relative_to(instance.root_directory)
    assert marked_processes(RUN_MARKER, run.run_id) == []


def test_killed_worker_fails_its_run_and_takes_the_trainer_along(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = launch(instance, create_run(instance, jobs.training, folder=tmp_path))
    payload_processes(tmp_path)

    worker_of(run).kill()

    wait_for_status(instance, run.run_id, DagsterRunStatus.FAILURE)
    assert survivors(tmp_path) == []
    assert marked_processes(RUN_MARKER, run.run_id) in ([], [supervisor_of(run)])
    assert "exit code 137" in messages(instance, run.run_id)
    assert run.tags[LOG_TAG] in messages(instance, run.run_id)
    assert reload(instance, run.run_id).tags[RUN_FAILURE_REASON_TAG] == "UNEXPECTED_TERMINATION", "or it is not retried"


def test_worker_killed_before_the_run_started_fails_the_run(instance: dg.DagsterInstance) -> None:
    run = launch(instance, create_run(instance, jobs.quick))

    worker_of(run).kill()

    wait_for_status(instance, run.run_id, DagsterRunStatus.FAILURE)
    assert instance.get_run_stats(run.run_id).start_time is None


def test_killed_supervisor_is_found_by_the_health_check_which_ends_its_tree(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run = launch(instance, create_run(instance, jobs.training, folder=tmp_path))
    payload_processes(tmp_path)
    worker = worker_of(run)

    supervisor_of(run).kill()
    wait_until(lambda: run.tags[PID_TAG] not in map(str, psutil.pids()))
    result = health(instance, run)

    assert result.status == WorkerStatus.FAILED
    assert run.tags[LOG_TAG] in str(result.msg)
    assert survivors(tmp_path) == []
    assert not is_alive(worker)


def test_cancel_ends_trainer_and_worker_and_cancels_the_run(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = launch(instance, create_run(instance, jobs.training, folder=tmp_path))
    payload_processes(tmp_path)
    supervisor = supervisor_of(run)

    assert instance.run_launcher.terminate(run.run_id)

    wait_for_status(instance, run.run_id, DagsterRunStatus.CANCELED)
    assert survivors(tmp_path) == []
    wait_until(lambda: all_gone([supervisor]))
    assert not instance.run_launcher.terminate(run.run_id), "a canceled run cannot be canceled again"


def test_worker_that_ignores_the_cancel_is_killed_after_the_grace_period(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run = launch(instance, create_run(instance, jobs.stubborn, folder=tmp_path))
    worker = worker_of(run)
    wait_until((tmp_path / "ignoring").exists)

    assert instance.run_launcher.terminate(run.run_id)
    assert is_alive(worker)

    wait_for_status(instance, run.run_id, DagsterRunStatus.CANCELED)
    assert not is_alive(worker)


def test_worker_that_exits_well_without_ending_its_run_fails_it(instance: dg.DagsterInstance) -> None:
    run = launch(instance, create_run(instance, jobs.vanishing))

    wait_for_status(instance, run.run_id, DagsterRunStatus.FAILURE)

    assert "exit code 0" in messages(instance, run.run_id)
    assert "leaving early" in Path(run.tags[LOG_TAG]).read_text()


def test_cancel_of_a_run_without_processes_is_settled_at_once(instance: dg.DagsterInstance) -> None:
    run = started_run(instance, {PID_TAG: str(os.getpid())})

    assert instance.run_launcher.terminate(run.run_id)

    assert reload(instance, run.run_id).status == DagsterRunStatus.CANCELED


def test_run_of_another_host_counts_as_running_and_is_not_canceled_from_here(instance: dg.DagsterInstance) -> None:
    run = started_run(instance, {HOST_TAG: "elsewhere", PID_TAG: str(os.getpid())})

    assert health(instance, run).status == WorkerStatus.RUNNING
    assert not instance.run_launcher.terminate(run.run_id)
    assert reload(instance, run.run_id).status == DagsterRunStatus.STARTED
    assert "runs on elsewhere" in messages(instance, run.run_id)


def test_pid_that_now_belongs_to_another_process_counts_as_dead(instance: dg.DagsterInstance) -> None:
    run = started_run(instance, {PID_TAG: str(os.getpid())})

    assert health(instance, run).status == WorkerStatus.FAILED


def test_zombie_counts_as_dead(instance: dg.DagsterInstance) -> None:
    run = started_run(instance, {PID_TAG: "starting"})
    zombie = subprocess.Popen([sys.executable, "-c", "pass"], env={**os.environ, RUN_MARKER: run.run_id})
    wait_until(lambda: psutil.Process(zombie.pid).status() == psutil.STATUS_ZOMBIE)
    instance.add_run_tags(run.run_id, {PID_TAG: str(zombie.pid)})

    assert health(instance, run).status == WorkerStatus.FAILED

    zombie.wait()


def test_worker_whose_launching_process_died_before_recording_it_counts_as_running(
    instance: dg.DagsterInstance,
) -> None:
    run = started_run(instance, {PID_TAG: "starting"})
    code = "import time; time.sleep(60)"
    unrecorded = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, RUN_MARKER: run.run_id})

    assert health(instance, run).status == WorkerStatus.RUNNING

    unrecorded.kill()
    unrecorded.wait()
    assert health(instance, run).status == WorkerStatus.FAILED


def test_process_that_cannot_be_recorded_is_killed(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(instance, jobs.quick)
    add_run_tags = instance.add_run_tags

    def refuse_pid(run_id: str, tags: Mapping[str, str]) -> None:
        if tags.get(PID_TAG, "").isdigit():
            raise OSError("database is locked")
        add_run_tags(run_id, tags)

    monkeypatch.setattr(instance, "add_run_tags", refuse_pid)

    with pytest.raises(OSError, match="database is locked"):
        launch(instance, run)

    assert marked_processes(RUN_MARKER, run.run_id) == []
    assert reload(instance, run.run_id).status == DagsterRunStatus.FAILURE


def test_debug_info_shows_where_the_worker_is_and_what_it_printed(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("loading the base model\n")
    run = started_run(instance, {PID_TAG: "4711", LOG_TAG: str(log)})

    assert instance.run_launcher.get_run_worker_debug_info(run) == (
        f"host {socket.gethostname()}, supervisor pid 4711, log {log}\nloading the base model"
    )


def test_run_without_code_origin_is_refused_with_a_way_out(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(jobs.quick)

    with pytest.raises(RunNotLaunchable, match=r"dagster job launch -w workspace\.yaml"):
        launch(instance, run)


def test_grace_period_must_be_positive() -> None:
    with pytest.raises(RunNotLaunchable, match="grace_seconds is 0"):
        ProcessRunLauncher(grace_seconds=0)
