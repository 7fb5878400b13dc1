"""The real worker on the kd stage: what it learns does not depend on how its work is divided."""

from pathlib import Path

import pytest

from llmops_assets.training.distillation.teacher_logits import record_teacher
from llmops_assets_tests.training.conftest import run_to_result
from llmops_assets_tests.training.distillation.conftest import World


@pytest.mark.slow
def test_two_ranks_of_zero2_are_one_rank_that_accumulates_twice(world: World, tmp_path: Path) -> None:
    """Equal to the last bit, teacher and all."""
    record_teacher(world.job(tmp_path / "teacher", world.padded, 8))
    divided = {"two ranks": {"num_processes": 2}, "one rank": {"gradient_accumulation": 2}}
    results = {}
    for name, spec in divided.items():
        job = world.training(tmp_path / name, world.padded, tmp_path / "teacher", {"backend": "zero2", **spec})
        results[name] = run_to_result(job)
    two, one = results["two ranks"], results["one rank"]
    assert two.engine == one.engine == "DeepSpeedZeroOptimizer"
    assert two.adapter_sha256 == one.adapter_sha256
    assert two.metrics["kd/divergence"] == pytest.approx(one.metrics["kd/divergence"], rel=0.05)
    assert two.metrics["eval_kd/divergence"] > 0
