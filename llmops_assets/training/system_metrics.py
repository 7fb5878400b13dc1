"""How busy the machine is while a run trains, sampled beside it under the names that MLflow's page knows."""

import contextlib
import threading
from collections.abc import Callable

import psutil
import torch

from llmops_assets.training.tracking import Tracker

_SECONDS_BETWEEN_SAMPLES = 10.0


class SystemMetrics:
    """Samples processor, memory and this run's GPUs on the machine of rank 0; use as a context manager.

    A sample is a few system calls every ten seconds. MLflow's own monitor asks its server for the run each time, which
    holds up the end of a training while the server is away, and it samples the GPUs of other runs too.
    """

    def __init__(self, tracker: Tracker, *, seconds: float = _SECONDS_BETWEEN_SAMPLES) -> None:
        self._tracker = tracker
        self._seconds = seconds
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._run, name="system-metrics", daemon=True)

    def __enter__(self) -> "SystemMetrics":
        psutil.cpu_percent()  # the next call tells the mean since this one
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._sampler.join(self._seconds)

    def _run(self) -> None:
        number = 0
        while not self._ended.wait(self._seconds):
            self._tracker.log(number, sample())
            number += 1


def sample() -> dict[str, float]:
    """Return the processor's load in percent since the last sample, memory and each used GPU, as `system/...`."""
    memory = psutil.virtual_memory()
    figures = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": memory.used / 1e6,
        "system/system_memory_usage_percentage": memory.percent,
        "system/training_process_memory_megabytes": psutil.Process().memory_info().rss / 1e6,
    }
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            figures |= _gpu_sample(index)
    return figures


def _gpu_sample(index: int) -> dict[str, float]:
    """`index` counts the GPUs that this run sees; torch finds them among all of the machine."""
    total = torch.cuda.get_device_properties(index).total_memory
    readings: dict[str, Callable[[], float]] = {
        "memory_usage_megabytes": lambda: torch.cuda.device_memory_used(index) / 1e6,
        "memory_usage_percentage": lambda: 100 * torch.cuda.device_memory_used(index) / total,
        "utilization_percentage": lambda: torch.cuda.utilization(index),
        "power_usage_watts": lambda: torch.cuda.power_draw(index) / 1000,
    }
    figures = {}
    for name, read in readings.items():
        # Without nvidia-ml-py, on a slice of a GPU, or with a driver that does not tell: each has its own exception.
        with contextlib.suppress(Exception):
            figures[f"system/gpu_{index}_{name}"] = float(read())
    return figures
