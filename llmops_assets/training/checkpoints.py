"""Resumable checkpoints: which are whole, which belong to this job, who wrote them, and which may go."""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmops_assets.training.adapter_files import write_atomically
from llmops_assets.training.digests import file_sha256

MARKER = "complete.json"
CONVERSION_PREFIX = "universal-"
_PREFIX = "checkpoint-"

WorldSizes = dict[int, int]
"""Number of ranks by the step from which on they trained, e.g. {0: 2, 50: 1}: two ranks, and from step 50 on one."""


class CheckpointKeeper(TrainerCallback):
    """Marks each checkpoint when every rank has written its part, and deletes those beyond the newest `keep`.

    `seconds` is how long the attempts before this one trained, up to the checkpoint that is resumed from.
    The trainer's own rotation deletes before the new checkpoint is known to be whole, so it stays off.
    """

    def __init__(self, fingerprint: str, keep: int, world_sizes: WorldSizes, seconds: float = 0.0) -> None:
        self._fingerprint = fingerprint
        self._keep = keep
        self._world_sizes = world_sizes
        self._began = time.monotonic() - seconds

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Skip the checkpoint after the last step: the trainer would resume from it with one step too many."""
        if state.global_step >= state.max_steps:
            control.should_save = False
        return control

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Write the marker, then prune; rank 0 does both."""
        if dist.is_available() and dist.is_initialized():
            dist.barrier()
        if state.is_world_process_zero:
            folder = Path(args.output_dir)  # type: ignore[arg-type]
            seconds = time.monotonic() - self._began
            mark_complete(folder / f"{_PREFIX}{state.global_step}", self._fingerprint, self._world_sizes, seconds)
            prune(folder, self._fingerprint, self._keep)
        return control


def mark_complete(checkpoint: Path, fingerprint: str, world_sizes: WorldSizes, seconds: float = 0.0) -> None:
    """Record that `checkpoint` is whole: flush its files, then write their sha256, the job, the ranks and the seconds
    of training so far."""
    files = {str(file.relative_to(checkpoint)): _flushed_sha256(file) for file in _files(checkpoint)}
    marker = {"fingerprint": fingerprint, "world_sizes": world_sizes, "train_seconds": seconds, "files": files}
    write_atomically(checkpoint / MARKER, json.dumps(marker, sort_keys=True).encode("utf-8"))


def latest_complete(folder: Path, fingerprint: str) -> Path | None:
    """Return the newest checkpoint in `folder` that is whole and was written by the job `fingerprint`, or None."""
    return next((found for found in reversed(all_checkpoints(folder)) if is_complete(found, fingerprint)), None)


def is_complete(checkpoint: Path, fingerprint: str) -> bool:
    """Return whether the marker is of this job and every file that it names has the bytes that were written."""
    marker = _marker(checkpoint, fingerprint)
    if marker is None:
        return False
    try:
        return all(file_sha256(checkpoint / name) == sha256 for name, sha256 in marker["files"].items())
    except OSError:
        return False  # a file is missing, or lies on a bad sector


def world_sizes_of(checkpoint: Path) -> WorldSizes:
    """Return who trained up to a whole checkpoint; the last entry is the number of ranks that wrote it."""
    marker = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))
    return {int(step): ranks for step, ranks in marker["world_sizes"].items()}


def seconds_of(checkpoint: Path) -> float:
    """Return how long the attempts up to a whole checkpoint trained."""
    marker = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))
    return float(marker.get("train_seconds", 0.0))


def prune(folder: Path, fingerprint: str, keep: int) -> None:
    """Delete all checkpoints of the job but the newest `keep`, torn ones before the newest, and all conversions.

    Called when a checkpoint has just been marked: it is the newest, it is whole, and it always stays. For the older
    ones a marker is enough here; their bytes are compared when one of them is resumed from.
    """
    checkpoints = all_checkpoints(folder)
    marked = [checkpoint for checkpoint in checkpoints if _marker(checkpoint, fingerprint) is not None]
    if not marked:
        return
    kept = set(marked[-keep:])
    for checkpoint in checkpoints[: checkpoints.index(marked[-1])]:
        if checkpoint not in kept:
            shutil.rmtree(checkpoint)
    for conversion in folder.glob(f"{CONVERSION_PREFIX}*"):
        shutil.rmtree(conversion)


def discard_torn(folder: Path, newest_whole: Path | None, *, in_emergency: bool = False) -> None:
    """Delete the checkpoints after `newest_whole` (all without one), and every conversion.

    None of them can be resumed from. A later checkpoint of the same step would be written into the same folder, and
    take over what other ranks left there; and on a full disk they are what can be given back. `in_emergency` leaves
    what cannot be deleted because another rank writes, or deletes, there.
    """
    oldest_kept = step_of(newest_whole) if newest_whole is not None else -1
    for checkpoint in all_checkpoints(folder):
        if step_of(checkpoint) > oldest_kept:
            shutil.rmtree(checkpoint, ignore_errors=in_emergency)
    for conversion in folder.glob(f"{CONVERSION_PREFIX}*"):
        shutil.rmtree(conversion, ignore_errors=in_emergency)


def step_of(checkpoint: Path) -> int:
    """Return the optimizer step of a checkpoint folder."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def all_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint folders in `folder`, torn ones included, by step."""
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.is_dir() and path.name[len(_PREFIX) :].isdigit()]
    return sorted(found, key=step_of)


def _marker(checkpoint: Path, fingerprint: str) -> dict[str, Any] | None:
    try:
        marker = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # the run ended before the marker was written, or a crash cut it
    known = isinstance(marker, dict) and {"fingerprint", "world_sizes", "files"} <= marker.keys()
    return marker if known and marker["fingerprint"] == fingerprint else None


def _flushed_sha256(file: Path) -> str:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARKER)
