"""Workers beside the training one: memory and disk that run out become a sentence; other failures pass as they are."""

import errno
import importlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel

from llmops_assets.training.distillation.job import TeacherLogitsJob
from llmops_assets.training.export.job import ExportJob
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.preparation.job import PreparationJob
from llmops_assets.training.reference.job import ReferenceJob
from llmops_assets.training.worker_process import smaller_batches
from llmops_assets_tests.training.conftest import sentence, worker_environment, write_jsonl

BASE = {"name": "base", "digest": "b" * 64}
ADAPTER = {"path": "adapter", "sha256": "a" * 64, "base_digest": "b" * 64}
ROWS = {"stage": "sft", "max_length": 64, "validation_share": 0}
PAIRS = {"precision": "fp32", "quantization": "none", "batching": "padded", "batch_size": 8}
TEACHER = {"teacher": {"base_model": BASE}, "student": BASE, "spec": {"top_k": 4, "batch_size": 1}}

# Worker, the function that does its work, its job file, and what is said when memory runs out.
WORKERS: list[tuple[str, str, type[BaseModel], dict[str, Any], tuple[str, str]]] = [
    (
        *("preparation", "prepare.prepare", PreparationJob),
        {"asset": "tiny/sft_rows", "spec": ROWS, "base_model": BASE, "set_file": "set"},
        ("tiny/sft_rows ran out of memory", "prepare the rows on one with more of it."),
    ),
    (
        *("reference", "log_probs.take_log_probs", ReferenceJob),
        {"asset": "tiny/reference", "spec": PAIRS, "base_model": BASE, "reference": ADAPTER, "rows": "rows"},
        ("tiny/reference ran out of memory", "Lower batch_size, now 8, in the run config of this asset;"),
    ),
    (
        *("distillation", "teacher_logits.record_teacher", TeacherLogitsJob),
        TEACHER | {"rows": "rows"},
        ("the teacher's recording ran out of memory", "batch_size is 1 already: set teacher.quantization"),
    ),
    (
        *("export", "run.export", ExportJob),
        {"name": "chat v1.1", "base_model": BASE, "adapter": ADAPTER, "merge": True},
        ("the export of chat v1.1 ran out of memory", "or leave out --merge"),
    ),
]


def fails_with(error: Exception) -> Callable[[object], None]:
    def fail(_: object) -> None:
        raise error

    return fail


def allocates_too_much(_: object) -> None:
    torch.empty(2**56, dtype=torch.uint8)


def job_of(tmp_path: Path, worker: tuple[str, str, type[BaseModel], dict[str, Any], tuple[str, str]]) -> Path:
    job_file = tmp_path / "job.json"
    job = worker[2].model_validate(worker[3] | {"output_dir": tmp_path / "output"})
    job_file.write_text(job.model_dump_json(), encoding="utf-8")
    return job_file


def run_main(monkeypatch: pytest.MonkeyPatch, name: str, work: str, job_file: Path, doing: Callable) -> int:
    package = f"llmops_assets.training.{name}"
    module, _, function = work.partition(".")
    monkeypatch.setattr(importlib.import_module(f"{package}.{module}"), function, doing)
    # Workers set these for libraries that read them when they are imported.
    for variable in ("OMP_WAIT_POLICY", "HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(variable, "1")
    return importlib.import_module(f"{package}.worker").main([str(job_file)])


@pytest.mark.parametrize("error", [None, torch.OutOfMemoryError("CUDA out of memory.\nTried"), MemoryError()])
@pytest.mark.parametrize("worker", WORKERS, ids=lambda worker: worker[0])
def test_memory_that_runs_out_is_told_with_what_to_change(
    worker: Any,
    error: Exception | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    doing = allocates_too_much if error is None else fails_with(error)
    assert run_main(monkeypatch, worker[0], worker[1], job_of(tmp_path, worker), doing) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"error: {worker[4][0]} on {'the GPU' if 'CUDA' in str(error) else 'the host'}")
    assert worker[4][1] in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("worker", WORKERS[:3], ids=lambda worker: worker[0])
def test_full_disk_is_told_and_nothing_set_aside_is_left(
    worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    doing = fails_with(OSError(errno.ENOSPC, "write"))
    assert run_main(monkeypatch, worker[0], worker[1], job_of(tmp_path, worker), doing) == 1
    said = capsys.readouterr().err
    assert f"could not be written to {tmp_path / 'output'}: No space left on device" in said
    assert "start the run again: it starts over" in said
    assert list((tmp_path / "output").iterdir()) == []


@pytest.mark.parametrize("worker", WORKERS, ids=lambda worker: worker[0])
def test_a_defect_keeps_its_traceback(worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="shapes differ"):
        run_main(monkeypatch, worker[0], worker[1], job_of(tmp_path, worker), fails_with(RuntimeError("shapes differ")))


@pytest.mark.slow
def test_real_disk_that_is_full_ends_the_preparation_with_a_sentence(base: BaseModelRef, tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": sentence(index)}]}
        for index in range(400)
    ]
    spec = ROWS | {"packed": True}
    job = PreparationJob.model_validate(
        {"asset": "tiny/sft_rows", "spec": spec, "base_model": base, "output_dir": tmp_path / "rows"}
        | {"set_file": write_jsonl(tmp_path / "train.jsonl", rows)}
    )
    (tmp_path / "job.json").write_text(job.model_dump_json())
    limit = (24 * 1024, 24 * 1024)
    done = subprocess.run(
        [sys.executable, "-m", "llmops_assets.training.preparation.worker", str(tmp_path / "job.json")],
        env=worker_environment(),
        capture_output=True,
        text=True,
        timeout=240,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert done.returncode == 1, done.stderr
    assert f"error: tiny/sft_rows could not be written to {tmp_path / 'rows'}: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "rows" / "unpacked").exists()


def test_smaller_batches_are_advised_where_there_are_any() -> None:
    assert smaller_batches(8, "buy a GPU") == (
        "Lower batch_size, now 8, in the run config of this asset; if that does not help, buy a GPU."
    )
    assert smaller_batches(1, "buy a GPU") == "batch_size is 1 already: buy a GPU."


@pytest.mark.parametrize(("device", "visible"), [("cpu", ""), ("auto", "1")])
def test_reference_is_taken_on_the_device_that_its_stage_asks_for(
    device: str, visible: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    def look(_: object) -> None:
        seen.extend(os.environ[name] for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"))
        raise MemoryError

    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "1")
    worker = (*WORKERS[1][:3], WORKERS[1][3] | {"spec": PAIRS | {"device": device}}, WORKERS[1][4])
    assert run_main(monkeypatch, worker[0], worker[1], job_of(tmp_path, worker), look) == 1
    assert seen == [visible, visible]
