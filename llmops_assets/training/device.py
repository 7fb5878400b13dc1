"""Whether a rank has the GPU that its spec asks for; asked before anything is loaded onto it."""

import os

import torch

from llmops_assets.errors import LlmopsError
from llmops_assets.training.specs import StageSpec


class NotEnoughGpus(LlmopsError):
    """The ranks on this machine outnumber the GPUs that torch sees."""


def trains_on_gpu(spec: StageSpec) -> bool:
    """Return whether this rank trains on a GPU; `device: cpu` has hidden them all before torch was imported.

    Raises NotEnoughGpus: two ranks on one GPU would deadlock in NCCL, and `device: gpu` must not train on a CPU.
    """
    visible = torch.cuda.device_count()
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if visible < ranks and (visible or spec.device == "gpu"):
        raise NotEnoughGpus(
            f"device: {spec.device} with {ranks} ranks on this machine needs {ranks} GPUs, torch {torch.__version__} "
            f"sees {visible} (CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '')!r}); lower "
            "num_processes and raise gradient_accumulation by the same factor, or set device: cpu"
        )
    return visible > 0
