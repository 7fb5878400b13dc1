"""Memory that runs out at run time becomes advice; other failures stay what they are."""

import json
from pathlib import Path

import pytest
import torch

from llmops_assets.training import run, worker
from llmops_assets.training.job import BaseModelRef, TrainingJob
from llmops_assets.training.memory.out_of_memory import out_of_memory
from llmops_assets_tests.training.conftest import Files, make_job, unprepared_job


@pytest.fixture
def job(base: BaseModelRef, files: Files, tmp_path: Path) -> TrainingJob:
    return make_job(tmp_path, base, files.sft, {"stage": "sft", "backend": "plain", "batch_size": 64})


def fail_for_real() -> None:
    """Ask the host's allocator for more than any machine has."""
    torch.empty(2**56, dtype=torch.uint8)


def test_error_of_the_gpu_allocator_is_told_with_its_advice(job: TrainingJob) -> None:
    told = out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), job)
    assert told is not None
    assert told.startswith("stage sft ran out of memory on the GPU: CUDA out of memory. Tried to allocate 2.00 GiB. ")
    assert "It was estimated at" in told


def test_real_failure_of_the_host_allocator_is_told_too(job: TrainingJob) -> None:
    with pytest.raises(RuntimeError) as caught:
        fail_for_real()
    told = out_of_memory(caught.value, job)
    assert told is not None
    assert "ran out of memory on the host's memory" in told


def test_advice_saves_more_than_a_trifle_where_activations_dominate(base: BaseModelRef) -> None:
    spec = {"stage": "sft", "backend": "plain", "batch_size": 512, "max_length": 4096}
    told = out_of_memory(torch.OutOfMemoryError("CUDA out of memory."), unprepared_job(Path("unused"), base, spec))
    assert told is not None
    assert "These changes fit: batch_size: 256, gradient_accumulation: 2 (" in told
    assert "or activation_checkpointing: true (" in told


def test_full_fine_tuning_gets_advice_too(base: BaseModelRef) -> None:
    spec = {"stage": "sft", "finetuning": "full", "backend": "plain", "batch_size": 512, "max_length": 4096}
    told = out_of_memory(torch.OutOfMemoryError("CUDA out of memory."), unprepared_job(Path("unused"), base, spec))
    assert told is not None
    assert "These changes fit: batch_size: 256, gradient_accumulation: 2 (" in told
    assert "lora" not in told
    assert "quantization" not in told


def test_other_errors_are_left_alone(job: TrainingJob) -> None:
    assert out_of_memory(RuntimeError("shapes differ"), job) is None
    assert out_of_memory(MemoryError(), job) is None


def test_base_of_unknown_shape_still_gets_a_sentence(job: TrainingJob, tmp_path: Path) -> None:
    unknown = job.model_copy(update={"base_model": BaseModelRef(name=str(tmp_path), digest="x")})
    told = out_of_memory(torch.OutOfMemoryError("CUDA out of memory."), unknown)
    assert told is not None
    assert "Lower batch_size" in told


def test_worker_leaves_the_advice_and_no_traceback(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "train", lambda job: fail_for_real())
    job_file = job.checkpoint_dir.parent / "job.json"
    job_file.write_text(job.model_dump_json())
    assert worker.main([str(job_file)]) == 1
    left = json.loads((job.output_dir / "training_error.json").read_text())
    assert left["error"] == "OutOfMemory"
    assert "It was estimated at" in left["message"]
    assert "Traceback" not in capsys.readouterr().err
