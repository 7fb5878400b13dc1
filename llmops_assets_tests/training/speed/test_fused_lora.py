"""The fused LoRA layer against PEFT's own, in values, gradients, and in the losses of TRL's trainer."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn
from torch.distributed import FileStore, GradBucket  # pyright: ignore[reportPrivateImportUsage]
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.speed.fused_lora import fuse_lora

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CONFIG = Qwen2Config(
    vocab_size=97,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    pad_token_id=0,
)


def with_lora(model: nn.Module, **options: Any) -> PeftModel:
    config = LoraConfig(**({"r": 4, "lora_alpha": 6, "target_modules": TARGETS} | options))
    wrapped = get_peft_model(model, config)  # pyright: ignore[reportArgumentType]
    assert isinstance(wrapped, PeftModel)
    return learned(wrapped)


def learned(model: PeftModel) -> PeftModel:
    """Give every LoRA B values: a new one is zero, and would hide what A does."""
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = (torch.randn(parameter.shape, generator=generator) * 0.1).to(parameter.dtype)
    return model


@pytest.fixture
def decoder() -> PeftModel:
    torch.manual_seed(1)
    return with_lora(Qwen2ForCausalLM(CONFIG))


class Block(nn.Module):
    """One linear layer with a bias, under a name that LoRA targets."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(48, 64)

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        return self.q_proj(x, **kwargs)


def lora_layer(**options: Any) -> LoraLinear:
    torch.manual_seed(1)
    model = with_lora(Block(), target_modules=["q_proj"], **options)
    layer = model.get_submodule("base_model.model.q_proj")
    assert isinstance(layer, LoraLinear)
    return layer


def base_of(layer: LoraLinear) -> nn.Linear:
    base = layer.get_base_layer()
    assert isinstance(base, nn.Linear)
    return base


def fused(layer: LoraLinear) -> LoraLinear:
    other = copy.deepcopy(layer)
    assert fuse_lora(nn.ModuleList([other])) == 1  # pyright: ignore[reportArgumentType]
    return other


def is_fused(output: Tensor) -> bool:
    return "FusedLora" in type(output.grad_fn).__name__


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def loss_of(model: nn.Module) -> Tensor:
    ids = torch.arange(40).view(2, 20) % 97
    return model(input_ids=ids, labels=ids, use_cache=False).loss


def test_every_lora_of_the_decoder_is_fused(decoder: PeftModel) -> None:
    assert fuse_lora(decoder) == 2 * len(TARGETS)
    assert fuse_lora(decoder) == 0


def test_a_layer_gives_the_output_and_the_gradients_of_peft() -> None:
    plain = lora_layer()
    other = fused(plain)
    x = torch.randn(2, 9, 48, requires_grad=True)
    x2 = x.detach().clone().requires_grad_()
    weights = torch.randn(2, 9, 64)
    expected, found = plain(x), other(x2)
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    assert is_fused(found)
    assert not is_fused(expected)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(x2.grad, x.grad, rtol=1e-6, atol=1e-6)
    assert set(gradients(other)) == {"lora_A.default.weight", "lora_B.default.weight"}
    for name, gradient in gradients(plain).items():
        torch.testing.assert_close(gradients(other)[name], gradient, rtol=1e-5, atol=1e-5)


def test_bfloat16_under_autocast_is_no_further_from_the_exact_result_than_peft() -> None:
    plain = lora_layer()
    exact = copy.deepcopy(plain).double()
    rounded = base_of(plain).to(torch.bfloat16)
    base_of(exact).weight.data = rounded.weight.data.double()
    base_of(exact).bias.data = rounded.bias.data.double()
    x, weights = torch.randn(64, 48).bfloat16(), torch.randn(64, 64).bfloat16()

    def run(layer: LoraLinear, dtype: torch.dtype) -> dict[str, Tensor]:
        rows = x.to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            output = layer(rows)
        output.backward(weights.to(dtype))
        return {"output": output, "x": rows.grad, **gradients(layer)}  # pyright: ignore[reportReturnType]

    other = fused(plain)
    truth = run(exact, torch.float64)
    by_peft, by_us = run(plain, torch.bfloat16), run(other, torch.bfloat16)
    assert is_fused(by_us["output"])
    for name, value in truth.items():
        assert by_us[name].dtype == by_peft[name].dtype, name
        peft_error = (by_peft[name].double() - value).norm()
        assert (by_us[name].double() - value).norm() <= 1.05 * peft_error, name


def disabled(layer: LoraLinear) -> None:
    layer.enable_adapters(False)


def merged(layer: LoraLinear) -> None:
    layer.merge()


def second_active(layer: LoraLinear) -> None:
    torch.manual_seed(6)
    layer.update_layer("ref", 2, lora_alpha=4, config=LoraConfig(r=2, lora_alpha=4))
    nn.init.ones_(layer.lora_B["ref"].weight)  # pyright: ignore[reportArgumentType]
    layer.set_adapter(["default", "ref"])


def sharded(layer: LoraLinear) -> None:
    base_of(layer).weight.ds_id = 0  # pyright: ignore[reportAttributeAccessIssue]


def trained_bias(layer: LoraLinear) -> None:
    base_of(layer).bias.requires_grad_(True)


def bfloat16_base(layer: LoraLinear) -> None:
    layer.base_layer.to(torch.bfloat16)


def hooked(layer: LoraLinear) -> None:
    def tripled(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output * 3

    layer.lora_A["default"].register_forward_hook(tripled)


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (disabled, {}),
        (merged, {}),
        (second_active, {}),
        (sharded, {}),
        (trained_bias, {}),
        (bfloat16_base, {}),
        (hooked, {}),
        (None, {"use_dora": True}),
        (None, {"lora_bias": True}),
        (None, {"lora_dropout": 0.5}),
    ],
)
def test_other_cases_are_computed_by_peft(change: Callable[[LoraLinear], None] | None, options: dict[str, Any]) -> None:
    plain = lora_layer(**options)
    other = fused(plain)
    if change is not None:
        change(plain)
        change(other)
    x = torch.randn(5, 48).to(base_of(plain).weight.dtype).requires_grad_()
    results = []
    for layer in (plain, other):
        torch.manual_seed(3)
        results.append(layer(x))
    assert not is_fused(results[1])
    assert torch.equal(results[0], results[1])


def test_dropout_counts_in_training_alone() -> None:
    layer = fused(lora_layer(lora_dropout=0.5))
    x = torch.randn(5, 48)
    assert not is_fused(layer.train()(x))
    assert is_fused(layer.eval()(x))


def test_rows_of_different_adapters_are_computed_by_peft() -> None:
    plain = lora_layer().eval()
    other = fused(plain)
    x = torch.randn(2, 3, 48)
    names = ["default", "__base__"]
    assert torch.equal(other(x, adapter_names=names), plain(x, adapter_names=names))


def test_the_adapter_that_is_switched_on_counts(decoder: PeftModel) -> None:
    decoder.add_adapter("ref", LoraConfig(r=2, lora_alpha=4, target_modules=TARGETS))
    plain = learned(decoder)
    other = copy.deepcopy(plain)
    fuse_lora(other)
    losses = []
    for name in ("default", "ref"):
        for model in (plain, other):
            model.set_adapter(name)
        losses.append(loss_of(other).item())
        assert losses[-1] == pytest.approx(loss_of(plain).item(), abs=1e-5)
    assert losses[0] != pytest.approx(losses[1], abs=1e-3)


def test_base_layers_that_are_no_plain_linear_are_left_alone() -> None:
    class Quantized(nn.Linear):
        pass

    block = Block()
    block.q_proj = Quantized(48, 64)
    assert fuse_lora(with_lora(block, target_modules=["q_proj"])) == 0


def test_gradients_are_the_same_with_activation_checkpointing(decoder: PeftModel) -> None:
    fuse_lora(decoder)
    other = copy.deepcopy(decoder)
    other.gradient_checkpointing_enable({"use_reentrant": False})
    for model in (decoder, other):
        loss_of(model.train()).backward()
    expected = gradients(decoder)
    assert len(expected) == 2 * 2 * len(TARGETS)
    for name, gradient in gradients(other).items():
        assert torch.equal(gradient, expected[name]), name


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    store = FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
def test_gradients_reach_the_buckets_of_ddp(decoder: PeftModel) -> None:
    fuse_lora(decoder)
    loss_of(decoder).backward()
    expected = {name: gradient.clone() for name, gradient in gradients(decoder).items()}
    decoder.zero_grad()
    doubled: list[int] = []

    def double(_: object, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        future: torch.futures.Future[Tensor] = torch.futures.Future()
        doubled.append(bucket.buffer().numel())
        future.set_result(bucket.buffer() * 2)
        return future

    parallel = DistributedDataParallel(decoder)
    parallel.register_comm_hook(None, double)  # pyright: ignore[reportArgumentType]
    loss_of(parallel).backward()
    assert sum(doubled) == sum(gradient.numel() for gradient in expected.values())
    for name, gradient in gradients(decoder).items():
        torch.testing.assert_close(gradient, 2 * expected[name])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_trl_prints_the_same_losses(base: BaseModelRef, tmp_path: Path, precision: str) -> None:
    losses = [_trained_losses(base, tmp_path, precision, fuse=fuse) for fuse in (False, True)]
    assert losses[0][-1] < losses[0][0] - 0.1
    tolerance = 1e-5 if precision == "fp32" else 1e-2
    assert losses[1] == pytest.approx(losses[0], abs=tolerance)


def _trained_losses(base: BaseModelRef, folder: Path, precision: str, *, fuse: bool) -> list[float]:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    torch.manual_seed(5)
    model = with_lora(AutoModelForCausalLM.from_pretrained(base.name, dtype=dtype))
    assert next(p for p in model.parameters() if p.requires_grad).dtype == torch.float32
    if fuse:
        assert fuse_lora(model) == 2 * len(TARGETS)
    ids = [[40 + (row + 3 * column) % 7 for column in range(12 + row % 5)] for row in range(24)]
    arguments = SFTConfig(
        output_dir=str(folder),
        max_steps=6,
        per_device_train_batch_size=4,
        learning_rate=2e-2,
        logging_steps=1,
        activation_checkpointing=False,
        use_cpu=True,
        bf16=precision == "bf16",
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({"input_ids": ids, "labels": ids}),
        processing_class=AutoTokenizer.from_pretrained(base.name),
    )
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
