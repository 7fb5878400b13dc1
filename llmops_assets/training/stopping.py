"""Stopping a run at a step boundary: every rank agrees, a checkpoint is written, and the run can be resumed."""

import signal
from types import FrameType

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

STOPPED_EXIT_CODE = 128 + signal.SIGTERM


class StopAtStepBoundary(TrainerCallback):
    """Turns SIGTERM and SIGINT into a checkpoint and an orderly end after the step in progress.

    The signal may reach the ranks at different moments, or only some of them: they agree after each step, so that all
    write the same checkpoint. Use as a context manager around `trainer.train`; outside of it a signal ends the process.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._asked = False
        self._previous: dict[int, signal.Handlers] = {}

    def __enter__(self) -> "StopAtStepBoundary":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.getsignal(number)  # type: ignore[assignment]
            signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Stop after this step if any rank was asked to; a run that has just ended is not stopped."""
        if self._any_rank_asked(args) and state.global_step < state.max_steps:
            self.stopped = True
            control.should_save = True
            control.should_training_stop = True
        return control

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def _any_rank_asked(self, args: TrainingArguments) -> bool:
        if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return self._asked
        flag = torch.tensor(int(self._asked), device=args.device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag.item())
