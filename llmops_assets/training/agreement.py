"""What rank 0 alone can know, told to all ranks."""

from typing import TypeVar

import torch.distributed as dist

T = TypeVar("T")


def from_main_rank(value: T) -> T:
    """Return rank 0's `value` on every rank. All ranks call this; what the others give is not read."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return value
    told = [value]
    dist.broadcast_object_list(told, src=0)
    return told[0]
