"""A stopped run: it leaves a checkpoint, and the next run ends with the bytes of one that was never stopped."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from llmops_assets.training.checkpoints import latest_complete, step_of
from llmops_assets.training.job import BaseModelRef

from .conftest import Files, make_job, run_to_result, worker_command, worker_environment

SPEC = {"stage": "sft", "backend": "zero2", "max_steps": 80, "lora_dropout": 0.1, "logging_steps": 1}


@pytest.mark.slow
def test_sigterm_then_resume_gives_the_bytes_of_an_uninterrupted_run(
    base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    uninterrupted = run_to_result(make_job(tmp_path / "whole", base, files.sft, SPEC))
    job = make_job(tmp_path / "stopped", base, files.sft, SPEC)

    process = subprocess.Popen(
        worker_command(job),
        env=worker_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step  3/"):
            os.killpg(process.pid, signal.SIGTERM)
            break
    rest = process.stdout.read()
    assert process.wait(timeout=60) != 0, rest
    _wait_until_gone(process.pid)

    assert not (job.output_dir / "training_result.json").exists()
    checkpoint = latest_complete(job.checkpoint_dir, job.fingerprint)
    assert checkpoint is not None, rest
    resumed = run_to_result(job)
    assert resumed.resumed_from_step == step_of(checkpoint) < 80
    assert resumed.steps == uninterrupted.steps
    assert resumed.adapter_sha256 == uninterrupted.adapter_sha256
    assert resumed.tokens_seen == uninterrupted.tokens_seen


def _wait_until_gone(group: int) -> None:
    """Every process of the session must end by itself."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("a process of the stopped run is still alive")
