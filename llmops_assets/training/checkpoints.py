"""Resumable checkpoints: which are whole, which belong to this job, and which may go."""

import json
import os
import shutil
from pathlib import Path

import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmops_assets.training.adapter_files import write_atomically

MARKER = "complete.json"
_PREFIX = "checkpoint-"


class CheckpointKeeper(TrainerCallback):
    """Marks each checkpoint when every rank has written its part, and deletes those beyond the newest `keep`.

    The trainer's own rotation deletes before the new checkpoint is known to be whole, so it stays off.
    """

    def __init__(self, fingerprint: str, keep: int) -> None:
        self._fingerprint = fingerprint
        self._keep = keep

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Write the marker, then prune; rank 0 does both."""
        if dist.is_available() and dist.is_initialized():
            dist.barrier()
        if state.is_world_process_zero:
            folder = Path(args.output_dir)  # type: ignore[arg-type]
            mark_complete(folder / f"{_PREFIX}{state.global_step}", self._fingerprint)
            prune(folder, self._fingerprint, self._keep)
        return control


def mark_complete(checkpoint: Path, fingerprint: str) -> None:
    """Record that `checkpoint` is whole: flush its files, then write their sizes and the job's fingerprint."""
    sizes = {}
    for file in _files(checkpoint):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sizes[str(file.relative_to(checkpoint))] = file.stat().st_size
    marker = {"fingerprint": fingerprint, "sizes": sizes}
    write_atomically(checkpoint / MARKER, json.dumps(marker, sort_keys=True).encode("utf-8"))


def latest_complete(folder: Path, fingerprint: str) -> Path | None:
    """Return the newest checkpoint in `folder` that is whole and was written by the job `fingerprint`, or None."""
    whole = [checkpoint for checkpoint in _by_step(folder) if is_complete(checkpoint, fingerprint)]
    return whole[-1] if whole else None


def is_complete(checkpoint: Path, fingerprint: str) -> bool:
    """Return whether every file that the marker names is there in full, and the marker is of this job."""
    try:
        marker = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))
        sizes = {name: (checkpoint / name).stat().st_size for name in marker["sizes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False  # no marker, or one that a crash cut: not whole
    return marker.get("fingerprint") == fingerprint and sizes == marker["sizes"]


def prune(folder: Path, fingerprint: str, keep: int) -> None:
    """Delete all whole checkpoints of the job but the newest `keep`, and torn ones older than the newest whole one."""
    checkpoints = _by_step(folder)
    whole = [checkpoint for checkpoint in checkpoints if is_complete(checkpoint, fingerprint)]
    if not whole:
        return
    kept = set(whole[-keep:])
    for checkpoint in checkpoints[: checkpoints.index(whole[-1])]:
        if checkpoint not in kept:
            shutil.rmtree(checkpoint)


def step_of(checkpoint: Path) -> int:
    """Return the optimizer step of a checkpoint folder."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def _by_step(folder: Path) -> list[Path]:
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.is_dir() and path.name[len(_PREFIX) :].isdigit()]
    return sorted(found, key=step_of)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARKER)
