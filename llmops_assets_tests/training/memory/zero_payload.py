"""Run under torchrun: trains a tiny LoRA for one step under ZeRO 1, 2 and 3 and prints the bytes that rank 0 holds."""

import json
import os
from typing import Any

import deepspeed
import deepspeed.ops
import torch

from llmops_assets.training.process import leave_process_group
from llmops_assets_tests.training.memory.models import model, sft, with_lora


def main() -> None:
    for name in deepspeed.ops.__compatible_ops__:
        deepspeed.ops.__compatible_ops__[name] = False
    deepspeed.init_distributed("gloo", auto_mpi_discovery=False, verbose=False)
    found = {f"zero{stage}": measure(stage) for stage in (1, 2, 3)}
    if os.environ["RANK"] == "0":
        print("\n" + json.dumps(found), flush=True)
    leave_process_group()


def measure(stage: int) -> dict[str, float]:
    torch.manual_seed(0)
    wrapped = with_lora(model(hidden_size=64, dtype=torch.bfloat16), sft(lora_r=16), fp32=False)
    trained = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    zero = {"stage": stage, "overlap_comm": False, "reduce_bucket_size": 4096}
    # What "auto" makes of a hidden size of 64.
    zero |= {"stage3_param_persistence_threshold": 640} if stage == 3 else {}
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": zero,
        "bf16": {"enabled": True},
        "zero_allow_untested_optimizer": True,
    }
    initialize: Any = deepspeed.initialize
    engine, optimizer, _, _ = initialize(
        model=wrapped, optimizer=torch.optim.AdamW(trained), model_parameters=trained, config=config
    )
    loss = engine(input_ids=torch.ones(1, 4, dtype=torch.long)).logits.float().mean()
    engine.backward(loss)
    engine.step()
    masters = optimizer.fp32_partitioned_groups_flat if stage == 3 else optimizer.single_partition_of_fp32_groups
    states = optimizer.optimizer.state.values()
    local = {id(p): _local_bytes(p) for p in wrapped.parameters()}
    lora = sum(local[id(p)] for p in trained)
    return {
        "masters": sum(master.nbytes for master in masters),
        "moments": sum(state[key].nbytes for state in states for key in ("exp_avg", "exp_avg_sq")),
        "lora": lora,
        "base": sum(local.values()) - lora,
    }


def _local_bytes(parameter: torch.nn.Parameter) -> int:
    shard = getattr(parameter, "ds_tensor", None)
    if shard is None:
        return parameter.nbytes
    whole = getattr(parameter, "ds_numel", 0) * shard.element_size()
    return whole if getattr(parameter, "ds_persist", False) else shard.nbytes


if __name__ == "__main__":
    main()
