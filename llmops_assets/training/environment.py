"""What a run was made with: versions, hardware, threads and seed, for the run card."""

import importlib.metadata
import os
import platform
from pathlib import Path

import psutil
import torch

from llmops_assets.training.process import available_cores
from llmops_assets.training.specs import StageSpec

_PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "deepspeed",
    "datasets",
    "tokenizers",
    "safetensors",
)


def run_environment(spec: StageSpec) -> dict[str, str | int | float | bool | None]:
    """Return package versions, platform, processor or GPU, cores, threads, ranks, memory in GiB, and the seed."""
    on_gpu = torch.cuda.is_available()
    versions: dict[str, str | int | float | bool | None] = {
        f"package.{name}": importlib.metadata.version(name) for name in _PACKAGES
    }
    return versions | {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": available_cores(),
        "threads_per_rank": torch.get_num_threads(),
        "ranks": spec.num_processes,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if on_gpu else None,
        "gpus": torch.cuda.device_count() if on_gpu else 0,
        "cuda": torch.version.cuda,
        "hub_offline": os.environ.get("HF_HUB_OFFLINE") == "1",
        "seed": spec.seed,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
