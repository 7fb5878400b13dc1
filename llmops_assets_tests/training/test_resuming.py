"""Interrupted runs of the real worker, on other ranks, after a kill and on a full disk: the bytes are equal."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from llmops_assets.resources.lost_rank import RankLost
from llmops_assets.resources.trainer import Trainer
from llmops_assets.training.checkpoints import MARKER, all_checkpoints, latest_complete, mark_complete, step_of
from llmops_assets.training.job import BaseModelRef, TrainingJob, TrainingResult
from llmops_assets.training.resuming import beginning, find_resume_point

from .conftest import Files, make_job, run_to_result, run_worker, unprepared_job, worker_command, worker_environment

Run = tuple[TrainingJob, TrainingResult]
TWO_RANKS = {"stage": "sft", "backend": "zero2", "num_processes": 2, "checkpoint_every": 2}
ONE_RANK = TWO_RANKS | {"num_processes": 1, "gradient_accumulation": 2}


def continued(source: TrainingJob, step: int, folder: Path, spec: dict) -> TrainingJob:
    """A job in `folder` that finds `source`'s checkpoint of `step` as its newest."""
    job = unprepared_job(folder, source.base_model, spec).model_copy(update={"rows": source.rows})
    name = f"checkpoint-{step}"
    shutil.copytree(source.checkpoint_dir / name, job.checkpoint_dir / name)
    return job


@pytest.mark.slow
def test_two_ranks_then_one_then_two_give_the_bytes_of_two(sft_two_ranks: Run, tmp_path: Path) -> None:
    job, whole = sft_two_ranks
    assert whole.world_sizes == {0: 2}
    on_one = continued(job, 2, tmp_path / "one", ONE_RANK)
    result = run_to_result(on_one)
    assert (result.resumed_from_step, result.world_sizes) == (2, {0: 2, 2: 1})
    assert result.adapter_sha256 == whole.adapter_sha256
    assert [path.name for path in on_one.checkpoint_dir.glob("universal-*")] == [], "pruned with the next checkpoint"

    on_two = continued(on_one, 4, tmp_path / "two", TWO_RANKS)
    result = run_to_result(on_two)
    assert (result.resumed_from_step, result.world_sizes) == (4, {0: 2, 2: 1, 4: 2})
    assert result.adapter_sha256 == whole.adapter_sha256
    assert result.tokens_seen == whole.tokens_seen


@pytest.mark.slow
def test_full_disk_ends_all_ranks_with_a_sentence_and_the_next_run_resumes(sft_two_ranks: Run, tmp_path: Path) -> None:
    whole_job, whole = sft_two_ranks
    job = continued(whole_job, 2, tmp_path, TWO_RANKS)
    failed = run_worker(job, largest_file=24 * 1024)
    assert failed.returncode == 1, failed.stderr
    error = json.loads((job.output_dir / "training_error.json").read_text())
    assert error["error"] == "DiskFull", error
    assert (
        f"a checkpoint, the metrics or the log could not be written to {job.checkpoint_dir}: File too large"
        in error["message"]
    )
    assert "MiB are free there" in error["message"]
    assert error["message"] in failed.stderr
    assert _running_with(str(tmp_path)) == []
    assert [step_of(checkpoint) for checkpoint in all_checkpoints(job.checkpoint_dir)] == [2]

    resumed = run_to_result(job)
    assert resumed.resumed_from_step == 2
    assert resumed.adapter_sha256 == whole.adapter_sha256


@pytest.mark.slow
def test_kill_in_the_middle_of_a_checkpoint_resumes_from_the_one_before(
    sft_zero2: Run, base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    _, whole = sft_zero2
    spec = {"stage": "sft", "backend": "zero2", "checkpoint_every": 1, "keep_checkpoints": 3}
    job = make_job(tmp_path, base, files.sft, spec)
    torn = _killed_while_writing_a_checkpoint(job)
    before = latest_complete(job.checkpoint_dir, job.fingerprint)
    assert before is not None
    assert step_of(before) == torn - 1

    done = run_worker(job)
    assert done.returncode == 0, done.stderr
    assert f"resumed from step {torn - 1}, as that of step {torn} is torn" in done.stdout
    result = TrainingResult.model_validate_json((job.output_dir / "training_result.json").read_text())
    assert result.resumed_from_step == torn - 1
    assert result.adapter_sha256 == whole.adapter_sha256


@pytest.mark.slow
def test_killed_rank_and_killed_torchrun_are_reported_at_once_and_cost_no_bytes(
    sft_two_ranks: Run, tmp_path: Path
) -> None:
    whole_job, whole = sft_two_ranks
    job = continued(whole_job, 2, tmp_path, TWO_RANKS)
    trainer = Trainer(grace_seconds=20)

    def killed(target: str, line_start: str) -> str:
        ended: list[float] = []

        def on_line(line: str) -> None:
            if line.startswith(line_start) and not ended:
                ended.append(time.monotonic())
                _process_of(job, target).kill()

        with pytest.raises(RankLost) as loss:
            trainer.train(job, environment={"CUDA_VISIBLE_DEVICES": ""}, on_line=on_line)
        assert time.monotonic() - ended[0] < 60
        assert _running_with(str(tmp_path)) == []
        return str(loss.value)

    assert "rank 1 was ended by SIGKILL" in killed("rank 1", "tiny/sft_adapter: ")
    assert "the process that runs the ranks" in killed("torchrun", "libraries loaded")
    resumed = trainer.train(job, environment={"CUDA_VISIBLE_DEVICES": ""}, on_line=lambda line: None)
    # The headline comes before the engine starts; a kill that is late all the same may find one more checkpoint.
    assert resumed.resumed_from_step in (2, 4)
    assert resumed.adapter_sha256 == whole.adapter_sha256


def test_without_any_whole_checkpoint_the_headline_says_that_it_starts_over(
    base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    job = make_job(tmp_path, base, files.sft, {"stage": "sft", "backend": "plain"})
    assert beginning(job, find_resume_point(job)) == "from the start"
    for step in (2, 4):
        (job.checkpoint_dir / f"checkpoint-{step}").mkdir(parents=True)
    assert beginning(job, find_resume_point(job)) == "from the start, as no checkpoint is whole (torn: step 2, 4)"


def test_headline_warns_of_dropout_on_another_number_of_ranks(base: BaseModelRef, files: Files, tmp_path: Path) -> None:
    job = make_job(tmp_path, base, files.sft, {"stage": "sft", "backend": "ddp", "lora_dropout": 0.1})
    checkpoint = job.checkpoint_dir / "checkpoint-4"
    checkpoint.mkdir(parents=True)
    mark_complete(checkpoint, job.fingerprint, {0: 2})
    point = find_resume_point(job)
    assert point.world_sizes == {0: 2, 4: 1}
    assert beginning(job, point) == (
        "resumed from step 4, which 2 ranks wrote, dropout will differ from that of an uninterrupted run"
    )


def _killed_while_writing_a_checkpoint(job: TrainingJob) -> int:
    """Start the worker, kill all of it while a checkpoint after the first has no marker yet; return that one's step."""
    process = subprocess.Popen(
        worker_command(job),
        env=worker_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None:
        newest = all_checkpoints(job.checkpoint_dir)[-1:]
        if newest and step_of(newest[0]) > 1 and not (newest[0] / MARKER).exists():
            ranks = psutil.Process(process.pid).children(recursive=True)
            for rank in ranks:
                rank.suspend()
            if not (newest[0] / MARKER).exists():
                for running in (*ranks, process):
                    running.kill()
                process.wait()
                return step_of(newest[0])
            for rank in ranks:
                rank.resume()
        time.sleep(0.002)
    raise AssertionError("the run ended before it could be killed")


def _process_of(job: TrainingJob, target: str) -> psutil.Process:
    job_file = str(job.checkpoint_dir / "job.json")
    for process in psutil.Process(os.getpid()).children(recursive=True):
        command = process.cmdline()
        if job_file not in command or "llmops_assets.resources.process_guard" in command:
            continue
        role = "torchrun" if "torch.distributed.run" in command else f"rank {process.environ()['RANK']}"
        if role == target:
            return process
    raise AssertionError(f"no {target} runs")


def _running_with(text: str) -> list[str]:
    running = [p for p in psutil.process_iter(["cmdline", "status"]) if p.info["status"] != psutil.STATUS_ZOMBIE]
    commands = [" ".join(process.info["cmdline"] or []) for process in running]
    return [command for command in commands if text in command]
