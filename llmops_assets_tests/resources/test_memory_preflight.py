"""What is refused before a training process starts: too few GPUs, or a stage that does not fit into their memory."""

import time
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig

from llmops_assets.resources.defaults import trainer
from llmops_assets.resources.memory_preflight import TooFewGpus, WillNotFit, check_before_start
from llmops_assets.resources.trainer import Trainer
from llmops_assets.training.job import BaseModelRef, TrainingJob
from llmops_assets_tests.training.conftest import unprepared_job

from .recorded_gpus import put_on_path


@pytest.fixture
def base_8b(tmp_path: Path) -> BaseModelRef:
    """The config.json of an 8B model; no weights are needed to refuse it."""
    config = LlamaConfig(
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=14336,
        vocab_size=128256,
    )
    folder = tmp_path / "base_8b"
    config.save_pretrained(folder)
    return BaseModelRef(name=str(folder), digest="x")


def job_on(base: BaseModelRef, folder: Path, **spec: Any) -> TrainingJob:
    settings = {"stage": "sft", "precision": "bf16", "batch_size": 1, "max_length": 2048, "backend": "zero2", **spec}
    return unprepared_job(folder, base, settings)


def told(job: TrainingJob) -> list[str]:
    lines: list[str] = []
    check_before_start(job, {}, lines.append)
    return lines


def test_stage_that_fits_may_start_and_says_what_it_needs(
    base_8b: BaseModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch)
    fits = job_on(base_8b, tmp_path, activation_checkpointing=True, device="gpu")
    assert told(fits) == ["memory: about 18.2 GB needed per GPU, 23.6 GB free on GPU 0 (NVIDIA A10G)"]


def test_stage_that_does_not_fit_is_refused_with_what_would(
    base_8b: BaseModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch)
    with pytest.raises(
        WillNotFit, match=r"stage sft needs about .* GPU 0 .NVIDIA A10G., free now, has 23.6 GB"
    ) as caught:
        told(job_on(base_8b, tmp_path, batch_size=8))
    assert "These changes fit: activation_checkpointing: true" in str(caught.value)


def test_full_fine_tuning_that_does_not_fit_is_refused_with_a_sentence(
    base_8b: BaseModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch)
    with pytest.raises(WillNotFit, match=r"stage sft needs about .* No change of the recipe makes it fit"):
        told(job_on(base_8b, tmp_path, finetuning="full"))


def test_one_who_knows_better_may_start_it_all_the_same(
    base_8b: BaseModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch)
    monkeypatch.setenv("LLMOPS_MEMORY_CHECK", "warn")
    lines: list[str] = []
    refuse = trainer().memory_check == "refuse"
    check_before_start(job_on(base_8b, tmp_path, batch_size=8), {}, lines.append, refuse=refuse)
    assert "These changes fit" in lines[0]
    assert lines[0].endswith("Started all the same (LLMOPS_MEMORY_CHECK=warn).")


def test_smallest_gpu_of_the_ranks_counts(
    base_8b: BaseModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch)
    with pytest.raises(WillNotFit, match=r"GPU 1 .NVIDIA A10G., free now, has 10.7 GB"):
        told(job_on(base_8b, tmp_path, num_processes=2, activation_checkpointing=True))


@pytest.mark.parametrize(("device", "ranks", "hidden"), [("gpu", 3, None), ("auto", 3, None), ("gpu", 1, "")])
def test_too_few_gpus_are_refused_within_a_second(
    base_8b: BaseModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, ranks: int, hidden: str | None
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    job = job_on(base_8b, tmp_path, device=device, num_processes=ranks)
    began = time.monotonic()
    with pytest.raises(TooFewGpus, match=f"needs {ranks} GPUs, this machine shows .*lower num_processes"):
        Trainer().train(job, environment={}, on_line=lambda line: None)
    assert time.monotonic() - began < 1
    assert not job.checkpoint_dir.exists()


def test_cpu_runs_and_machines_without_a_gpu_are_not_checked(
    base_8b: BaseModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch)
    assert told(job_on(base_8b, tmp_path, batch_size=64, device="cpu")) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert told(job_on(base_8b, tmp_path, batch_size=64, device="auto")) == []


def test_what_cannot_be_checked_is_said_and_may_start(
    base_8b: BaseModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch)
    unknown = BaseModelRef(name="someone/unheard-of", revision="0" * 40, digest="x")
    assert "memory was not checked: config.json of someone/unheard-of" in told(job_on(unknown, tmp_path))[0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-41b36d08")
    assert told(job_on(base_8b, tmp_path)) == ["memory was not checked: the size of MIG-41b36d08 is not known"]
    put_on_path(tmp_path / "bin", monkeypatch, "driver is broken", code=9)
    assert "were not checked" in told(job_on(base_8b, tmp_path, device="auto"))[0]
