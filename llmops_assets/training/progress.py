"""What a person sees of a run while it trains: a terminal line, a row of metrics.jsonl and MLflow metrics."""

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmops_assets.training.tracking import MlflowRun

METRICS_FILE = "metrics.jsonl"
# What a stage adds to the shared figures on the terminal line.
_TERMINAL_EXTRAS = {
    "mean_token_accuracy": "token acc {:.1%}",
    "rewards/accuracies": "pref acc {:.1%}",
    "rewards/margins": "margin {:+.3f}",
}


class Progress(TrainerCallback):
    """Reports every `logging_steps` steps, on rank 0 only.

    A row of metrics.jsonl holds `step`, `seconds` (of this process), `learning_rate` (of the step itself), `step_ms`,
    `tokens` (seen since step 0), `tokens_per_second`, `eta_seconds`, `grad_norm` (before clipping) and the stage's own.
    """

    def __init__(self, output_dir: Path, tracking: MlflowRun | None) -> None:
        self.last: dict[str, float] = {}
        self._path = output_dir / METRICS_FILE
        self._tracking = tracking
        self._learning_rate = 0.0
        self._began = self._since = 0.0
        self._first_step = self._since_step = self._since_tokens = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Start the clock; rows after the checkpoint that is resumed from are dropped, for their steps run again."""
        self._began = self._since = time.monotonic()
        self._first_step = self._since_step = state.global_step
        self._since_tokens = state.num_input_tokens_seen
        if state.is_world_process_zero:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            kept = [row for row in read_metrics(self._path) if row["step"] <= state.global_step]
            self._path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        return control

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **context: Any
    ) -> TrainerControl:
        """Note the learning rate of the step: under DeepSpeed the trainer logs that of the next one."""
        if (scheduler := context.get("lr_scheduler")) is not None:
            self._learning_rate = float(scheduler.get_last_lr()[0])
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> TrainerControl:
        """Report one row; the trainer's summary at the end of a run has no loss of a step and is left to the result."""
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return control
        row = self._row(state, logs)
        self.last = {key: value for key, value in row.items() if key != "step"}
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        print(terminal_line(row, state.max_steps), flush=True)
        if self._tracking is not None:
            self._tracking.log(state.global_step, self.last)
        return control

    def _row(self, state: TrainerState, logs: dict[str, float]) -> dict[str, float]:
        now, step = time.monotonic(), state.global_step
        steps = max(1, step - self._since_step)
        tokens = state.num_input_tokens_seen - self._since_tokens
        seconds = now - self._since
        left = (state.max_steps - step) * (now - self._began) / max(1, step - self._first_step)
        reported = {key: float(value) for key, value in logs.items() if key not in ("epoch", "num_tokens")}
        row = reported | {
            "step": step,
            "seconds": round(now - self._began, 3),
            "learning_rate": self._learning_rate,
            "step_ms": round(1000 * seconds / steps, 1),
            "tokens": float(state.num_input_tokens_seen),
            "tokens_per_second": round(tokens / seconds, 1) if seconds > 0 else 0.0,
            "eta_seconds": round(left, 1),
        }
        row.pop("num_input_tokens_seen", None)
        self._since, self._since_step, self._since_tokens = now, step, state.num_input_tokens_seen
        return row


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics.jsonl; a last line that a killed process cut is left out. No file, no rows."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def terminal_line(row: dict[str, float], max_steps: int) -> str:
    """Return one progress line: step, loss, learning rate, gradient norm, speed and time left."""
    minutes, seconds = divmod(round(row["eta_seconds"]), 60)
    parts = [
        f"step {row['step']:>{len(str(max_steps))}}/{max_steps}",
        f"loss {row['loss']:.4f}",
        *(form.format(row[key]) for key, form in _TERMINAL_EXTRAS.items() if key in row),
        f"lr {row['learning_rate']:.2e}",
        f"grad {row.get('grad_norm', float('nan')):.3f}",
        f"{row['step_ms']:.0f} ms/step",
        f"{row['tokens_per_second']:,.0f} tok/s",
        f"ETA {minutes}:{seconds:02d}",
    ]
    return " | ".join(parts)
