"""Bytes of weights, LoRA, gradients and optimizer against what bitsandbytes, PEFT, torch and DeepSpeed allocate."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from llmops_assets.training.memory import parameters
from llmops_assets.training.memory.parameters import (
    REDUCE_BUCKET,
    base_bytes,
    lora_parameters,
    quantized_bytes,
    sharded_base_bytes,
    trainable_state,
)
from llmops_assets.training.memory.shapes import Linear
from llmops_assets.training.specs import KtoSpec

from .models import dpo, model, sft, shape, with_lora

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_base_weights_are_those_of_the_real_model(precision: str) -> None:
    real = model(dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[precision])
    assert sum(base_bytes(shape(), sft(precision=precision))) == sum(p.nbytes for p in real.parameters())


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["o_proj", "down_proj"], sft().lora_targets])
def test_lora_count_is_that_of_peft(targets: list[str]) -> None:
    spec = sft(lora_r=5, lora_targets=targets)
    real = with_lora(model(), spec)
    assert lora_parameters(shape(), spec) == sum(p.numel() for p in real.parameters() if p.requires_grad)


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_quantised_weights_are_those_of_bitsandbytes(quantization: str) -> None:
    nn = pytest.importorskip("bitsandbytes.nn", reason="bitsandbytes is not installed")
    layer = Linear(inputs=256, outputs=192)
    plain = torch.nn.Linear(256, 192, bias=False)
    if quantization == "8bit":
        real = nn.Linear8bitLt(256, 192, bias=False, has_fp16_weights=False)
        real.weight = nn.Int8Params(plain.weight.data, requires_grad=False, has_fp16_weights=False).to("cpu")
        extra = real.weight.SCB.nbytes
    else:
        weight = nn.Params4bit(plain.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True)
        real = nn.Linear4bit(256, 192, bias=False)
        real.weight = weight.to("cpu")
        state = real.weight.quant_state
        tables = (state.absmax, state.code, state.state2.absmax, state.state2.code, state.offset)
        extra = sum(table.nbytes for table in tables)
    assert quantized_bytes(layer, quantization, 2) == real.weight.nbytes + extra


def test_plain_training_state_is_that_of_torch() -> None:
    spec = sft(backend="plain", precision="bf16")
    real = with_lora(model(dtype=torch.bfloat16), spec)
    trained = [p for p in real.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    real(input_ids=torch.ones(1, 4, dtype=torch.long)).logits.float().sum().backward()
    optimizer.step()
    moments = sum(state[key].nbytes for state in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq"))
    gradients = sum(p.grad.nbytes for p in trained if p.grad is not None)
    state = trainable_state(shape(), spec)
    assert (state.weights, state.gradients, state.moments) == (sum(p.nbytes for p in trained), gradients, moments)
    assert state.masters == 0


@pytest.fixture(scope="module")
def measured_under_zero() -> dict[str, dict[str, float]]:
    """What rank 0 of two holds under ZeRO 1, 2 and 3 after one step in bfloat16."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    done = subprocess.run(
        [*command, "llmops_assets_tests.training.memory.zero_payload"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"zero1"')))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["zero1", "zero2", "zero3"])
def test_sharded_state_is_that_of_deepspeed_on_two_ranks(
    measured_under_zero: dict[str, dict[str, float]], backend: str
) -> None:
    real = measured_under_zero[backend]
    spec = sft(backend=backend, num_processes=2, precision="bf16", lora_r=16)
    wide = shape(hidden_size=64)
    state = trainable_state(wide, spec)
    # DeepSpeed pads every partition to a few elements.
    assert real["masters"] == pytest.approx(state.masters, rel=0.01)
    assert real["moments"] == pytest.approx(state.moments, rel=0.01)
    assert real["lora"] == pytest.approx(state.weights, rel=0.01)
    assert real["base"] == pytest.approx(sum(sharded_base_bytes(wide, spec)), rel=0.01)


def test_more_ranks_divide_what_the_stage_shards_and_nothing_else() -> None:
    def states(backend: str, ranks: int) -> tuple[float, float, float]:
        # At this rank no matrix is small enough for ZeRO-3 to leave it whole.
        state = trainable_state(shape(), sft(backend=backend, num_processes=ranks, lora_r=32))
        return state.weights, state.gradients, state.moments

    for backend, shards in {"zero1": (1, 1, 4), "zero2": (1, 4, 4), "zero3": (4, 4, 4), "ddp": (1, 1, 1)}.items():
        alone, together = states(backend, 1), states(backend, 4)
        assert tuple(a / t for a, t in zip(alone, together, strict=True)) == shards


def test_reference_adapter_is_a_second_lora_of_kto_only() -> None:
    def kto(**settings: Any) -> KtoSpec:
        return KtoSpec.model_validate({"max_steps": 1, "learning_rate": 0.1, **settings})

    reference = parameters.reference_bytes
    assert reference(shape(), sft()) == reference(shape(), dpo()) == 0
    assert reference(shape(), kto(backend="plain")) == 4 * lora_parameters(shape(), kto())
    wide = kto(backend="zero3", num_processes=2, lora_r=32)
    assert reference(shape(), wide) == lora_parameters(shape(), wide)


@pytest.mark.parametrize("backend", ["zero1", "zero2"])
def test_reduce_bucket_is_that_of_the_shipped_configuration(backend: str) -> None:
    config = json.loads((REPOSITORY / "configs" / "deepspeed" / f"{backend}.json").read_text(encoding="utf-8"))
    assert config["zero_optimization"]["reduce_bucket_size"] == REDUCE_BUCKET
