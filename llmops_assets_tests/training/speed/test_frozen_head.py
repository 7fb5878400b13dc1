"""Log-probs under a frozen LM head against TRL's own function: values, gradients, and the losses of whole trainings."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from trl.kernels import ChunkedLogProbFunction

from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.progress import METRICS_FILE, read_metrics
from llmops_assets.training.run import train
from llmops_assets.training.speed.frozen_head import TRL_HEADS, FrozenHead, frozen_head
from llmops_assets_tests.training.conftest import Files, adapter_ref, make_job

OUTPUTS = ("entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
# So many that the last chunk of 64 rows is not full.
ROWS, HIDDEN, VOCABULARY = 300, 32, 8191


def head(dtype: torch.dtype = torch.float32, *, bias: bool = False) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    generator = torch.Generator().manual_seed(4)
    states = torch.randn(ROWS, HIDDEN, generator=generator).to(dtype)
    weight = (torch.randn(VOCABULARY, HIDDEN, generator=generator) * 0.3).to(dtype)
    offset = torch.randn(VOCABULARY, generator=generator).to(dtype) if bias else None
    targets = torch.randint(0, VOCABULARY, (ROWS,), generator=generator)
    targets[:40] = (states[:40].float() @ weight.float().t()).argmax(dim=1)  # some are predicted
    return states, weight, offset, targets


def both(
    states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, **settings: Any
) -> list[tuple[list[Tensor | None], Tensor]]:
    """Return the outputs and the gradient for `states` of TRL's function and of ours."""
    results = []
    arguments = [settings.get("temperature", 1.0), 1024, None, settings.get("scale", 1.0), OUTPUTS]
    for function in (ChunkedLogProbFunction, FrozenHead):
        inputs = states.clone().requires_grad_()
        outputs = list(function.apply(inputs, weight, bias, targets, *arguments))
        assert outputs[0] is not None
        weights = torch.linspace(-1, 1, ROWS)
        (outputs[0] * weights).sum().backward()
        assert inputs.grad is not None
        results.append((outputs, inputs.grad))
    return results


@pytest.mark.parametrize(
    "settings", [{}, {"bias": True}, {"temperature": 0.7, "scale": 0.5}], ids=["plain", "bias", "scaled"]
)
def test_outputs_and_gradients_are_those_of_trl(settings: dict[str, Any]) -> None:
    bias = settings.pop("bias", False)
    (expected, expected_gradient), (outputs, gradient) = both(*head(bias=bias), **settings)
    for wanted, got in zip(expected, outputs, strict=True):
        assert wanted is not None and got is not None
        assert wanted.dtype == got.dtype
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    assert outputs[-1] is not None and 10 <= int(outputs[-1].sum()) < ROWS
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-6)


def test_bfloat16_is_rounded_where_trl_rounds_it() -> None:
    (expected, expected_gradient), (outputs, gradient) = both(*head(torch.bfloat16))
    assert expected[0] is not None and outputs[0] is not None
    torch.testing.assert_close(outputs[0], expected[0], rtol=1e-5, atol=1e-5)
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(gradient, expected_gradient, rtol=2e-2, atol=2e-2)


def test_under_autocast_the_logits_are_taken_in_its_dtype() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (expected, _), (outputs, gradient) = both(*head())
    assert expected[0] is not None and outputs[0] is not None
    torch.testing.assert_close(outputs[0], expected[0], rtol=1e-5, atol=1e-5)
    assert gradient.dtype == torch.float32


def test_a_head_that_is_trained_gets_its_gradient_from_trl() -> None:
    states, weight, _, targets = head()
    weight.requires_grad_()
    log_probs = FrozenHead.apply(states, weight, None, targets, 1.0, 1024, None, 1.0, ())[0]
    log_probs.sum().backward()
    assert weight.grad is not None and bool(weight.grad.any())


def test_no_label_at_all_gives_an_empty_result_with_a_gradient() -> None:
    states, weight, _, targets = head()
    inputs = states[:0].requires_grad_()
    log_probs, *_ = FrozenHead.apply(inputs, weight, None, targets[:0], 1.0, 1024, None, 1.0, OUTPUTS)
    assert log_probs.shape == (0,)
    log_probs.sum().backward()


def test_trl_is_as_before_after_the_block() -> None:
    before = TRL_HEADS._ChunkedLogProbFunction, TRL_HEADS._use_triton
    with pytest.raises(RuntimeError), frozen_head():
        assert TRL_HEADS._use_triton(torch.device("cpu"))
        raise RuntimeError
    assert before == (TRL_HEADS._ChunkedLogProbFunction, TRL_HEADS._use_triton)


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_a_training_has_the_losses_of_trls_head(
    sft_zero2: Any, base: BaseModelRef, files: Files, tmp_path: Path, stage: str
) -> None:
    """Prompts carry no label and rows are padded, so that positions are left out."""

    def losses(name: str, fused: bool) -> list[float]:
        settings = {"stage": stage, "backend": "plain", "max_steps": 6, "logging_steps": 1, "fused_lm_head": fused}
        parent = adapter_ref(sft_zero2[0])
        job = make_job(tmp_path / name, base, files.sft if stage == "sft" else files.dpo, settings, parent)
        assert train(job) is not None
        return [row["loss"] for row in read_metrics(job.output_dir / METRICS_FILE)]

    assert losses("fused", True) == pytest.approx(losses("trl", False), abs=2e-5)
