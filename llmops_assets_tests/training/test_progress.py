"""What is reported while a run trains."""

import json
from pathlib import Path

from transformers import TrainerControl, TrainerState, TrainingArguments

from llmops_assets.training.job import TrainingJob, TrainingResult
from llmops_assets.training.progress import Progress, read_metrics, terminal_line


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
