"""`torchrun -m`: two ranks gather what they trained, keep the best of it and judge it; each writes what it is left."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import TrainerState

from llmops_assets.training.control.early_stop import BestWeights, EarlyStop
from llmops_assets.training.deepspeed_engine import trained_tensors
from llmops_assets.training.process import leave_process_group
from llmops_assets.training.run import TrainingDiverged, _require_learning
from llmops_assets_tests.training.control.tiny_run import tiny_job

EVALUATIONS: list[dict[str, float]] = [{"eval_loss": 1.0, "step": 2}, {"eval_loss": 2.0, "step": 4}]


def main(folder: Path) -> None:
    torch.distributed.init_process_group("gloo")
    trainer: Any = SimpleNamespace(model=torch.nn.Linear(3, 2))
    kept = BestWeights(folder, lambda: trained_tensors(trainer, "ddp", main_rank_only=True))
    kept.keep(2)
    torch.distributed.barrier()
    spec = {"eval_every": 2, "early_stop_evaluations": 1, "validation_share": 0.2, "finetuning": "full"}
    job = tiny_job(folder, backend="ddp", num_processes=2, **spec)
    published = EarlyStop(job.spec, kept).published(TrainerState(global_step=4, log_history=EVALUATIONS))
    assert published is not None
    gathered = trained_tensors(trainer, "ddp", main_rank_only=True)
    left: dict[str, Any] = {
        "everywhere": sorted(trained_tensors(trainer, "ddp")),
        "gathered": sorted(gathered),
        "published": sorted(published),
    }
    _require_learning(gathered, job)
    try:
        _require_learning({name: torch.zeros_like(tensor) for name, tensor in gathered.items()}, job)
    except TrainingDiverged as error:
        left["error"] = str(error)
    (folder / f"rank-{os.environ['RANK']}.json").write_text(json.dumps(left))
    # A rank that still waits for the other would never come here.
    torch.distributed.barrier()
    leave_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
