"""The NVIDIA GPUs that a process started here would see, with their memory; found without importing torch."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from llmops_assets.errors import LlmopsError

_FIELDS = "index,uuid,name,memory.total,memory.free"
_MIB = 1024**2
_TIMEOUT = 30.0


class GpuQueryFailed(LlmopsError):
    """nvidia-smi is installed, but does not say which GPUs there are."""


@dataclass(frozen=True)
class Gpu:
    """One visible GPU.

    Attributes:
        name: As CUDA_VISIBLE_DEVICES names it (index or UUID), with the product's name.
        total: Memory in bytes; None for a MIG slice, whose size nvidia-smi does not tell in this query.
        free: Bytes that no process holds now; None as for `total`.
    """

    name: str
    total: int | None
    free: int | None


def visible_gpus(environment: Mapping[str, str] | None = None) -> list[Gpu]:
    """Return the GPUs that a process with `environment` (default: this process's) sees, in its order.

    CUDA_VISIBLE_DEVICES holds indices or UUIDs (whole, or a unique beginning); as in CUDA, the first entry that is
    unknown ends the list. Indices are nvidia-smi's, which are CUDA's where all GPUs are alike. Without nvidia-smi the
    list is empty.

    Raises GpuQueryFailed.
    """
    environment = os.environ if environment is None else environment
    program = shutil.which("nvidia-smi", path=environment.get("PATH"))
    wanted = environment.get("CUDA_VISIBLE_DEVICES")
    if program is None or (wanted is not None and not wanted.strip()):
        return []
    installed = _query(program, environment)
    if wanted is None:
        return [gpu for _, _, gpu in installed]
    visible: list[Gpu] = []
    for entry in (part.strip() for part in wanted.split(",")):
        if entry.startswith("MIG-"):
            visible.append(Gpu(name=entry, total=None, free=None))
            continue
        gpu = _find(installed, entry)
        if gpu is None:
            break
        visible.append(gpu)
    return visible


def _find(installed: list[tuple[str, str, Gpu]], entry: str) -> Gpu | None:
    by_uuid = [gpu for _, uuid, gpu in installed if entry.startswith("GPU-") and uuid.startswith(entry)]
    by_index = [gpu for index, _, gpu in installed if index == entry]
    found = by_index or by_uuid
    return found[0] if len(found) == 1 else None


def _query(program: str, environment: Mapping[str, str]) -> list[tuple[str, str, Gpu]]:
    command = [program, f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GpuQueryFailed(f"{program} did not answer ({error}); check the NVIDIA driver of this machine") from error
    if done.returncode == 6 or "No devices were found" in done.stdout:
        return []
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise GpuQueryFailed(
            f"{program} failed with code {done.returncode} ({said[0] if said else 'no output'}); check the NVIDIA "
            "driver of this machine"
        )
    return [_gpu(program, line) for line in done.stdout.splitlines() if line.strip()]


def _gpu(program: str, line: str) -> tuple[str, str, Gpu]:
    """Read one line such as `0, GPU-8f6a..., NVIDIA A10G, 23028, 22515`; sizes are in MiB."""
    parts = [part.strip() for part in line.split(",")]
    if len(parts) != len(_FIELDS.split(",")):
        raise GpuQueryFailed(f"{program} printed {line!r}, which is not {_FIELDS}; update the NVIDIA driver")
    index, uuid, name, *sizes = parts
    # Some devices answer "[N/A]" or "[Not Supported]": their memory is the host's.
    total, free = (int(size) * _MIB if size.isdigit() else None for size in sizes)
    return index, uuid, Gpu(name=f"GPU {index} ({name})", total=total, free=free)
