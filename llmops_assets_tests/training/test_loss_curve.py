"""The picture of a run's loss."""

import subprocess
import sys

import pytest

from llmops_assets.training.loss_curve import loss_curve_png

ROWS = [{"step": step, "loss": 3.0 / step, "learning_rate": 0.001} for step in (1, 2, 4)]


def test_curve_is_a_png_that_follows_from_the_rows_alone() -> None:
    picture = loss_curve_png(ROWS, "sft_adapter")
    assert picture.startswith(b"\x89PNG\r\n")
    assert loss_curve_png(ROWS, "sft_adapter") == picture
    assert loss_curve_png(ROWS[:2], "sft_adapter") != picture


def test_validation_losses_are_drawn_beside_those_of_training() -> None:
    evaluated = [{"step": 2, "eval_loss": 2.0}]
    assert loss_curve_png(ROWS + evaluated, "sft_adapter") != loss_curve_png(ROWS, "sft_adapter")
    with pytest.raises(ValueError, match="no metrics"):
        loss_curve_png(evaluated, "sft_adapter")


def test_no_rows_no_picture() -> None:
    with pytest.raises(ValueError, match="no metrics"):
        loss_curve_png([], "sft_adapter")


def test_what_the_dagster_layer_imports_from_here_loads_no_torch() -> None:
    modules = "specs, digests, adapter_files, loss_curve, process"
    code = f"import sys; from llmops_assets.training import {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
