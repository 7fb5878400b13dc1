"""What a person sees of a run while it trains: a terminal line, a row of metrics.jsonl, and metrics in trackers."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmops_assets.training.control.evaluations import (
    best_evaluation,
    evaluations,
    is_figure,
    train_loss_since_last_evaluation,
)
from llmops_assets.training.tracking import Tracker

METRICS_FILE = "metrics.jsonl"
# What a stage adds to the shared figures on the terminal line.
_TERMINAL_EXTRAS = {
    "mean_token_accuracy": "token acc {:.1%}",
    "kd/divergence": "divergence {:.3f}",
    "rewards/accuracies": "pref acc {:.1%}",
    "rewards/margins": "margin {:+.3f}",
}


class Progress(TrainerCallback):
    """Reports every `logging_steps` steps and every evaluation, on rank 0 only.

    A row of metrics.jsonl holds `step`, `seconds` (of this process), `learning_rate` (of the step itself), `step_ms`,
    `tokens` (seen since step 0), `tokens_per_second`, `eta_seconds`, `grad_norm` (before clipping) and the stage's own.
    With `mfu`, which turns tokens per second into the share of the processors' peak, also `mfu`.

    A row of an evaluation holds `step`, `seconds`, `eval_loss`, `eval_seconds`, the stage's own with `eval_` before
    them, and `eval_gap`: `eval_loss` less the mean training loss since the evaluation before it. A gap that grows while
    the training loss falls is overfitting. Figures that are not finite are left out, for JSON has none.

    `last` holds the newest figure of each name.
    """

    def __init__(
        self, output_dir: Path, tracking: Tracker | None, *, mfu: Callable[[float], float] | None = None
    ) -> None:
        self.last: dict[str, float] = {}
        self._path = output_dir / METRICS_FILE
        self._tracking = tracking
        self._mfu = mfu
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
        if not state.is_world_process_zero or not logs:
            return control
        if "loss" in logs:
            row = self._row(state, logs)
            self._report(row, terminal_line(row, state.max_steps))
        elif "eval_loss" in logs:
            row = self._evaluation_row(state, logs)
            best = best_evaluation(evaluations(state.log_history))
            self._report(row, evaluation_line(row, state.max_steps, best_loss=best.loss, best_step=best.step))
        return control

    def _report(self, row: dict[str, float], line: str) -> None:
        figures = {key: value for key, value in row.items() if key != "step" and math.isfinite(value)}
        self.last |= figures
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": row["step"]} | figures) + "\n")
        print(line, flush=True)
        if self._tracking is not None:
            self._tracking.log(int(row["step"]), figures)

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
        if self._mfu is not None:
            row["mfu"] = self._mfu(row["tokens_per_second"])
        self._since, self._since_step, self._since_tokens = now, step, state.num_input_tokens_seen
        return row

    def _evaluation_row(self, state: TrainerState, logs: dict[str, float]) -> dict[str, float]:
        own = {key: float(value) for key, value in logs.items() if is_figure(key)}
        row = own | {"step": state.global_step, "seconds": round(time.monotonic() - self._began, 3)}
        if (seconds := logs.get("eval_runtime")) is not None:
            row["eval_seconds"] = round(seconds, 3)
            self._since += seconds  # the next row tells the speed of training alone
        if (train_loss := train_loss_since_last_evaluation(state.log_history)) is not None:
            row["eval_gap"] = row["eval_loss"] - train_loss
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
        *([f"MFU {row['mfu']:.1%}"] if "mfu" in row else []),
        f"ETA {minutes}:{seconds:02d}",
    ]
    return " | ".join(parts)


def evaluation_line(row: dict[str, float], max_steps: int, *, best_loss: float, best_step: int) -> str:
    """Return the line of an evaluation: validation loss, its gap to the training loss, and the best one so far."""
    parts = [f"step {row['step']:>{len(str(max_steps))}}/{max_steps}", f"eval loss {row['eval_loss']:.4f}"]
    if "eval_gap" in row:
        parts.append(f"gap {row['eval_gap']:+.4f}")
    extras = {key: form for key, form in _TERMINAL_EXTRAS.items() if f"eval_{key}" in row}
    parts += [form.format(row[f"eval_{key}"]) for key, form in extras.items()]
    parts.append("best so far" if row["step"] == best_step else f"best {best_loss:.4f} at step {best_step}")
    return " | ".join(parts)
