"""The worker process: what it leaves behind when a run cannot start."""

import json
from pathlib import Path

import pytest

from llmops_assets.training import worker
from llmops_assets.training.deepspeed_engine import MissingDeepspeedConfig, start_engine
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.process import WrongWorldSize, prepare_environment

from .conftest import Files, make_job, unprepared_job


def test_failed_run_leaves_one_sentence_and_no_result_of_an_earlier_try(
    base: BaseModelRef, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = unprepared_job(tmp_path, base, {"stage": "sft", "backend": "plain"})
    job.output_dir.mkdir(parents=True)
    (job.output_dir / "training_result.json").write_text("{}")
    job_file = tmp_path / "job.json"
    job_file.write_text(job.model_dump_json())
    assert worker.main([str(job_file)]) == 1
    error = json.loads((job.output_dir / "training_error.json").read_text())
    assert error["error"] == "MissingRows"
    assert "rows.json: no such file" in error["message"]
    assert not (job.output_dir / "training_result.json").exists()
    assert "Traceback" not in capsys.readouterr().err


def test_unreadable_job_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job_file = tmp_path / "job.json"
    job_file.write_text('{"recipe": "tiny"}')
    assert worker.main([str(job_file)]) == 1
    assert f"BrokenJob: {job_file}" in capsys.readouterr().err


def test_other_number_of_processes_than_asked_for_is_refused(
    base: BaseModelRef, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, base, files.sft, {"stage": "sft", "backend": "zero2", "num_processes": 2})
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(WrongWorldSize, match="nproc_per_node 2"):
        prepare_environment(job.spec)


@pytest.mark.parametrize("config", [None, {"zero_optimization": {"stage": 3}}])
def test_zero2_without_the_configuration_of_stage_2_is_refused(
    base: BaseModelRef, files: Files, tmp_path: Path, config: dict | None
) -> None:
    job = make_job(tmp_path, base, files.sft, {"stage": "sft", "backend": "zero2"})
    with pytest.raises(MissingDeepspeedConfig, match=r"configs/deepspeed/zero2\.json"):
        start_engine(job.model_copy(update={"deepspeed_config": config}))
