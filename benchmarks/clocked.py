"""One run of a subject under the clock of instrument/sitecustomize.py, and what it cost per step."""

import json
import os
import resource
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.subjects import Command, environment
from llmops_assets.errors import LlmopsError

_INSTRUMENT = Path(__file__).resolve().parent / "instrument"
# Start-up, first allocations and the first optimizer state belong to none of the steps that are compared.
FIRST_MEASURED_STEP = 5


class SubjectFailed(LlmopsError):
    """A subject did not train to its last step; its output is in the file that the message names."""


@dataclass(frozen=True)
class Measured:
    """What one run cost. Seconds per step are those after step 5; memory is the training process's peak."""

    cpu_seconds: float
    wall_seconds: float
    first_step_seconds: float
    peak_memory_mib: float
    threads: int
    optimizer: str
    activation_checkpointing: bool
    losses: list[float]


def run_clocked(command: Command, folder: Path, threads: int, steps: int) -> Measured:
    """Run `command` to its end and return what its steps cost. The output goes to `folder`/output.log.

    Raises SubjectFailed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clock, log = folder / "clock.json", folder / "output.log"
    clock.unlink(missing_ok=True)
    variables = environment(command, threads) | {"LLMOPS_BENCHMARK_CLOCK": str(clock), "PYTHONPATH": str(_INSTRUMENT)}
    began = time.time()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command.arguments,
            env=variables,
            cwd=folder,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code = _wait(process)
    found = json.loads(clock.read_text(encoding="utf-8")) if clock.is_file() else {"steps": []}
    if code or len(found["steps"]) != steps + 1:
        tail = " | ".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:])
        raise SubjectFailed(
            f"`{' '.join(command.arguments)}` ended with {code} after {max(0, len(found['steps']) - 1)} of {steps} "
            f"steps; its output is in {log} and ends: {tail}"
        )
    return _measured(found, began)


def _measured(found: dict[str, Any], began: float) -> Measured:
    noted = {int(entry["step"]): entry for entry in found["steps"]}
    last = max(noted)
    first = min(FIRST_MEASURED_STEP, last - 1)
    steps = last - first
    return Measured(
        cpu_seconds=(noted[last]["cpu"] - noted[first]["cpu"]) / steps,
        wall_seconds=(noted[last]["time"] - noted[first]["time"]) / steps,
        first_step_seconds=noted[1]["time"] - began,
        peak_memory_mib=found["peak_memory_kib"] / 1024,
        threads=found["threads"],
        optimizer=found["optimizer"],
        activation_checkpointing=found["activation_checkpointing"],
        losses=[found["losses"][str(step)] for step in range(1, last + 1) if str(step) in found["losses"]],
    )


def medians(runs: list[Measured]) -> Measured:
    """Return the median of each figure over repetitions; what is no figure is that of the first run."""
    figures = {
        name: median(getattr(run, name) for run in runs)
        for name in ("cpu_seconds", "wall_seconds", "first_step_seconds", "peak_memory_mib")
    }
    return Measured(**asdict(runs[0]) | figures)


def child_cpu_seconds(arguments: list[str], variables: dict[str, str], log: Path) -> float:
    """Run a command to its end and return the CPU seconds of it and its children.

    Raises SubjectFailed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with log.open("wb") as stream:
        done = subprocess.run(arguments, env=variables, stdout=stream, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise SubjectFailed(f"`{' '.join(arguments)}` ended with {done.returncode}; its output is in {log}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of `process`; what ends this process ends it and its children too."""
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
