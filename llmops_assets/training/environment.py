"""What a run was made with: versions, source, hardware, arithmetic and seed, for the run card; and what it used."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import psutil
import torch
from torch.cuda import nccl

from llmops_assets.training.process import available_cores, threads_per_rank
from llmops_assets.training.specs import StageSpec

Facts = dict[str, str | int | float | bool | None]

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
    "numpy",
)
# Not every machine has them; those that do may compute with them.
_OPTIONAL_PACKAGES = ("llmops_assets", "bitsandbytes", "kernels", "flash_attn", "triton")
# Variables that change what is computed, or in which order sums are taken.
_ARITHMETIC_VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "FLASH_ATTENTION_DETERMINISTIC",
    "NCCL_ALGO",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
)
_SOURCE = Path(__file__).resolve().parents[2]


def run_environment(spec: StageSpec) -> Facts:
    """Return what a run needs to be repeated beside its spec and inputs; no secrets, no names of people or machines.

    Package versions, the commit of the source, Python and platform, processor, cores, threads, ranks, memory in GiB,
    GPUs with their driver and libraries, settings that change the arithmetic, and the seed.
    """
    packages: Facts = {f"package.{name}": importlib.metadata.version(name) for name in _PACKAGES}
    optional: Facts = {f"package.{name}": _version_if_installed(name) for name in _OPTIONAL_PACKAGES}
    arithmetic: Facts = {f"variable.{name}": os.environ[name] for name in _ARITHMETIC_VARIABLES if name in os.environ}
    return (
        packages
        | optional
        | _source()
        | _gpus()
        | arithmetic
        | {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "processor": _processor(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "cores": available_cores(),
            "threads_per_rank": torch.get_num_threads(),
            "ranks": spec.num_processes,
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "hub_offline": os.environ.get("HF_HUB_OFFLINE") == "1",
            "seed": spec.seed,
        }
    )


def used_hours(spec: StageSpec, seconds: float, *, on_gpu: bool) -> dict[str, float]:
    """Return `gpu_hours` and `cpu_hours`: hours of training times the GPUs, or the CPU threads, that it held.

    Each rank holds one GPU; a run on CPUs used none.
    """
    hours = seconds / 3600
    return {
        "gpu_hours": spec.num_processes * hours if on_gpu else 0.0,
        "cpu_hours": spec.num_processes * threads_per_rank(spec) * hours,
    }


def _version_if_installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _source() -> Facts:
    """The commit that the code was at, and whether tracked files differed from it; None outside a working copy."""
    if not (_SOURCE / ".git").exists():
        return {"git.commit": None, "git.changed": None}
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return {"git.commit": commit, "git.changed": None if changes is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(_SOURCE), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None  # no git here, or the copy belongs to another account
    return done.stdout.strip()


def _gpus() -> Facts:
    if not torch.cuda.is_available():
        return {"gpus": 0, "gpu": None, "cuda": torch.version.cuda}
    count = torch.cuda.device_count()
    capability = ".".join(map(str, torch.cuda.get_device_capability()))
    return {
        "gpus": count,
        "gpu": torch.cuda.get_device_name(),
        "gpu.names": ", ".join(torch.cuda.get_device_name(index) for index in range(count)),
        "gpu.memory_gib": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1),
        "gpu.compute_capability": capability,
        "gpu.driver": _driver(),
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "cudnn": torch.backends.cudnn.version(),
        "nccl": ".".join(map(str, nccl.version())),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }


def _driver() -> str | None:
    version = Path("/proc/driver/nvidia/version")
    if not version.is_file():
        return None
    return version.read_text(encoding="utf-8").splitlines()[0].removeprefix("NVRM version:").strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
