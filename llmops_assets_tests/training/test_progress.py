"""What is reported while a run trains."""

import json
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from llmops_assets.training.job import TrainingJob, TrainingResult
from llmops_assets.training.progress import Progress, evaluation_line, read_metrics, terminal_line
from llmops_assets_tests.training.control.tiny_run import rows, tiny_trainer


def test_metrics_file_of_a_run_has_a_row_for_each_logged_step(sft_zero2: tuple[TrainingJob, TrainingResult]) -> None:
    job, result = sft_zero2
    rows = read_metrics(job.output_dir / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 4, 6]
    for row in rows:
        assert {"loss", "learning_rate", "grad_norm", "step_ms", "tokens_per_second", "eta_seconds"} <= row.keys()
    assert rows[0]["learning_rate"] == job.spec.learning_rate  # of the step itself, not of the one after it
    assert rows[-1]["tokens"] == result.tokens_seen
    assert result.metrics["loss"] == rows[-1]["loss"]


def test_resumed_run_drops_the_rows_of_steps_that_run_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [json.dumps({"step": step, "loss": 1.0}) for step in (2, 4, 6)]
    path.write_text("\n".join(rows) + '\n{"step": 8, "lo')
    state = TrainerState(global_step=4, max_steps=10, is_world_process_zero=True)
    Progress(tmp_path, None).on_train_begin(TrainingArguments(use_cpu=True), state, TrainerControl())
    assert [row["step"] for row in read_metrics(path)] == [2, 4]


def test_terminal_line_tells_loss_rate_speed_and_time_left() -> None:
    row = {
        "step": 5,
        "loss": 2.5,
        "learning_rate": 0.001,
        "grad_norm": 0.5,
        "step_ms": 200.0,
        "tokens_per_second": 9400.0,
        "eta_seconds": 75.4,
        "rewards/margins": 0.25,
    }
    line = terminal_line(row, 60)
    assert line == (
        "step  5/60 | loss 2.5000 | margin +0.250 | lr 1.00e-03 | grad 0.500 | 200 ms/step | 9,400 tok/s | ETA 1:15"
    )
    assert terminal_line(row | {"mfu": 0.4132}, 60).endswith("9,400 tok/s | MFU 41.3% | ETA 1:15")


def test_evaluations_have_rows_and_lines_of_their_own_with_the_gap_to_the_training_loss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = tiny_trainer(
        tmp_path,
        train=rows(1, 8),
        validation=rows(2, 8),
        max_steps=6,
        eval_steps=3,
        include_num_input_tokens_seen="all",
    )
    progress = Progress(tmp_path, None, mfu=lambda tokens_per_second: tokens_per_second / 1e9)
    trainer.add_callback(progress)
    trainer.train()
    found = read_metrics(tmp_path / "metrics.jsonl")
    training, evaluated = [row for row in found if "loss" in row], [row for row in found if "eval_loss" in row]
    assert [row["step"] for row in evaluated] == [3, 6]
    assert [row["step"] for row in training] == [1, 2, 3, 4, 5, 6]
    since = sum(row["loss"] for row in training[3:]) / 3
    assert evaluated[1]["eval_gap"] == pytest.approx(evaluated[1]["eval_loss"] - since)
    assert "eval_seconds" in evaluated[0]
    assert "eval_runtime" not in evaluated[0]
    assert all(row["mfu"] == row["tokens_per_second"] / 1e9 for row in training)
    assert progress.last["eval_gap"] == evaluated[1]["eval_gap"]
    assert progress.last["loss"] == training[-1]["loss"]
    assert f"step 3/6 | eval loss {evaluated[0]['eval_loss']:.4f} | gap " in capsys.readouterr().out


def test_evaluation_line_names_the_best_so_far() -> None:
    row = {"step": 6, "eval_loss": 2.5, "eval_gap": 0.25, "eval_mean_token_accuracy": 0.5}
    line = evaluation_line(row, 60, best_loss=2.25, best_step=4)
    assert line == "step  6/60 | eval loss 2.5000 | gap +0.2500 | token acc 50.0% | best 2.2500 at step 4"
    assert evaluation_line(row, 60, best_loss=2.5, best_step=6).endswith("| best so far")
