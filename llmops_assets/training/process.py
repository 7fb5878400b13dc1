"""The environment of a training process: ranks, threads and quiet libraries. Imports no torch; runs before it."""

import ctypes
import os
import socket
import sys
import time

from llmops_assets.errors import LlmopsError
from llmops_assets.training.specs import StageSpec

# mallopt(3)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_SECONDS_TO_DROP_TENSORS = 0.2
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class WrongWorldSize(LlmopsError):
    """The launcher started another number of processes than the spec asks for."""


def available_cores() -> int:
    """Return the number of cores that this process may use: its affinity, not the machine's size."""
    return len(os.sched_getaffinity(0))


def threads_per_rank(spec: StageSpec) -> int:
    """Return the CPU threads of each rank: the spec's number, else this machine's cores divided among its ranks."""
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", spec.num_processes))
    return spec.num_threads or max(1, available_cores() // ranks_here)


def is_main_rank() -> bool:
    """Return whether this is rank 0, the one that reports and writes."""
    return int(os.environ.get("RANK", "0")) == 0


def prepare_environment(spec: StageSpec) -> None:
    """Set the variables that torch, tokenizers, DeepSpeed and the hub client read when they are imported.

    Without a launcher, one rank is its own world. A `plain` run forgets torchrun's variables: accelerate would wrap its
    model in DistributedDataParallel.

    Raises WrongWorldSize.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size != spec.num_processes:
        raise WrongWorldSize(
            f"num_processes: {spec.num_processes}, but {world_size} processes were started; "
            f"start the worker with torchrun --nproc_per_node {spec.num_processes}"
        )
    if spec.backend == "plain":
        for name in _RANK_VARIABLES:
            os.environ.pop(name, None)
    elif "RANK" not in os.environ:
        alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
        os.environ.update(alone | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())})
    threads = str(threads_per_rank(spec))
    if spec.device == "cpu":
        hide_gpus()
    # Threads that spin while they wait cost a shared machine more than they gain: 8 s instead of 77 s were measured for
    # 150 answers of a 4 M model beside one busy process.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.update({"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"})
    os.environ.update({"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"})
    os.environ.update({"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"})
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks of up to 32 MiB for the next one instead of giving them back to the system.

    A training step frees and takes the same activations each time. Handed back, each page of them is faulted in and
    zeroed anew: about a tenth of the CPU time of a small model's step. Does nothing under another C library.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the largest that it takes
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def hide_gpus() -> None:
    """Let this process see no GPU: what `device: cpu` asks for."""
    os.environ.update({"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""})


def leave_process_group() -> None:
    """Close torch's process group, if one is open; without that, some two-rank runs abort at exit.

    Gloo's destructor waits for its threads and holds the GIL meanwhile; a thread that has a tensor of Python's to drop
    waits for the GIL. Right after a collective that is a deadlock, so the threads are first given time to finish.
    """
    if (torch := sys.modules.get("torch")) is None:
        return
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        time.sleep(_SECONDS_TO_DROP_TENSORS)
        distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
