"""`torchrun -m`: two ranks train; in step 3 the rows of rank 1 alone have no token to take a loss on."""

import os
import sys
from pathlib import Path

import torch

from llmops_assets.training.control.loss_watch import LossDiverged, LossWatch
from llmops_assets.training.process import leave_process_group
from llmops_assets_tests.training.control.tiny_run import rows, tiny_job, tiny_trainer


def main(folder: Path) -> None:
    # Batches go to the ranks in turn: 4 rows for rank 0, 4 for rank 1, and so on.
    poisoned = rows(1, 64, without_labels=tuple(range(20, 24)))
    trainer = tiny_trainer(
        folder,
        train=poisoned,
        average_tokens_across_devices=False,
        train_sampling_strategy="sequential",
        ddp_backend="gloo",
    )
    trainer.add_callback(LossWatch(trainer, tiny_job(folder, backend="ddp", num_processes=2)))
    try:
        trainer.train()
    except LossDiverged as error:
        (folder / f"rank-{os.environ['RANK']}").write_text(str(error))
    # A rank that is still in training would never come here.
    torch.distributed.barrier()
    leave_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
