"""Run under torchrun with an engine, a base and a folder: trains with each batching and prints rank 0's log."""

import json
import os
import sys
from pathlib import Path
from typing import get_args

import deepspeed
import deepspeed.ops
import torch

from llmops_assets.training.process import leave_process_group
from llmops_assets.training.speed.pair_batching import PairBatching, batch_pairs
from llmops_assets_tests.training.conftest import deepspeed_config
from llmops_assets_tests.training.speed.pairs import dpo_trainer, history, pairs


def main(engine: str, base: str, folder: str) -> None:
    torch.set_num_threads(1)
    if engine != "ddp":
        for name in deepspeed.ops.__compatible_ops__:
            deepspeed.ops.__compatible_ops__[name] = False
        deepspeed.init_distributed("gloo", auto_mpi_discovery=False, verbose=False)
    logs = {}
    for batching in get_args(PairBatching):
        settings = {"deepspeed": deepspeed_config(engine), "max_steps": 3, "ddp_find_unused_parameters": False}
        trainer = dpo_trainer(base, Path(folder), pairs(24), **settings)
        batch_pairs(trainer, batching)
        log = history(trainer)
        logs[batching] = {
            "engine": type(trainer.model_wrapped).__name__,
            "losses": [entry["loss"] for entry in log],
            "grad_norms": [entry["grad_norm"] for entry in log],
        }
    if os.environ["RANK"] == "0":
        print("\n" + json.dumps(logs), flush=True)
    leave_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
