"""What is left of a supervised command after each way in which it, its guard or its supervisor can end."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from llmops_assets.resources.process_tree import is_alive, stop_processes
from llmops_assets.resources.supervised_process import SupervisedProcessFailed, run_supervised
from llmops_assets_tests.resources.waiting import (
    all_gone,
    payload_processes,
    supervise_payload,
    survivors,
    wait_until,
)


def run_python(code: str, folder: Path, **options) -> None:
    run_supervised(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ,
        log_path=folder / "worker.log",
        grace_seconds=1.0,
        poll_seconds=0.05,
        **options,
    )


class Interrupted(BaseException):
    """Like Dagster's interrupt and KeyboardInterrupt, not an `Exception`."""


def test_lines_reach_the_log_and_the_caller_while_the_command_runs(tmp_path: Path) -> None:
    seen: dict[str, bool] = {}
    run_python(
        "import pathlib, time\n"
        "print('first')\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.02)\n"
        "print('second\\nwithout end', end='')",
        tmp_path,
        on_line=lambda line: seen.update({line: (tmp_path / "go").exists()}) or (tmp_path / "go").touch(),
    )

    assert seen == {"first": False, "second": True, "without end": True}
    assert (tmp_path / "worker.log").read_text() == "first\nsecond\nwithout end"


def test_second_attempt_appends_to_the_log_and_reports_only_its_own_lines(tmp_path: Path) -> None:
    run_python("print('attempt 1')", tmp_path)
    lines: list[str] = []

    run_python("print('attempt 2')", tmp_path, on_line=lines.append)

    assert lines == ["attempt 2"]
    assert (tmp_path / "worker.log").read_text() == "attempt 1\nattempt 2\n"


def test_failure_carries_exit_code_and_the_last_forty_lines(tmp_path: Path) -> None:
    with pytest.raises(SupervisedProcessFailed) as failure:
        run_python("for i in range(100): print('line', i)\nraise SystemExit(3)", tmp_path)

    assert failure.value.exit_code == 3
    assert failure.value.last_lines == [f"line {i}" for i in range(60, 100)]
    assert "exit code 3" in str(failure.value)
    assert str(tmp_path / "worker.log") in str(failure.value)


def test_failure_names_the_signal_that_ended_the_command(tmp_path: Path) -> None:
    with pytest.raises(SupervisedProcessFailed, match=r"exit code 139 \(SIGSEGV\)"):
        run_python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", tmp_path)


def test_command_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    with pytest.raises(SupervisedProcessFailed, match="cannot start no-such-program") as failure:
        run_supervised(["no-such-program"], cwd=tmp_path, env=os.environ, log_path=tmp_path / "log", grace_seconds=1.0)

    assert failure.value.exit_code == 127


def test_interrupt_in_the_caller_leaves_no_process(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        supervise_payload(tmp_path, grace_seconds=0.5, on_line=interrupt)

    assert survivors(tmp_path) == []


def test_interrupted_command_has_its_grace_period_to_save_a_checkpoint(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        supervise_payload(tmp_path, "--polite", grace_seconds=0.5, on_line=interrupt)

    assert (tmp_path / "checkpoint").read_text() == "saved"
    assert survivors(tmp_path) == []


def test_what_a_finished_command_leaves_running_is_ended(tmp_path: Path) -> None:
    supervise_payload(tmp_path, "--leave", grace_seconds=0.5)

    assert survivors(tmp_path) == []


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_signal_that_ends_the_supervising_process_ends_the_tree(tmp_path: Path, signal_number: int) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-m", "llmops_assets_tests.resources.supervising_parent", tmp_path, "0.5"]
    )
    tree = payload_processes(tmp_path)
    guard = psutil.Process(parent.pid).children()

    parent.send_signal(signal_number)

    assert parent.wait(timeout=10) != 0
    wait_until(lambda: all_gone(tree + guard), timeout_seconds=5)


def test_second_interrupt_kills_without_waiting_for_the_grace_period(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-m", "llmops_assets_tests.resources.supervising_parent", tmp_path, "50"]
    )
    leader, rank = payload_processes(tmp_path)

    parent.send_signal(signal.SIGINT)
    wait_until(lambda: not is_alive(leader))
    assert is_alive(rank)
    parent.send_signal(signal.SIGINT)

    parent.wait(timeout=10)
    assert all_gone([rank])


def test_tree_is_ended_when_its_guard_is_killed(tmp_path: Path) -> None:
    def kill_guard(line: str) -> None:
        leader = payload_processes(tmp_path)[0]
        psutil.Process(leader.ppid()).kill()

    with pytest.raises(SupervisedProcessFailed, match=r"exit code 137 \(SIGKILL\)"):
        supervise_payload(tmp_path, grace_seconds=0.5, on_line=kill_guard)

    assert survivors(tmp_path) == []


def test_supervision_works_outside_of_the_main_thread(tmp_path: Path) -> None:
    with ThreadPoolExecutor(max_workers=1) as executor:
        executor.submit(run_python, "import time; time.sleep(0.5); print('done')", tmp_path).result()

    assert (tmp_path / "worker.log").read_text() == "done\n"


def test_zombie_does_not_count_as_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    process = psutil.Process(child.pid)
    wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE)

    assert not is_alive(process)

    child.wait()


def test_only_the_topmost_process_is_asked_to_stop(tmp_path: Path) -> None:
    inner = (
        "import pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: pathlib.Path('inner_was_asked').touch())\n"
        "print('up', flush=True)\n"
        "time.sleep(1.0)"
    )
    outer = (
        "import pathlib, signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: pathlib.Path('outer_was_asked').touch())\n"
        f"subprocess.run([sys.executable, '-c', {inner!r}])"
    )
    with subprocess.Popen([sys.executable, "-c", outer], cwd=tmp_path, stdout=subprocess.PIPE) as leader:
        assert leader.stdout is not None
        leader.stdout.readline()
        processes = [psutil.Process(leader.pid), *psutil.Process(leader.pid).children()]

        stop_processes(lambda: [process for process in processes if is_alive(process)], grace_seconds=5.0)

    assert len(processes) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["outer_was_asked"]
