"""Where a run begins: the newest whole checkpoint, agreed on by all ranks and fitted to their number."""

from dataclasses import dataclass
from pathlib import Path

import torch.distributed as dist

from llmops_assets.errors import LlmopsError
from llmops_assets.training.checkpoints import (
    WorldSizes,
    all_checkpoints,
    discard_torn,
    latest_complete,
    seconds_of,
    step_of,
    world_sizes_of,
)
from llmops_assets.training.disk_space import set_room_aside
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.process import is_main_rank
from llmops_assets.training.universal_checkpoint import convert_to_universal, loading_universal, universal_folder


class RanksDisagree(LlmopsError):
    """The ranks of one run see different checkpoints."""


@dataclass(frozen=True)
class ResumePoint:
    """What is there to resume from.

    Attributes:
        checkpoint: The newest whole checkpoint, or None for a run from the start.
        written_by: Number of ranks that wrote it.
        torn: Steps of newer checkpoints that are not whole, oldest first; they are skipped.
        world_sizes: Ranks by first step, the ones of this run included.
        seconds: How long training took up to the checkpoint.
    """

    checkpoint: Path | None
    written_by: int | None
    torn: tuple[int, ...]
    world_sizes: WorldSizes
    seconds: float = 0.0

    @property
    def step(self) -> int | None:
        """Optimizer steps that need not run again; None for a run from the start."""
        return step_of(self.checkpoint) if self.checkpoint is not None else None


def find_resume_point(job: TrainingJob) -> ResumePoint:
    """Look for the newest whole checkpoint of `job`; reads and compares its bytes, changes nothing."""
    ranks = job.spec.num_processes
    steps = tuple(map(step_of, all_checkpoints(job.checkpoint_dir)))
    found = latest_complete(job.checkpoint_dir, job.fingerprint)
    if found is None:
        return ResumePoint(None, None, torn=steps, world_sizes={0: ranks})
    so_far = world_sizes_of(found)
    written_by = so_far[max(so_far)]
    step = step_of(found)
    return ResumePoint(
        found,
        written_by,
        torn=tuple(torn for torn in steps if torn > step),
        world_sizes=so_far if written_by == ranks else so_far | {step: ranks},
        seconds=seconds_of(found),
    )


def fitted(job: TrainingJob, point: ResumePoint) -> TrainingJob:
    """Return `job` with an engine that can load `point`; must come before the trainer's arguments are made."""
    if not _needs_conversion(job, point):
        return job
    return job.model_copy(update={"deepspeed_config": loading_universal(job.deepspeed_config)})


def prepare_resume(job: TrainingJob, point: ResumePoint) -> Path | None:
    """Return the folder that the trainer resumes from, or None. Every rank calls this, when they can talk.

    Rank 0 deletes torn checkpoints and, for ZeRO on another number of ranks, converts; the others wait for it.

    Raises RanksDisagree and UnconvertibleCheckpoint.
    """
    _require_agreement(job, point)
    if is_main_rank():
        discard_torn(job.checkpoint_dir, point.checkpoint)
        set_room_aside(job.checkpoint_dir)
        if point.checkpoint is not None and _needs_conversion(job, point):
            convert_to_universal(point.checkpoint)
    if _in_company():
        dist.barrier()
    if point.checkpoint is not None and _needs_conversion(job, point):
        return universal_folder(point.checkpoint)
    return point.checkpoint


def beginning(job: TrainingJob, point: ResumePoint) -> str:
    """Return how the run begins, for its headline, e.g. `resumed from step 50, which 2 ranks wrote`."""
    torn = ", ".join(map(str, point.torn))
    if point.checkpoint is None:
        return f"from the start, as no checkpoint is whole (torn: step {torn})" if torn else "from the start"
    notes = [f"resumed from step {point.step}"]
    if torn:
        notes.append(f"as that of step {torn} is torn")
    if point.written_by != job.spec.num_processes:
        notes.append(f"which {point.written_by} ranks wrote" if point.written_by != 1 else "which 1 rank wrote")
        if job.spec.lora_dropout:
            notes.append("dropout will differ from that of an uninterrupted run")
    return ", ".join(notes)


def _needs_conversion(job: TrainingJob, point: ResumePoint) -> bool:
    """Plain and DDP checkpoints hold the optimizer whole: every number of ranks loads them as they are."""
    return job.spec.backend.startswith("zero") and point.written_by not in (None, job.spec.num_processes)


def _require_agreement(job: TrainingJob, point: ResumePoint) -> None:
    if not _in_company():
        return
    steps: list[int | None] = [None] * dist.get_world_size()
    dist.all_gather_object(steps, point.step)
    if len(set(steps)) > 1:
        raise RanksDisagree(
            f"{job.checkpoint_dir}: the ranks see different checkpoints (steps {steps}, in rank order); put the "
            "folder on storage that all machines of the run share, and start again"
        )


def _in_company() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
