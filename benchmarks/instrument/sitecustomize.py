"""Clocks the Trainer of whatever Python process has this folder on PYTHONPATH and LLMOPS_BENCHMARK_CLOCK set.

Python imports `sitecustomize` at start, in child processes too, so one clock measures every subject from inside and no
line of it is changed: the `trl` CLI and torchrun both train in a child. Knows nothing but the standard library, for it
also runs in the peers' environments.
"""

import importlib.util
import json
import os
import resource
import sys
import time
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

# With the file that the clock writes; and the seed that is set once torch is there, for subjects that draw a LoRA
# before they seed anything.
CLOCK_VARIABLE, SEED_VARIABLE = "LLMOPS_BENCHMARK_CLOCK", "LLMOPS_BENCHMARK_SEED"
_TRAINER = "transformers.trainer"


def cpu_seconds() -> float:
    """Return the user and system time of this process and of its children that have ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_memory_kib() -> int:
    """Return the largest resident size of this process; ru_maxrss would begin with that of the parent."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def started(pid: int) -> float:
    """Return when a process was started, in seconds since the epoch: Linux notes it in ticks since it booted."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    ticks_since_boot = int(fields[19])
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks_since_boot / os.sysconf("SC_CLK_TCK")


class _ClockedTrainer(MetaPathFinder):
    """Adds the clock to the callbacks that every Trainer has, as soon as the module with them is imported."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != _TRAINER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        loader: Any = spec.loader
        execute = loader.exec_module

        def execute_and_add_clock(module: ModuleType) -> None:
            execute(module)
            _add_clock(module, self._path)

        loader.exec_module = execute_and_add_clock
        return spec


def _add_clock(trainer_module: Any, path: Path) -> None:
    if (seed := os.environ.get(SEED_VARIABLE)) is not None:
        trainer_module.torch.manual_seed(int(seed))

    class StepClock(trainer_module.TrainerCallback):
        """Writes what each step cost when training ends: CPU and wall seconds, and the losses as they were logged."""

        def __init__(self) -> None:
            self.steps: list[dict[str, float]] = []
            self.losses: dict[int, float] = {}

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._note(0)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._note(state.global_step)
            if state.global_step == 1:
                self._write(args)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                self.losses[state.global_step] = float(logs["loss"])

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._write(args)

        def _note(self, step: int) -> None:
            self.steps.append({"step": step, "time": time.time(), "cpu": cpu_seconds()})

        def _write(self, args: Any) -> None:
            written = {
                "process_started": started(os.getpid()),
                "parent_started": started(os.getppid()),
                "steps": self.steps,
                "losses": self.losses,
                "peak_memory_kib": peak_memory_kib(),
                "threads": trainer_module.torch.get_num_threads(),
                "optimizer": str(getattr(args.optim, "value", args.optim)),
                "activation_checkpointing": bool(args.gradient_checkpointing),
            }
            temporary = path.with_name(path.name + ".part")
            temporary.write_text(json.dumps(written), encoding="utf-8")
            temporary.replace(path)

    trainer_module.DEFAULT_CALLBACKS.append(StepClock)


if CLOCK_VARIABLE in os.environ:
    sys.meta_path.insert(0, _ClockedTrainer(Path(os.environ[CLOCK_VARIABLE])))
