"""A real trainer over a one-layer model, small enough to be trained several times in a test, with rows that overfit."""

from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Trainer, TrainerCallback, TrainingArguments

from llmops_assets.training.job import TrainingJob

LENGTH = 8
IGNORED = -100


def rows(seed: int, count: int, *, without_labels: tuple[int, ...] = ()) -> list[dict[str, list[int]]]:
    """Random token rows; those `without_labels` have no token to take a loss on, so that their mean is 0 / 0."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for index in range(count):
        tokens = torch.randint(0, 64, (LENGTH,), generator=generator).tolist()
        found.append({"input_ids": tokens, "labels": [IGNORED] * LENGTH if index in without_labels else tokens})
    return found


def tiny_trainer(
    folder: Path,
    *,
    train: list[dict[str, list[int]]],
    validation: list[dict[str, list[int]]] | None = None,
    **set_: Any,
) -> Trainer:
    torch.manual_seed(3)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=32,
        )
    )
    defaults: dict[str, Any] = {
        "max_steps": 12,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": 100,
        "eval_strategy": "steps" if validation else "no",
        "eval_steps": 2,
        "seed": 5,
    }
    arguments = TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        logging_nan_inf_filter=False,
        **(defaults | set_),
    )
    return Trainer(model, arguments, train_dataset=train, eval_dataset=validation)  # type: ignore[arg-type]


def tiny_job(folder: Path, **spec: Any) -> TrainingJob:
    defaults = {"stage": "sft", "max_steps": 12, "learning_rate": 1e-2, "precision": "fp32", "backend": "plain"}
    return TrainingJob.model_validate(
        {
            "recipe": "tiny",
            "asset": "sft_adapter",
            "fingerprint": "f" * 64,
            "spec": defaults | spec,
            "base_model": {"name": "tiny", "digest": "d"},
            "rows": folder / "rows",
            "inputs": {"sft_rows": "v1"},
            "output_dir": folder / "output",
            "checkpoint_dir": folder / "checkpoints",
        }
    )


class Killed(BaseException):
    """Stands for the power cut at `KilledAt`."""


class KilledAt(TrainerCallback):
    """Ends a run at a step, without a word to anybody."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: object) -> None:
        if state.global_step == self._step:
            raise Killed
