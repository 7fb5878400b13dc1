"""Which attention a spec gets, and the sentences for what cannot be had."""

import pytest
import torch
from transformers import AttentionInterface

from llmops_assets.training.speed import attention_choice
from llmops_assets.training.speed.attention_choice import AttentionUnavailable, attention_implementation


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """A GPU of the Hopper generation; the flash attentions in the set that is returned are installed."""
    installed: set[str] = set()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(attention_choice, "_is_installed", lambda name: name in installed)
    return installed


@pytest.mark.parametrize(("packed", "expected"), [(True, "segments"), (False, "sdpa")])
def test_auto_on_a_cpu_goes_by_the_rows(packed: bool, expected: str) -> None:
    assert attention_implementation("auto", packed=packed, precision="bf16", on_gpu=False) == expected


def test_segments_are_registered_when_they_are_chosen() -> None:
    attention_implementation("segments", packed=False, precision="fp32", on_gpu=False)
    assert "segments" in AttentionInterface().valid_keys()


@pytest.mark.parametrize(
    ("kernels", "precision", "expected"),
    [
        ({"flash_attention_3", "flash_attention_2"}, "bf16", "flash_attention_3"),
        ({"flash_attention_2"}, "bf16", "flash_attention_2"),
        ({"flash_attention_2"}, "fp32", "segments"),
        (set(), "bf16", "segments"),
    ],
)
def test_auto_on_a_gpu_takes_the_fastest_that_is_there(
    gpu: set[str], kernels: set[str], precision: str, expected: str
) -> None:
    gpu.update(kernels)
    assert attention_implementation("auto", packed=True, precision=precision, on_gpu=True) == expected


@pytest.mark.parametrize("attention", ["eager", "sdpa", "segments"])
@pytest.mark.parametrize("packed", [True, False])
def test_an_explicit_choice_is_kept(attention: str, packed: bool) -> None:
    assert attention_implementation(attention, packed=packed, precision="fp32", on_gpu=False) == attention


def test_flash_attention_without_a_gpu_is_refused() -> None:
    with pytest.raises(AttentionUnavailable, match=r"flash_attention_2 runs on GPUs alone.*attention: segments$"):
        attention_implementation("flash_attention_2", packed=True, precision="bf16", on_gpu=False)


def test_flash_attention_in_float32_is_refused(gpu: set[str]) -> None:
    gpu.add("flash_attention_2")
    with pytest.raises(AttentionUnavailable, match="precision is fp32"):
        attention_implementation("flash_attention_2", packed=False, precision="fp32", on_gpu=True)


@pytest.mark.usefixtures("gpu")
def test_flash_attention_without_its_kernels_is_refused() -> None:
    with pytest.raises(AttentionUnavailable, match="needs its wheel"):
        attention_implementation("flash_attention_3", packed=False, precision="bf16", on_gpu=True)


def test_flash_attention_on_an_old_gpu_is_refused(gpu: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    gpu.add("flash_attention_2")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    with pytest.raises(AttentionUnavailable, match="Tesla T4"):
        attention_implementation("flash_attention_2", packed=False, precision="bf16", on_gpu=True)
