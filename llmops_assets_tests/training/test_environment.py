"""What the run card says about how a run was made."""

import importlib.metadata
import json
from pathlib import Path

import pytest

from llmops_assets.training.environment import run_environment, used_hours
from llmops_assets_tests.training.control.tiny_run import tiny_job


def test_environment_has_versions_source_hardware_and_arithmetic_and_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "very-secret")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    facts = run_environment(tiny_job(tmp_path, seed=11).spec)
    for name in ("torch", "trl", "peft", "transformers", "deepspeed"):
        assert facts[f"package.{name}"] == importlib.metadata.version(name)
    assert "package.bitsandbytes" in facts
    assert facts["variable.CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert facts["seed"] == 11
    assert {"git.commit", "gpu", "gpus", "cuda", "cores", "processor", "cpu_capability", "python"} <= facts.keys()
    assert "very-secret" not in json.dumps(facts)


def test_hours_are_counted_for_each_gpu_or_thread_that_was_held(tmp_path: Path) -> None:
    spec = tiny_job(tmp_path, backend="zero2", num_processes=4, num_threads=2).spec
    assert used_hours(spec, 1800, on_gpu=True) == {"gpu_hours": 2.0, "cpu_hours": 4.0}
    assert used_hours(spec, 1800, on_gpu=False) == {"gpu_hours": 0.0, "cpu_hours": 4.0}
