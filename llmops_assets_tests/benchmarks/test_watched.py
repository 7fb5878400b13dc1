"""What a subject of a benchmark costs is measured with all processes that it starts."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers.meters import cpu_seconds
from benchmarks.watched import SubjectFailed, run_watched

# Prints when it has used 0.2 CPU seconds, and then waits for its input to end.
_BUSY = """
import sys, time
while time.process_time() < 0.2:
    pass
print("done", flush=True)
sys.stdin.read()
"""
# Holds 64 MiB in a process that it starts, and 128 MiB itself when it has written what its work cost.
_HOLDS_BELOW = """
import subprocess, sys, time
from pathlib import Path
from benchmarks.peers.meters import Meter
meter = Meter()
subprocess.run([sys.executable, "-c", "import time; held = b'x' * (64 << 20); time.sleep(0.4)"], check=True)
meter.write(Path(sys.argv[1]))
held = b"x" * (128 << 20)
time.sleep(0.3)
"""


def test_cpu_seconds_include_a_process_that_still_runs_and_keep_it_when_it_has_ended() -> None:
    before = cpu_seconds()
    with subprocess.Popen([sys.executable, "-c", _BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"done\n"
        running = cpu_seconds() - before
    assert running >= 0.19
    assert cpu_seconds() - before >= 0.19


def test_the_peak_is_that_of_all_processes_of_the_work_and_not_of_what_follows_it(tmp_path: Path) -> None:
    cost = run_watched("holder", [sys.executable, "-c", _HOLDS_BELOW], tmp_path / "out")
    assert 64 << 10 <= cost.peak_kib < 128 << 10
    assert cost.held_kib < 32 << 10
    assert cost.wall_seconds >= 0.4


def test_a_failed_subject_is_an_error_that_names_its_output(tmp_path: Path) -> None:
    log = tmp_path / "out" / "output.log"
    with pytest.raises(SubjectFailed, match=rf"peer ended with 3; see {log}"):
        run_watched("peer", [sys.executable, "-c", "print('why'); raise SystemExit(3)"], log.parent)
    assert log.read_text(encoding="utf-8") == "why\n"
