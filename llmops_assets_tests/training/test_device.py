"""Which device a rank trains on, and what it says when the GPU that was asked for is not there."""

import os

import pytest
import torch

from llmops_assets.training.device import NotEnoughGpus, trains_on_gpu
from llmops_assets.training.process import prepare_environment
from llmops_assets.training.specs import SftSpec


def spec(**settings: object) -> SftSpec:
    return SftSpec.model_validate({"max_steps": 1, "learning_rate": 0.1, **settings})


def with_gpus(monkeypatch: pytest.MonkeyPatch, *, visible: int, ranks: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))


def test_a_cpu_run_hides_every_gpu_from_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(os, "environ", os.environ.copy())
    prepare_environment(spec(device="auto", backend="plain"))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    prepare_environment(spec(device="cpu", backend="plain"))
    assert (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["HIP_VISIBLE_DEVICES"]) == ("", "")


@pytest.mark.parametrize(
    ("device", "visible", "ranks", "on_gpu"),
    [("auto", 0, 2, False), ("auto", 2, 2, True), ("gpu", 2, 1, True), ("cpu", 0, 1, False)],
)
def test_auto_takes_what_is_there(
    monkeypatch: pytest.MonkeyPatch, device: str, visible: int, ranks: int, on_gpu: bool
) -> None:
    with_gpus(monkeypatch, visible=visible, ranks=ranks)
    assert trains_on_gpu(spec(device=device)) is on_gpu


@pytest.mark.parametrize(("device", "visible", "ranks"), [("gpu", 0, 1), ("gpu", 1, 2), ("auto", 1, 2)])
def test_fewer_gpus_than_ranks_are_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, device: str, visible: int, ranks: int
) -> None:
    with_gpus(monkeypatch, visible=visible, ranks=ranks)
    with pytest.raises(NotEnoughGpus, match=f"needs {ranks} GPUs, .* sees {visible} .*gradient_accumulation"):
        trains_on_gpu(spec(device=device))
